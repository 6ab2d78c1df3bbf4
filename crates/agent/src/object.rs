//! Kubernetes objects as the agent handles them: what identifies them, and what they look like.

use std::fmt;

use brokkr_api::reports::ObjectRef;
use serde::Serialize;
use serde_json::Value;

/// Group and kind; the version of an API is no part of an object's identity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub(crate) struct GroupKind {
    pub(crate) group: String,
    pub(crate) kind: String,
}

impl GroupKind {
    pub(crate) fn new(group: &str, kind: &str) -> Self {
        Self { group: group.to_owned(), kind: kind.to_owned() }
    }

    /// Reads `Kind` or `Kind.group`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (kind, group) = text.split_once('.').unwrap_or((text, ""));
        (!kind.is_empty()).then(|| Self::new(group, kind))
    }

    pub(crate) fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }
}

impl fmt::Display for GroupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        Ok(())
    }
}

/// Identity of an object in a cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub(crate) struct ObjectId {
    pub(crate) kind: GroupKind,
    /// Absent for objects of the whole cluster.
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind)?;
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(&self.name)
    }
}

/// A manifest with its identity.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Manifest {
    pub(crate) id: ObjectId,
    pub(crate) api_version: String,
    pub(crate) body: Value,
}

impl Manifest {
    /// The manifest of a value that the broker has validated; nothing when it is no object of Kubernetes after all.
    pub(crate) fn new(body: Value) -> Option<Self> {
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let api_version = text("/apiVersion")?;
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let kind = GroupKind::new(group, &text("/kind")?);
        let id = ObjectId { kind, namespace: text("/metadata/namespace"), name: text("/metadata/name")? };
        Some(Self { id, api_version, body })
    }

    /// Version of the API within its group.
    pub(crate) fn version(&self) -> &str {
        self.api_version.split_once('/').map_or(&self.api_version, |(_, version)| version)
    }

    /// Puts the object into a namespace, in its identity and in its body.
    pub(crate) fn set_namespace(&mut self, namespace: Option<String>) {
        if let Some(metadata) = self.body.get_mut("metadata").and_then(Value::as_object_mut) {
            match &namespace {
                Some(namespace) => drop(metadata.insert("namespace".to_owned(), Value::from(namespace.clone()))),
                None => drop(metadata.remove("namespace")),
            }
        }
        self.id.namespace = namespace;
    }

    /// Adds a label to the object itself (not to templates in it).
    pub(crate) fn set_label(&mut self, key: &str, value: &str) {
        let Some(metadata) = self.body.get_mut("metadata").and_then(Value::as_object_mut) else { return };
        let labels = metadata.entry("labels").or_insert_with(|| Value::Object(serde_json::Map::new()));
        if !labels.is_object() {
            *labels = Value::Object(serde_json::Map::new());
        }
        if let Some(labels) = labels.as_object_mut() {
            labels.insert(key.to_owned(), Value::from(value));
        }
    }

    pub(crate) fn reference(&self) -> ObjectRef {
        reference(&self.id, &self.api_version)
    }
}

/// How an object is named in a report.
pub(crate) fn reference(id: &ObjectId, api_version: &str) -> ObjectRef {
    ObjectRef {
        api_version: api_version.to_owned(),
        kind: id.kind.kind.clone(),
        namespace: id.namespace.clone(),
        name: id.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_label_goes_onto_the_object_and_not_into_its_template() {
        let body = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"template": {"metadata": {"labels": {"app": "web"}}}}});
        let mut manifest = Manifest::new(body).unwrap();
        manifest.set_label("k", "v");
        assert_eq!(manifest.body.pointer("/metadata/labels/k"), Some(&json!("v")));
        assert_eq!(manifest.body.pointer("/spec/template/metadata/labels"), Some(&json!({"app": "web"})));
        assert_eq!(manifest.id.kind.to_string(), "Deployment.apps");
        assert_eq!(GroupKind::parse("Deployment.apps"), Some(manifest.id.kind.clone()));
        assert_eq!(manifest.version(), "v1");
    }
}
