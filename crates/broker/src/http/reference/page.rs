//! The document as a page: operations by tag, then schemas.

use std::fmt::Write;

use serde_json::{Map, Value};

/// The one style of the page; its digest stands in the page's Content-Security-Policy.
pub(super) const STYLE: &str = "\
:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
code,pre{font:14px/1.45 ui-monospace,monospace}pre{overflow-x:auto;padding:.6rem;border:1px solid #8884;border-radius:.3rem}\
details{border:1px solid #8884;border-radius:.3rem;margin:.4rem 0;padding:.3rem .7rem}summary{cursor:pointer}\
b.method{display:inline-block;min-width:4.5rem}table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;\
padding:.25rem .6rem .25rem 0;border-bottom:1px solid #8884}";

/// The page.
pub(super) fn render(document: &Value) -> String {
    let title = text(&document["info"]["title"]);
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title} API</title><style>{STYLE}</style></head><body><h1>{title} API {version}</h1><p>{about}</p>\
         <p>The same for programs: <a href=\"/api/v1/openapi.json\">/api/v1/openapi.json</a>.</p>",
        version = text(&document["info"]["version"]),
        about = text(&document["info"]["description"]),
    );
    for tag in document["tags"].as_array().into_iter().flatten() {
        push(&mut page, format_args!("<h2>{}</h2><p>{}</p>", text(&tag["name"]), text(&tag["description"])));
        for (path, operations) in members(&document["paths"]) {
            for (method, operation) in members(operations) {
                if operation["tags"].as_array().is_some_and(|tags| tags.contains(&tag["name"])) {
                    push_operation(&mut page, method, path, operation);
                }
            }
        }
    }
    page += "<h2>Schemas</h2>";
    for (name, schema) in members(&document["components"]["schemas"]) {
        let (id, about) = (escape(name), text(&schema["description"]));
        push(&mut page, format_args!("<details id=\"{id}\"><summary><code>{id}</code> {about}</summary>"));
        push_schema(&mut page, schema);
        page += "</details>";
    }
    page + "</body></html>"
}

fn push_operation(page: &mut String, method: &str, path: &str, operation: &Value) {
    push(
        page,
        format_args!(
            "<details><summary><b class=\"method\">{}</b><code>{}</code> {}</summary><p>{}</p>",
            escape(&method.to_uppercase()),
            escape(path),
            text(&operation["summary"]),
            text(&operation["description"]),
        ),
    );
    let parameters: Vec<_> = operation["parameters"].as_array().into_iter().flatten().collect();
    if !parameters.is_empty() {
        *page += "<table><tr><th>Parameter</th><th>In</th><th>Type</th><th>Meaning</th></tr>";
        for parameter in parameters {
            let needed = if parameter["required"] == true { "" } else { " (optional)" };
            push(
                page,
                format_args!(
                    "<tr><td><code>{}</code>{needed}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                    text(&parameter["name"]),
                    text(&parameter["in"]),
                    type_of(&parameter["schema"]),
                    text(&parameter["description"]),
                ),
            );
        }
        *page += "</table>";
    }
    for (media_type, body) in members(&operation["requestBody"]["content"]) {
        push(page, format_args!("<p>Body <code>{}</code>: {}</p>", escape(media_type), type_of(&body["schema"])));
    }
    *page += "<table><tr><th>Status</th><th>Body</th><th>Meaning</th></tr>";
    for (status, response) in members(&operation["responses"]) {
        let (body, about) = match response["$ref"].as_str() {
            Some(shared) => {
                ("<a href=\"#Problem\">Problem</a>".to_owned(), escape(shared.rsplit('/').next().unwrap_or_default()))
            }
            None => {
                let bodies: Vec<_> = members(&response["content"]).map(|(_, body)| type_of(&body["schema"])).collect();
                (bodies.join(", "), text(&response["description"]))
            }
        };
        push(page, format_args!("<tr><td>{}</td><td>{body}</td><td>{about}</td></tr>", escape(status)));
    }
    *page += "</table></details>";
}

fn push_schema(page: &mut String, schema: &Value) {
    let fields: Vec<_> = members(&schema["properties"]).collect();
    if fields.is_empty() {
        push(page, format_args!("<pre>{}</pre>", escape(&serde_json::to_string_pretty(schema).unwrap_or_default())));
        return;
    }
    *page += "<table><tr><th>Field</th><th>Type</th><th>Meaning</th></tr>";
    for (name, field) in fields {
        let needed = schema["required"].as_array().is_some_and(|required| required.iter().any(|one| one == name));
        let optional = if needed { "" } else { " (optional)" };
        push(
            page,
            format_args!(
                "<tr><td><code>{}</code>{optional}</td><td>{}</td><td>{}</td></tr>",
                escape(name),
                type_of(field),
                text(&field["description"])
            ),
        );
    }
    *page += "</table>";
}

/// A type in a few words, with a link where it has a name.
fn type_of(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        let name = escape(name);
        return format!("<a href=\"#{name}\">{name}</a>");
    }
    for several in ["oneOf", "anyOf", "allOf"] {
        if let Some(schemas) = schema[several].as_array() {
            return schemas.iter().map(type_of).collect::<Vec<_>>().join(" or ");
        }
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().map(text).collect::<Vec<_>>().join(" or "),
        kind => text(kind),
    };
    let kind = if schema["items"].is_object() { format!("{kind} of {}", type_of(&schema["items"])) } else { kind };
    let limits = ["format", "pattern", "minimum", "maximum", "minLength", "maxLength", "maxItems", "enum"];
    let limits = limits.iter().filter(|limit| schema.get(**limit).is_some_and(|value| !value.is_null()));
    let limits: Vec<_> = limits.map(|limit| format!("{limit} {}", text(&schema[*limit]))).collect();
    if limits.is_empty() { kind } else { format!("{kind} <code>{}</code>", limits.join(", ")) }
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => escape(text),
        other => escape(&other.to_string()),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn push(page: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a text cannot fail.
    let _ = page.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_and_schema_is_on_the_page_and_every_link_leads_somewhere() {
        let document: Value = serde_json::from_str(&crate::http::openapi()).unwrap();
        let page = render(&document);
        for (path, operations) in members(&document["paths"]) {
            assert_eq!(page.matches(&format!("<code>{}</code>", escape(path))).count(), members(operations).count(), "{path}");
        }
        for link in page.split("href=\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(page.contains(&format!("id=\"{link}\"")), "{link}");
        }
    }

    #[test]
    fn the_page_asks_nobody_else_and_runs_nothing() {
        let document: Value = serde_json::from_str(&crate::http::openapi()).unwrap();
        let page = render(&document);
        // An address in a description is text.
        for foreign in ["<script", "src=", "href=\"http", "action=", "url(", "@import", " style=", " onclick="] {
            assert!(!page.contains(foreign), "{foreign}");
        }
    }
}
