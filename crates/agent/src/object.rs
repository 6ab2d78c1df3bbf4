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

    /// The kind of an object of this API version (`v1`, `apps/v1`).
    pub(crate) fn of(api_version: &str, kind: &str) -> Self {
        Self::new(api_version.split_once('/').map_or("", |(group, _)| group), kind)
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

/// A manifest as it is applied: with its namespace, the set's label and its digest.
///
/// Kept as text: a tree of values takes several times the room, and most of a bundle is not looked into most of the time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Manifest {
    pub(crate) id: ObjectId,
    pub(crate) api_version: String,
    /// `brokkr.io/wave`; 0 when absent.
    pub(crate) wave: i32,
    /// Changes when what is applied does.
    #[serde(skip)]
    pub(crate) digest: String,
    /// JSON pointers to fields that are left to others once the object exists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) ignored: Vec<String>,
    /// Why it cannot be applied, when that is plain before it is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
    #[serde(skip)]
    pub(crate) json: Box<str>,
}

impl Manifest {
    pub(crate) fn body(&self) -> Value {
        serde_json::from_str(&self.json).unwrap_or(Value::Null)
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
    use super::*;

    #[test]
    fn group_and_kind_are_read_as_they_are_written() {
        for text in ["ConfigMap", "Deployment.apps", "Widget.example.com"] {
            assert_eq!(GroupKind::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(GroupKind::parse(".apps"), None);
    }
}
