//! From what the broker sends to what is applied.

use base64::{Engine, engine::general_purpose::STANDARD};
use brokkr_api::policy::IgnoreFields;
use brokkr_runtime::hex;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::{
    applyset::PART_OF,
    footprint,
    live::{DIGEST, FIELDS},
    object::{GroupKind, Manifest, ObjectId},
};

const WAVE: &str = "brokkr.io/wave";
/// What only the API server sets; it refuses some of it, and takes the rest for a condition.
const SERVERS_OWN: [&str; 6] = ["managedFields", "uid", "resourceVersion", "generation", "creationTimestamp", "selfLink"];

/// A manifest that the broker has validated, on its way to be applied.
pub(crate) struct Draft {
    pub(crate) id: ObjectId,
    pub(crate) api_version: String,
    body: Value,
}

impl Draft {
    /// Nothing when it is no object of Kubernetes after all.
    pub(crate) fn new(body: Value) -> Option<Self> {
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let api_version = text("/apiVersion")?;
        let kind = GroupKind::of(&api_version, &text("/kind")?);
        let id = ObjectId { kind, namespace: text("/metadata/namespace"), name: text("/metadata/name")? };
        Some(Self { id, api_version, body })
    }

    /// Puts the object into a namespace, in its identity and in its body.
    pub(crate) fn set_namespace(&mut self, namespace: Option<String>) {
        edit(&mut self.body, &["metadata"], |metadata| match &namespace {
            Some(namespace) => drop(metadata.insert("namespace".to_owned(), Value::from(namespace.clone()))),
            None => drop(metadata.remove("namespace")),
        });
        self.id.namespace = namespace;
    }

    /// The manifest of a member of this set.
    pub(crate) fn finish(mut self, set: &str, ignore: &[IgnoreFields]) -> Manifest {
        let wave = self.body.pointer("/metadata/annotations").and_then(|map| map.get(WAVE)).cloned();
        let wave = wave.map_or(Ok(0), |wave| wave.as_str().and_then(|wave| wave.trim().parse().ok()).ok_or(()));
        let problem = wave.is_err().then(|| format!("annotation {WAVE}: write a whole number between quotes"));
        edit(&mut self.body, &["metadata"], |metadata| metadata.retain(|key, _| !SERVERS_OWN.contains(&key.as_str())));
        edit(&mut self.body, &["metadata", "labels"], |labels| drop(labels.insert(PART_OF.to_owned(), Value::from(set))));
        if self.id.kind.is("", "Secret") {
            encode_string_data(&mut self.body);
        }
        let ignored = ignored(ignore, &self.id);
        let mut hasher = Sha256::new();
        hasher.update(self.body.to_string());
        ignored.iter().for_each(|path| hasher.update(path));
        let digest = hex(&hasher.finalize()[..16]);
        let annotation = Value::from(digest.clone());
        edit(&mut self.body, &["metadata", "annotations"], |map| drop(map.insert(DIGEST.to_owned(), annotation)));
        if let Some(note) = footprint::note(&self.body) {
            edit(&mut self.body, &["metadata", "annotations"], |map| drop(map.insert(FIELDS.to_owned(), Value::from(note))));
        }
        let json = self.body.to_string().into_boxed_str();
        Manifest { id: self.id, api_version: self.api_version, wave: wave.unwrap_or(0), digest, ignored, problem, json }
    }
}

/// `stringData` is written and never read: a key that leaves it would stay for ever, because nobody owns it.
fn encode_string_data(secret: &mut Value) {
    // What is no text is the API server's to refuse.
    let is_plain = |plain: &Value| plain.as_object().is_some_and(|plain| plain.values().all(Value::is_string));
    if !secret.get("stringData").is_some_and(is_plain) {
        return;
    }
    let Some(Value::Object(plain)) = secret.as_object_mut().and_then(|secret| secret.remove("stringData")) else { return };
    edit(secret, &["data"], |data| {
        for (key, value) in plain {
            data.insert(key, Value::from(STANDARD.encode(value.as_str().unwrap_or_default())));
        }
    });
}

fn ignored(rules: &[IgnoreFields], id: &ObjectId) -> Vec<String> {
    let is_meant = |rule: &&IgnoreFields| {
        rule.kind.as_ref().is_none_or(|kind| *kind == id.kind.to_string())
            && rule.namespace.as_ref().is_none_or(|namespace| Some(namespace) == id.namespace.as_ref())
            && rule.name.as_ref().is_none_or(|name| *name == id.name)
    };
    let mut paths: Vec<_> = rules.iter().filter(is_meant).flat_map(|rule| rule.paths.iter().cloned()).collect();
    paths.sort();
    paths.dedup();
    paths
}

/// Works on the map at this place, which is made where it is missing.
fn edit(value: &mut Value, path: &[&str], work: impl FnOnce(&mut Map<String, Value>)) {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let Value::Object(map) = value else { return };
    match path {
        [] => work(map),
        [first, rest @ ..] => edit(map.entry(*first).or_insert(Value::Null), rest, work),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn finish(body: Value, ignore: &[IgnoreFields]) -> Manifest {
        Draft::new(body).unwrap().finish("set", ignore)
    }

    #[test]
    fn the_label_goes_onto_the_object_and_not_into_its_template() {
        let body = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"template": {"metadata": {"labels": {"app": "web"}}}}});
        let manifest = finish(body, &[]);
        assert_eq!(manifest.body().pointer("/metadata/labels").unwrap(), &json!({PART_OF: "set"}));
        assert_eq!(manifest.body().pointer("/spec/template/metadata/labels"), Some(&json!({"app": "web"})));
        assert_eq!(manifest.body().pointer("/metadata/annotations").unwrap()[DIGEST], json!(manifest.digest));
        assert_eq!((manifest.wave, manifest.problem), (0, None));
    }

    #[test]
    fn the_digest_follows_the_content_and_what_is_ignored() {
        let body =
            |value: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": value}});
        let rule =
            IgnoreFields { kind: Some("ConfigMap".to_owned()), namespace: None, name: None, paths: vec!["/data/k".to_owned()] };
        let other = IgnoreFields { kind: Some("Secret".to_owned()), ..rule.clone() };
        assert_eq!(finish(body("1"), &[]).digest, finish(body("1"), &[other]).digest);
        assert_ne!(finish(body("1"), &[]).digest, finish(body("2"), &[]).digest);
        assert_ne!(finish(body("1"), &[]).digest, finish(body("1"), &[rule]).digest);
    }

    #[test]
    fn plain_data_of_a_secret_is_encoded_and_what_the_server_sets_is_left_out() {
        let body = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a", "uid": "u", "managedFields": []},
            "stringData": {"k": "v"}, "data": {"l": "bA=="}});
        let manifest = finish(body, &[]);
        let body = manifest.body();
        assert_eq!(body["data"], json!({"k": "dg==", "l": "bA=="}));
        assert!(
            body.get("stringData").is_none()
                && body["metadata"].get("uid").is_none()
                && body["metadata"].get("managedFields").is_none()
        );
    }

    #[test]
    fn a_wave_that_is_no_number_is_a_problem_of_its_object() {
        let with = |wave: Value| {
            finish(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "annotations": {WAVE: wave}}}), &[])
        };
        assert_eq!(with(json!("-3")).wave, -3);
        assert!(with(json!("soon")).problem.is_some() && with(json!(3)).problem.is_some());
    }
}
