//! What is the same for every operation of the `OpenAPI` document, written once: authentication, errors, headers.

mod builds;
mod rules;

use brokkr_api::{CLUSTER_HEADER, PROTOCOL_HEADER, PROTOCOL_VERSION, REQUEST_ID_HEADER, error::PROBLEM_CONTENT_TYPE};
use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;

use super::auth::OLDEST_PROTOCOL;

const DESCRIPTION: &str = "Delivers Kubernetes objects to many clusters, and says where the time went.\n\n\
     Every error is a problem by RFC 9457 with a stable `code`; lists come in pages by cursor; every answer has an id in `x-request-id`.";

/// What the tags of operations stand for, in the order in which people meet them.
const TAGS: &[(&str, &str)] = &[
    ("stacks", "Named sets of Kubernetes objects that are delivered together, who they are for, and how far they are."),
    ("deployment objects", "Immutable versions of a stack's manifests: sending them, listing them, going back to one."),
    ("deployments", "What one agent has to do with one stack, and how far it is."),
    ("work orders", "One-off work that exactly one matching agent carries out: asking for it, seeing how it goes, stopping it."),
    ("webhooks", "Receivers that are told of events: making them, seeing what became of deliveries, sending again."),
    ("agents", "The daemons in the clusters, as people see them."),
    ("fleet", "All agents together."),
    ("tracing", "How brokers and agents trace, while they run."),
    ("generators", "Identities of pipelines and teams; each sees its own stacks and nothing else."),
    ("keys", "API keys: made, listed and revoked, never shown again."),
    ("events", "What happened, by position."),
    ("audit", "Who did what."),
    ("agent", "What agents call. Needs an agent's key and the header `brokkr-protocol`."),
];

/// Operations that anybody may call, because the credential is in the body.
const WITHOUT_KEY: &[&str] = &[brokkr_api::routes::ENROLMENTS];

/// What has a version: answers with one of these have an `ETag`.
const TAGGED: &[&str] = &["Stack", "Agent", "AcceptedDeploymentObject", "DesiredState"];

/// The document with everything that the handlers' annotations leave out.
pub(super) fn describe(document: &OpenApi) -> Value {
    // A document of our own types can always be written.
    let mut document = serde_json::to_value(document).unwrap_or_default();
    document["info"]["description"] = json!(DESCRIPTION);
    document["servers"] = json!([{"url": "/", "description": "This broker."}]);
    document["security"] = json!([{"key": []}]);
    let mut used = Vec::new();
    for (path, operations) in entries(&mut document["paths"]) {
        for (_, operation) in entries(operations) {
            used.extend(operation["tags"].as_array().into_iter().flatten().cloned());
            describe_operation(path, operation);
        }
    }
    let tags = TAGS.iter().filter(|(name, _)| used.iter().any(|tag| tag == name));
    document["tags"] = tags.map(|(name, description)| json!({"name": name, "description": description})).collect();
    merge_flattened(&mut document["components"]["schemas"]);
    rules::apply(&mut document);
    document["components"]["securitySchemes"] = json!({"key": {
        "type": "http", "scheme": "bearer", "description": "A key of Brokkr: `Authorization: Bearer brokkr_…`. Its role and scopes decide what it opens."
    }});
    document["components"]["headers"] = headers();
    document["components"]["responses"] = error_responses();
    document
}

fn describe_operation(path: &str, operation: &mut Value) {
    if WITHOUT_KEY.contains(&path) {
        operation["security"] = json!([]);
    }
    if path.starts_with("/api/v1/agent/") {
        let parameters = json!([
            {"name": PROTOCOL_HEADER, "in": "header", "required": true, "description": "Version of the protocol that the agent speaks.",
             "schema": {"type": "integer", "minimum": OLDEST_PROTOCOL, "maximum": PROTOCOL_VERSION}, "example": PROTOCOL_VERSION},
            {"name": CLUSTER_HEADER, "in": "header", "required": false,
             "description": "UID of the namespace `kube-system` of the agent's cluster; refused where the key is bound to another.",
             "schema": {"type": "string"}},
        ]);
        let known = operation.get("parameters").and_then(Value::as_array).cloned().unwrap_or_default();
        let added = parameters.as_array().cloned().unwrap_or_default();
        operation["parameters"] = known.into_iter().chain(added).collect();
    }
    for (status, response) in entries(&mut operation["responses"]) {
        if status.starts_with(['2', '3']) {
            response["headers"][REQUEST_ID_HEADER] = reference("headers", "RequestId");
            response["headers"]["x-trace-id"] = reference("headers", "TraceId");
            let schema = response.pointer("/content/application~1json/schema/$ref").and_then(Value::as_str);
            if schema.and_then(|path| path.rsplit('/').next()).is_some_and(|name| TAGGED.contains(&name)) {
                response["headers"]["etag"] = reference("headers", "ETag");
            }
            if response.get("description").is_none_or(|text| text == "") {
                response["description"] = json!(usual_description(status));
            }
        }
    }
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    responses.retain(|status, _| status.starts_with(['2', '3']));
    for (status, name) in
        [("401", "Unauthenticated"), ("429", "RateLimited"), ("4XX", "Refused"), ("503", "Unavailable"), ("5XX", "Defect")]
    {
        responses.insert(status.to_owned(), reference("responses", name));
    }
}

fn usual_description(status: &str) -> &'static str {
    match status {
        "201" => "It was made.",
        "202" => "It was taken, and goes on after the answer.",
        "204" => "It is done, and there is nothing to say.",
        "304" => "Nothing is newer than what the request names.",
        _ => "The answer.",
    }
}

fn reference(kind: &str, name: &str) -> Value {
    json!({"$ref": format!("#/components/{kind}/{name}")})
}

fn headers() -> Value {
    json!({
        "RequestId": {"description": "Id of the request, also in problems and in the broker's log.", "required": true, "schema": {"type": "string", "format": "uuid"}},
        "ETag": {"description": "Version of what the answer shows, for `If-Match` and `If-None-Match`.", "required": true, "schema": {"type": "string", "pattern": "^\".+\"$"}},
        "TraceId": {"description": "Id of the trace, if the request was traced.", "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"}},
        "RetryAfter": {"description": "Seconds after which the same request may work.", "required": true, "schema": {"type": "integer", "minimum": 1}},
        "WwwAuthenticate": {"description": "What to authenticate with.", "required": true, "schema": {"type": "string", "const": "Bearer"}},
    })
}

fn error_responses() -> Value {
    let problem = |description: &str, extra: &[(&str, &str)]| {
        let mut headers = Map::new();
        for (name, header) in [(REQUEST_ID_HEADER, "RequestId"), ("x-trace-id", "TraceId")].iter().chain(extra) {
            headers.insert((*name).to_owned(), reference("headers", header));
        }
        json!({"description": description, "headers": headers, "content": {PROBLEM_CONTENT_TYPE: {"schema": reference("schemas", "Problem")}}})
    };
    json!({
        "Unauthenticated": problem("There is no valid key.", &[("www-authenticate", "WwwAuthenticate")]),
        "RateLimited": problem("There are too many requests with this key, or without one from this address.", &[("retry-after", "RetryAfter")]),
        "Refused": problem("The request is refused; `code` says why and `place` where.", &[]),
        "Unavailable": problem("The database does not answer, or the request took too long.", &[("retry-after", "RetryAfter")]),
        "Defect": problem("A defect of the broker; its log has the cause under the ids given here.", &[]),
    })
}

/// What serde flattens is written as `allOf` of parts, of which the closed ones would refuse each other's fields: such a schema becomes one object.
fn merge_flattened(schemas: &mut Value) {
    let all = schemas.clone();
    for (_, schema) in entries(schemas) {
        let Some(parts) = schema["allOf"].as_array() else { continue };
        let resolved: Vec<Value> = parts
            .iter()
            .map(|part| match part["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
                Some(name) => all[name].clone(),
                None => part.clone(),
            })
            .collect();
        if resolved.iter().any(|part| part.get("properties").is_none()) {
            continue;
        }
        let mut merged = json!({"type": "object", "properties": {}});
        if let Some(description) = schema.get("description") {
            merged["description"] = description.clone();
        }
        let mut required = Vec::new();
        for mut part in resolved {
            required.extend(part["required"].as_array().into_iter().flatten().cloned());
            for (name, property) in entries(&mut part["properties"]) {
                merged["properties"][name.as_str()] = property.take();
            }
            if part["additionalProperties"] == json!(false) {
                merged["additionalProperties"] = json!(false);
            }
        }
        merged["required"] = Value::Array(required);
        *schema = merged;
    }
}

fn entries(value: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    value.as_object_mut().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tag_of_an_operation_is_explained() {
        let document: Value = serde_json::from_str(&crate::http::openapi()).unwrap();
        let operations = document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
        for operation in operations {
            for tag in operation["tags"].as_array().unwrap() {
                assert!(document["tags"].as_array().unwrap().iter().any(|known| &known["name"] == tag), "{tag}");
            }
        }
    }

    #[test]
    fn a_flattened_schema_is_one_object_with_the_fields_of_all_parts() {
        let mut schemas = json!({
            "Id": {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]},
            "Named": {"description": "Doc.", "allOf": [{"$ref": "#/components/schemas/Id"},
                {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"], "additionalProperties": false}]},
        });
        merge_flattened(&mut schemas);
        let expected = json!({"type": "object", "properties": {"id": {"type": "string"}, "name": {"type": "string"}},
            "description": "Doc.", "additionalProperties": false, "required": ["id", "name"]});
        assert_eq!(schemas["Named"], expected);
    }
}
