//! From the bytes that a person sent to Kubernetes objects in canonical form.

mod identity;
mod parse;

use std::collections::HashMap;

use brokkr_api::{ErrorCode, Problem, deployment_objects::MAX_OBJECTS};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

pub(crate) use parse::{Format, parse};

use brokkr_runtime::hex;

/// Kubernetes objects in canonical form: sorted keys, no white space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Canonical {
    /// `sha256:<64 hex>` of the body.
    pub(crate) digest: String,
    /// A JSON array of the objects, in the order in which they were sent.
    pub(crate) body: Vec<u8>,
    /// How many objects it holds.
    pub(crate) objects: u64,
    /// Whether one of them is a Secret.
    pub(crate) has_secrets: bool,
}

/// Checks the objects and brings them into canonical form.
///
/// # Errors
/// The first object that is not one of Kubernetes', or stands there twice, by its place.
pub(crate) fn canonicalize(documents: Vec<Value>) -> Result<Canonical, Problem> {
    let objects = expand_lists(documents)?;
    if objects.is_empty() {
        return Err(Problem::new(
            ErrorCode::NoObjects,
            "send at least one Kubernetes object; to remove everything, delete the stack",
        ));
    }
    if objects.len() > MAX_OBJECTS {
        let detail = format!("{} objects are more than {MAX_OBJECTS}: split them into several stacks", objects.len());
        return Err(Problem::new(ErrorCode::TooManyObjects, detail));
    }
    let mut seen = HashMap::new();
    for (index, object) in objects.iter().enumerate() {
        let identity = identity::of(object).map_err(|problem| problem.at_object(index))?;
        if let Some(first) = seen.insert(identity.clone(), index) {
            let detail = format!("{identity} stands twice: as object {} and as object {}", first + 1, index + 1);
            return Err(Problem::new(ErrorCode::DuplicateObject, detail).at(format!("[{index}]")));
        }
    }
    let count = objects.len() as u64;
    let has_secrets = objects.iter().any(is_secret);
    let canonical = Value::Array(objects.into_iter().map(sorted).collect());
    let body = canonical.to_string().into_bytes();
    let digest = format!("sha256:{}", hex(&Sha256::digest(&body)));
    Ok(Canonical { digest, body, objects: count, has_secrets })
}

/// Whether it is a Secret, or a list that was not expanded and may hold some: such a one is sealed to be on the safe side.
fn is_secret(object: &Value) -> bool {
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
    matches!(kind, "Secret" | "SecretList" | "List") && object.get("apiVersion").is_some_and(|version| version == "v1")
}

/// `kind: List` of `v1` is not an object but a way of writing several.
fn expand_lists(documents: Vec<Value>) -> Result<Vec<Value>, Problem> {
    let mut objects = Vec::with_capacity(documents.len());
    for (index, document) in documents.into_iter().enumerate() {
        let is_list =
            document.get("kind").is_some_and(|kind| kind == "List") && document.get("apiVersion").is_some_and(|v| v == "v1");
        match document {
            // An empty document, as between two separators.
            Value::Null => {}
            Value::Object(mut map) if is_list => match map.remove("items") {
                Some(Value::Array(items)) => objects.extend(items),
                _ => {
                    let problem = Problem::new(ErrorCode::InvalidManifest, "a List needs items, and they must be a sequence");
                    return Err(problem.at(format!("[{index}].items")));
                }
            },
            other => objects.push(other),
        }
    }
    Ok(objects)
}

/// The same value with the keys of every mapping in order.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().map(|(key, value)| (key, sorted(value))).collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        scalar => scalar,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config_map(name: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "shop"}, "data": {"b": "2", "a": "1"}})
    }

    #[test]
    fn the_digest_does_not_depend_on_the_order_of_keys() {
        let one = canonicalize(vec![config_map("a")]).unwrap();
        let text =
            r#"{"metadata":{"namespace":"shop","name":"a"},"data":{"a":"1","b":"2"},"kind":"ConfigMap","apiVersion":"v1"}"#;
        let other = canonicalize(vec![serde_json::from_str(text).unwrap()]).unwrap();
        assert_eq!(one, other);
        assert!(one.digest.starts_with("sha256:") && one.digest.len() == 71);
    }

    #[test]
    fn a_list_is_several_objects() {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [config_map("a"), config_map("b")]});
        assert_eq!(canonicalize(vec![list]).unwrap().objects, 2);
    }

    #[test]
    fn the_same_object_twice_is_refused_with_both_places() {
        let problem = canonicalize(vec![config_map("a"), config_map("b"), config_map("a")]).unwrap_err();
        assert_eq!(problem.code, ErrorCode::DuplicateObject);
        assert!(problem.detail.contains("object 1") && problem.detail.contains("object 3"), "{}", problem.detail);
        assert_eq!(problem.place.as_deref(), Some("[2]"));
    }

    #[test]
    fn the_same_object_in_two_versions_of_its_api_is_the_same_object() {
        let old = json!({"apiVersion": "apps/v1beta1", "kind": "Deployment", "metadata": {"name": "web"}});
        let new = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}});
        assert_eq!(canonicalize(vec![old, new]).unwrap_err().code, ErrorCode::DuplicateObject);
    }

    #[test]
    fn what_is_not_an_object_of_kubernetes_is_refused_with_its_place() {
        for (object, place) in [
            (json!({"kind": "ConfigMap", "metadata": {"name": "a"}}), "[0].apiVersion"),
            (json!({"apiVersion": "v1", "metadata": {"name": "a"}}), "[0].kind"),
            (json!({"apiVersion": "v1", "kind": "ConfigMap"}), "[0].metadata"),
            (json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "a-"}}), "[0].metadata.name"),
            (json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": 7}}), "[0].metadata.name"),
            (json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a/b"}}), "[0].metadata.name"),
            (
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "-"}}),
                "[0].metadata.namespace",
            ),
            (json!({"apiVersion": "a/b/c", "kind": "ConfigMap", "metadata": {"name": "a"}}), "[0].apiVersion"),
            (json!("just text"), "[0]"),
        ] {
            let problem = canonicalize(vec![object]).unwrap_err();
            assert_eq!(problem.code, ErrorCode::InvalidManifest);
            assert_eq!(problem.place.as_deref(), Some(place), "{}", problem.detail);
        }
        assert_eq!(canonicalize(vec![Value::Null]).unwrap_err().code, ErrorCode::NoObjects);
    }
}
