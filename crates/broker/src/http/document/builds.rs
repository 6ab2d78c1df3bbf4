//! Rules for builds, which a derived schema cannot say.

use brokkr_api::{
    builds::{
        CONTEXT_DIR_PATTERN, MAX_BUILD_NAME, MAX_CONTEXT_DIR, MAX_IMAGE, MAX_OBJECT_NAME, MAX_PARAMETER_VALUES, MAX_REPOSITORY,
        MAX_REVISION, REVISION_PATTERN, build_parameter_pattern, image_pattern, repository_pattern,
    },
    work_orders::{MAX_PARAMETER, MAX_PARAMETERS},
};
use serde_json::{Value, json};

use super::rules::{DNS_LABEL, SECRET_KEY, one_of};

fn object_name(most: usize) -> Value {
    json!({"maxLength": most, "pattern": format!("^{DNS_LABEL}(\\.{DNS_LABEL})*$")})
}

fn value() -> Value {
    json!({"type": "string", "maxLength": MAX_PARAMETER, "pattern": "^[^\\x00]*$"})
}

/// Schemas as a whole.
pub(super) fn whole(name: &str) -> Option<Value> {
    Some(match name {
        "BuildPlan" => json!({"oneOf": [one_of("named", "NamedBuild"), one_of("embedded", "EmbeddedBuild")]}),
        "BuildParameter" => json!({"oneOf": [
            value(),
            {"type": "array", "maxItems": MAX_PARAMETER_VALUES, "items": value()},
            {"$ref": "#/components/schemas/SecretKey"},
        ]}),
        _ => return None,
    })
}

/// Limits of single fields.
pub(super) fn fields() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        (
            "BuildWork",
            "parameters",
            json!({"maxProperties": MAX_PARAMETERS,
            "propertyNames": {"type": "string", "pattern": build_parameter_pattern()}}),
        ),
        ("BuildWork", "service_account", object_name(MAX_OBJECT_NAME)),
        ("NamedBuild", "name", object_name(MAX_BUILD_NAME)),
        ("BuildSource", "repository", json!({"maxLength": MAX_REPOSITORY, "pattern": repository_pattern()})),
        ("BuildSource", "revision", json!({"maxLength": MAX_REVISION, "pattern": REVISION_PATTERN})),
        ("BuildSource", "context_dir", json!({"maxLength": MAX_CONTEXT_DIR, "pattern": CONTEXT_DIR_PATTERN})),
        ("BuildSource", "clone_secret", object_name(MAX_OBJECT_NAME)),
        ("BuildStrategy", "name", object_name(MAX_OBJECT_NAME)),
        ("BuildOutput", "image", json!({"maxLength": MAX_IMAGE, "pattern": image_pattern()})),
        ("BuildOutput", "push_secret", object_name(MAX_OBJECT_NAME)),
        ("SecretKey", "secret", object_name(MAX_OBJECT_NAME)),
        ("SecretKey", "key", json!({"pattern": SECRET_KEY})),
    ]
}
