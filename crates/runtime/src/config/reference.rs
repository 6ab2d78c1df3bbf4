//! The reference copy of a configuration: every key with its explanation, commented out with its default.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

/// Writes TOML in which each key of `T` stands with its doc comment and default.
///
/// The explanations come from the doc comments and the values from `Default`, so that neither is written twice.
#[must_use]
pub fn reference<T: JsonSchema + Serialize + Default>(head: &str) -> String {
    let schema = schemars::schema_for!(T).to_value();
    let defaults = serde_json::to_value(T::default()).unwrap_or_default();
    let mut out = head.lines().map(|line| format!("# {line}\n").replace("#  \n", "#\n")).collect::<String>();
    for (section, value) in defaults.as_object().into_iter().flatten() {
        let node = property(&schema, &schema, section);
        out.push('\n');
        push_doc(&mut out, schema.pointer(&format!("/properties/{section}")).unwrap_or(node));
        out.push_str(&format!("[{section}]\n"));
        push_keys(&mut out, &schema, node, value, "");
    }
    out
}

/// The JSON Schema of a configuration, for whoever checks one before a daemon reads it, such as a chart.
#[must_use]
pub fn schema<T: JsonSchema>() -> String {
    format!("{:#}\n", schemars::schema_for!(T).to_value())
}

fn push_keys(out: &mut String, root: &Value, section: &Value, values: &Value, prefix: &str) {
    let keys = section.get("properties").and_then(Value::as_object);
    for key in keys.into_iter().flat_map(Map::keys) {
        let node = property(root, section, key);
        let value = values.get(key).unwrap_or(&Value::Null);
        let nested = node.get("properties").is_some();
        push_doc(out, section.pointer(&format!("/properties/{key}")).unwrap_or(node));
        if nested {
            push_keys(out, root, node, value, &format!("{prefix}{key}."));
        } else {
            // An absent value has no default to show: the name alone says that the key exists.
            let shown = toml_value(value).map_or_else(String::new, |text| format!(" {text}"));
            out.push_str(&format!("#{prefix}{key} ={shown}\n"));
        }
    }
}

fn push_doc(out: &mut String, node: &Value) {
    if let Some(doc) = node.get("description").and_then(Value::as_str) {
        for line in doc.lines() {
            out.push_str(format!("# {line}").trim_end());
            out.push('\n');
        }
    }
}

/// The schema of a property, with references followed.
pub(super) fn property<'a>(root: &'a Value, node: &'a Value, name: &str) -> &'a Value {
    let found = node.pointer(&format!("/properties/{name}")).unwrap_or(&Value::Null);
    let reference = found.get("$ref").and_then(Value::as_str);
    reference.and_then(|path| root.pointer(path.trim_start_matches('#'))).unwrap_or(found)
}

pub(super) fn toml_value(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Object(map) => {
            let items: Vec<_> =
                map.iter().filter_map(|(key, value)| toml_value(value).map(|value| format!("{key} = {value}"))).collect();
            Some(if items.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", items.join(", ")) })
        }
        Value::Array(items) => {
            let items: Vec<_> = items.iter().filter_map(toml_value).collect();
            Some(format!("[{}]", items.join(", ")))
        }
        scalar => Some(scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All of it.
    #[derive(Debug, Default, Serialize, serde::Deserialize, JsonSchema)]
    #[serde(default, deny_unknown_fields)]
    struct Sample {
        /// Where it listens.
        server: Server,
    }

    #[derive(Debug, Serialize, serde::Deserialize, JsonSchema)]
    #[serde(default, deny_unknown_fields)]
    struct Server {
        /// Address and port.
        listen: String,
        /// A file.
        file: Option<String>,
    }

    impl Default for Server {
        fn default() -> Self {
            Self { listen: "0.0.0.0:1".to_owned(), file: None }
        }
    }

    #[test]
    fn the_schema_knows_every_key_and_no_other() {
        let schema: Value = serde_json::from_str(&schema::<Sample>()).unwrap();
        let server = property(&schema, &schema, "server");
        assert_eq!(server["additionalProperties"], false);
        assert_eq!(server["properties"]["listen"]["type"], "string");
    }

    #[test]
    fn every_key_stands_commented_with_its_default_and_the_result_is_toml() {
        let text = reference::<Sample>("Head.");
        assert!(text.contains("# Address and port.\n#listen = \"0.0.0.0:1\"\n"), "{text}");
        assert!(text.contains("#file =\n"), "{text}");
        let uncommented = text.replace("#listen", "listen");
        assert_eq!(toml::from_str::<Sample>(&uncommented).unwrap().server.listen, "0.0.0.0:1");
    }
}
