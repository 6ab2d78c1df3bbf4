//! A configuration as tables for the reference: each key with its type, default and meaning.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::reference::{property, toml_value};

/// The sections of `T`, a table each. Everything comes from the types, so that nothing is written twice.
#[must_use]
pub fn tables<T: JsonSchema + Serialize + Default>() -> String {
    let schema = schemars::schema_for!(T).to_value();
    let defaults = serde_json::to_value(T::default()).unwrap_or_default();
    let mut out = String::new();
    for (section, values) in defaults.as_object().into_iter().flatten() {
        let node = property(&schema, &schema, section);
        let about = description(schema.pointer(&format!("/properties/{section}")).unwrap_or(node));
        out.push_str(&format!("\n### `[{section}]`\n\n{about}\n\n| key | type | default | meaning |\n|---|---|---|---|\n"));
        rows(&mut out, &schema, node, values, "");
    }
    out
}

fn rows(out: &mut String, root: &Value, section: &Value, values: &Value, prefix: &str) {
    let keys = section.get("properties").and_then(Value::as_object);
    for key in keys.into_iter().flat_map(Map::keys) {
        let node = property(root, section, key);
        let value = values.get(key).unwrap_or(&Value::Null);
        if node.get("properties").is_some() {
            rows(out, root, node, value, &format!("{prefix}{key}."));
            continue;
        }
        let default = toml_value(value).map_or_else(|| "-".to_owned(), |text| format!("`{text}`"));
        let about = description(section.pointer(&format!("/properties/{key}")).unwrap_or(node));
        out.push_str(&format!("| `{prefix}{key}` | {} | {default} | {about} |\n", kind(root, node)));
    }
}

/// The doc comment on one line, with what would end a cell escaped.
fn description(node: &Value) -> String {
    let text = node.get("description").and_then(Value::as_str).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// The type in a word, or the words that are allowed.
fn kind(root: &Value, node: &Value) -> String {
    if let Some(path) = node.get("$ref").and_then(Value::as_str) {
        return root.pointer(path.trim_start_matches('#')).map_or_else(String::new, |node| kind(root, node));
    }
    if let Some(word) = node.get("const").and_then(Value::as_str) {
        return format!("`\"{word}\"`");
    }
    let words = node.get("enum").and_then(Value::as_array);
    let choices = node.get("oneOf").or_else(|| node.get("anyOf")).and_then(Value::as_array);
    if let Some(words) = words {
        let words = words.iter().filter_map(Value::as_str).map(|word| format!("`\"{word}\"`"));
        return words.collect::<Vec<_>>().join(", ");
    }
    if let Some(choices) = choices {
        let kinds = choices.iter().map(|node| kind(root, node)).filter(|kind| kind != "null" && !kind.is_empty());
        return kinds.collect::<Vec<_>>().join(", ");
    }
    let one = |name: &str| match name {
        "boolean" => "true or false".to_owned(),
        "integer" => "whole number".to_owned(),
        "string" => "text".to_owned(),
        "array" => {
            let items = node.get("items").map_or_else(String::new, |items| kind(root, items));
            format!("list of {}", if items.is_empty() { "values" } else { &items })
        }
        "object" => "table".to_owned(),
        other => other.to_owned(),
    };
    match node.get("type") {
        Some(Value::String(name)) => one(name),
        Some(Value::Array(names)) => {
            let names = names.iter().filter_map(Value::as_str).filter(|name| *name != "null");
            names.map(one).collect::<Vec<_>>().join(" or ")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// All of it.
    #[derive(Debug, Default, Serialize, serde::Deserialize, JsonSchema)]
    #[serde(default)]
    struct Sample {
        /// Where it
        /// listens.
        server: Server,
    }

    #[derive(Debug, Default, Serialize, serde::Deserialize, JsonSchema)]
    #[serde(default)]
    struct Server {
        /// This | that.
        mode: Mode,
        /// A file.
        file: Option<String>,
        /// Names.
        names: Vec<String>,
        /// Inner.
        inner: Inner,
    }

    #[derive(Debug, Default, Serialize, serde::Deserialize, JsonSchema)]
    #[serde(default)]
    struct Inner {
        /// How many.
        count: u32,
        /// Pairs.
        pairs: BTreeMap<String, String>,
    }

    #[derive(Debug, Default, Serialize, serde::Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    enum Mode {
        /// One.
        #[default]
        One,
        /// Two.
        Two,
    }

    #[test]
    fn every_key_has_a_row_with_its_type_its_default_and_its_meaning() {
        let text = tables::<Sample>();
        for row in [
            "### `[server]`\n\nWhere it listens.\n",
            "| `mode` | `\"one\"`, `\"two\"` | `\"one\"` | This \\| that. |\n",
            "| `file` | text | - | A file. |\n",
            "| `names` | list of text | `[]` | Names. |\n",
            "| `inner.count` | whole number | `0` | How many. |\n",
            "| `inner.pairs` | table | `{}` | Pairs. |\n",
        ] {
            assert!(text.contains(row), "{row}\n{text}");
        }
    }
}
