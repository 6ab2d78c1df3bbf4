//! Which fields a manifest sets, as a note on the object itself: what the ledger knows of a running agent, for one that has just started.
//!
//! Somebody who takes a field from us leaves no trace that it was ours. When the agent was restarted meanwhile and the manifest is a
//! newer one, only this note tells a field that was taken from one that never was ours.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::live::{DIGEST, FIELDS};

/// Of a manifest with more fields than this nothing is noted: a note has 5 to 6 bytes for each, and is stored with every object.
/// Conflicts on it are then reported and not resolved after a restart.
const MOST: usize = 400;

/// What identifies an item of a list in the lists of Kubernetes' own kinds; lists of other keys are not noted item by item.
/// A key with a value is one that the API server fills in.
const KEYS: [&[(&str, Option<&str>)]; 10] = [
    &[("name", None)],
    &[("containerPort", None), ("protocol", Some("TCP"))],
    &[("port", None), ("protocol", Some("TCP"))],
    &[("key", None)],
    &[("type", None)],
    &[("ip", None)],
    &[("mountPath", None)],
    &[("devicePath", None)],
    &[("topologyKey", None), ("whenUnsatisfiable", None)],
    &[("uid", None)],
];

/// The note for a manifest that is finished but for this annotation; nothing when it has too many fields.
pub(crate) fn note(manifest: &Value) -> Option<String> {
    let mut hashes = Vec::new();
    let object = manifest.as_object()?;
    for (name, value) in object {
        if !matches!(name.as_str(), "apiVersion" | "kind" | "status") {
            walk(value, &mut format!(".{name}"), &mut hashes)?;
        }
    }
    hashes.push(hash(&format!(".metadata.annotations.{FIELDS}")));
    hashes.sort_unstable();
    hashes.dedup();
    let bytes: Vec<u8> = hashes.into_iter().flatten().collect();
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

/// Whether the manifest that was noted set all of these fields, in the notation of the API server's conflicts.
pub(crate) fn set_all(note: &str, paths: &[String]) -> bool {
    let Ok(bytes) = URL_SAFE_NO_PAD.decode(note) else { return false };
    let hashes: Vec<&[u8]> = bytes.chunks(4).collect();
    paths.iter().all(|path| hashes.binary_search(&hash(path).as_slice()).is_ok())
}

/// The note on an object of the cluster, if the digest beside it is there, too.
pub(crate) fn of(object: &Value) -> Option<&str> {
    let annotations = object.pointer("/metadata/annotations")?;
    annotations.get(DIGEST)?;
    annotations.get(FIELDS)?.as_str()
}

fn hash(path: &str) -> [u8; 4] {
    let [a, b, c, d, ..] = <[u8; 32]>::from(Sha256::digest(path));
    [a, b, c, d]
}

/// Nothing when there are too many.
fn walk(value: &Value, path: &mut String, hashes: &mut Vec<[u8; 4]>) -> Option<()> {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (name, child) in map {
                within(path, &format!(".{name}"), |path| walk(child, path, hashes))?;
            }
        }
        Value::Array(items) => {
            // A list that is nobody's in parts is one field.
            hashes.push(hash(path));
            for item in items {
                match item {
                    Value::Object(item) => {
                        for element in elements(item) {
                            within(path, &element, |path| item_of(item, path, hashes))?;
                        }
                    }
                    scalar => within(path, &format!("[={scalar}]"), |path| walk(scalar, path, hashes))?,
                }
            }
        }
        _ => hashes.push(hash(path)),
    }
    (hashes.len() <= MOST).then_some(())
}

fn item_of(item: &Map<String, Value>, path: &mut String, hashes: &mut Vec<[u8; 4]>) -> Option<()> {
    hashes.push(hash(path));
    for (name, child) in item {
        within(path, &format!(".{name}"), |path| walk(child, path, hashes))?;
    }
    Some(())
}

fn within<T>(path: &mut String, element: &str, work: impl FnOnce(&mut String) -> T) -> T {
    let length = path.len();
    path.push_str(element);
    let result = work(path);
    path.truncate(length);
    result
}

/// How the API server may name this item: `[name="web"]`, `[containerPort=80,protocol="TCP"]`.
fn elements(item: &Map<String, Value>) -> Vec<String> {
    let named = |keys: &&[(&str, Option<&str>)]| {
        let parts = keys.iter().map(|(key, default)| match (item.get(*key), default) {
            (Some(value), _) if !value.is_object() && !value.is_array() => Some(format!("{key}={value}")),
            (None, Some(default)) => Some(format!("{key}=\"{default}\"")),
            _ => None,
        });
        parts.collect::<Option<Vec<_>>>().map(|parts| format!("[{}]", parts.join(",")))
    };
    KEYS.iter().filter_map(named).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sets(manifest: &Value, path: &str) -> bool {
        set_all(&note(manifest).unwrap(), &[path.to_owned()])
    }

    #[test]
    fn what_a_manifest_sets_is_noted_as_the_api_server_names_it() {
        let manifest = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "labels": {"app.kubernetes.io/name": "web"}},
            "spec": {"template": {"spec": {"containers": [{"name": "web", "image": "web:1",
                "ports": [{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}],
                "args": ["-v"], "env": [{"name": "A", "value": "1"}]}]}}}});
        for path in [
            ".metadata.labels.app.kubernetes.io/name",
            ".spec.template.spec.containers[name=\"web\"].image",
            ".spec.template.spec.containers[name=\"web\"].args",
            ".spec.template.spec.containers[name=\"web\"].env[name=\"A\"].value",
            ".spec.template.spec.containers[name=\"web\"].ports[containerPort=80,protocol=\"TCP\"].containerPort",
            ".spec.template.spec.containers[name=\"web\"].ports[containerPort=53,protocol=\"UDP\"].containerPort",
            ".metadata.annotations.brokkr.io/fields",
        ] {
            assert!(sets(&manifest, path), "{path}");
        }
        for path in [
            ".spec.replicas",
            ".spec.template.spec.containers[name=\"sidecar\"].image",
            ".spec.template.spec.containers[name=\"web\"].ports[containerPort=53,protocol=\"TCP\"].containerPort",
        ] {
            assert!(!sets(&manifest, path), "{path}");
        }
    }

    #[test]
    fn values_are_no_part_of_the_note() {
        let role = |verb: &str| json!({"kind": "Role", "rules": [{"verbs": [verb]}], "data": {"k": verb}});
        assert_eq!(note(&role("get")), note(&role("list")));
        assert!(sets(&role("get"), ".rules"));
    }

    #[test]
    fn one_foreign_field_among_them_is_enough_to_say_no() {
        let note = note(&json!({"data": {"a": "1"}})).unwrap();
        assert!(set_all(&note, &[".data.a".to_owned()]));
        assert!(!set_all(&note, &[".data.a".to_owned(), ".data.b".to_owned()]));
        assert!(!set_all("no base64!", &[".data.a".to_owned()]) && !set_all("", &[".data.a".to_owned()]));
    }

    #[test]
    fn a_manifest_of_very_many_fields_gets_no_note() {
        let data: Map<_, _> = (0..=MOST).map(|number| (format!("k{number}"), json!("v"))).collect();
        assert_eq!(note(&json!({"data": data})), None);
    }
}
