//! The schema: types from the defaults, no unknown key, and what the notes add.

use serde_json::{Map, Value, json};

use super::values::Values;

pub(super) fn render(values: &Values, mut config: Value) -> Value {
    let mut root = node(values, "", &values.defaults);
    if let Some(properties) = root.get_mut("properties").and_then(Value::as_object_mut) {
        // Helm puts it there when the chart is part of another one.
        properties.insert("global".to_owned(), json!({"type": "object"}));
    }
    let mut definitions = config.as_object_mut().and_then(|config| config.remove("$defs")).unwrap_or_else(|| json!({}));
    if let (Some(config), Some(definitions)) = (config.as_object_mut(), definitions.as_object_mut()) {
        config.remove("$schema");
        definitions.insert("Config".to_owned(), Value::Object(config.clone()));
    }
    let mut schema = Map::new();
    schema.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    schema.insert("$comment".to_owned(), json!("Generated from values.yaml by `make generate`: edit that."));
    schema.extend(root.as_object().cloned().unwrap_or_default());
    schema.insert("$defs".to_owned(), definitions);
    Value::Object(schema)
}

fn node(values: &Values, path: &str, default: &Value) -> Value {
    let note = values.note(path);
    if note.is_config {
        return json!({"description": note.text, "$ref": "#/$defs/Config"});
    }
    let mut schema = Map::new();
    if !note.text.is_empty() {
        schema.insert("description".to_owned(), json!(note.text));
    }
    schema.insert("type".to_owned(), json!(type_of(default)));
    match default.as_object() {
        Some(object) if !note.is_opaque() => {
            let below = |key: &String| if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let properties: Map<_, _> =
                object.iter().map(|(key, value)| (key.clone(), node(values, &below(key), value))).collect();
            schema.insert("additionalProperties".to_owned(), json!(false));
            schema.insert("properties".to_owned(), Value::Object(properties));
        }
        _ => {
            schema.insert("default".to_owned(), default.clone());
        }
    }
    if let Some(Value::Object(more)) = note.schema {
        schema.extend(more);
    }
    Value::Object(schema)
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_come_from_the_defaults_and_notes_add_to_them() {
        let text =
            "# A number.\n# @schema {\"minimum\": 1}\nn: 2\no:\n  s: ''\n# @schema {}\nfree: {a: 1}\n# @config\nconfig: {}\n";
        let values = Values::parse(text).unwrap();
        let schema = render(&values, json!({"type": "object", "$defs": {"Log": {"type": "object"}}}));
        assert_eq!(schema["properties"]["n"], json!({"description": "A number.", "type": "integer", "default": 2, "minimum": 1}));
        assert_eq!(schema["properties"]["o"]["additionalProperties"], false);
        assert_eq!(schema["properties"]["o"]["properties"]["s"]["type"], "string");
        assert_eq!(schema["properties"]["free"], json!({"type": "object", "default": {"a": 1}}));
        assert_eq!(schema["properties"]["config"]["$ref"], "#/$defs/Config");
        assert_eq!(schema["$defs"], json!({"Log": {"type": "object"}, "Config": {"type": "object"}}));
        assert_eq!(schema["additionalProperties"], false);
    }
}
