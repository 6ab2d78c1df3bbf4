//! An object as the cluster has it, as far as its metadata tell.

use serde::Serialize;
use serde_json::Value;

use crate::{
    applyset::PART_OF,
    cluster::{FIELD_MANAGER, Resource},
    fields::Ownership,
    object::ObjectId,
};

/// Annotation of every member: the digest of the manifest that was applied.
pub(crate) const DIGEST: &str = "brokkr.io/digest";
/// Annotation of members: which fields that manifest sets ([`crate::footprint`]).
pub(crate) const FIELDS: &str = "brokkr.io/fields";
/// Annotation by which a person keeps an object: `"false"`.
const PRUNE: &str = "brokkr.io/prune";

/// An object in the cluster.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Live {
    pub(crate) id: ObjectId,
    pub(crate) api_version: String,
    pub(crate) uid: String,
    pub(crate) resource_version: String,
    /// The `ApplySet` that its label names.
    pub(crate) part_of: Option<String>,
    /// The digest of the manifest that was applied last.
    #[serde(skip)]
    pub(crate) digest: Option<String>,
    /// What our field manager has applied; nothing when it never did: a label alone can be copied by anybody.
    #[serde(skip)]
    pub(crate) ours: Option<Ownership>,
    /// The other managers of fields that are not a subresource's.
    #[serde(skip)]
    pub(crate) managers: Vec<String>,
    /// Whether another object owns it and will take it along.
    pub(crate) has_owner: bool,
    /// `brokkr.io/prune: "false"`.
    pub(crate) keep: bool,
    /// Whether its deletion is under way already.
    pub(crate) is_terminating: bool,
}

impl Live {
    /// Reads metadata (or a whole object); nothing when it has no name or UID.
    pub(crate) fn read(resource: &Resource, item: &Value) -> Option<Self> {
        let metadata = item.get("metadata")?;
        let text = |key: &str| metadata.get(key).and_then(Value::as_str).map(str::to_owned);
        let entry = |map: &str, key: &str| metadata.get(map).and_then(|map| map.get(key)).and_then(Value::as_str);
        let is_filled = |key: &str| metadata.get(key).and_then(Value::as_array).is_some_and(|list| !list.is_empty());
        let (mut ours, mut managers) = (None, Vec::new());
        for entry in metadata.get("managedFields").and_then(Value::as_array).into_iter().flatten() {
            let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
            if !text("subresource").is_empty() {
                continue;
            }
            if text("manager") == FIELD_MANAGER && text("operation") == "Apply" {
                let fields = entry.get("fieldsV1").cloned().unwrap_or(Value::Null);
                ours = Some(Ownership { api_version: text("apiVersion").to_owned(), fields });
            } else if !managers.iter().any(|known| known == text("manager")) {
                managers.push(text("manager").to_owned());
            }
        }
        Some(Self {
            id: ObjectId { kind: resource.group_kind(), namespace: text("namespace"), name: text("name")? },
            api_version: resource.api_version(),
            uid: text("uid")?,
            resource_version: text("resourceVersion")?,
            part_of: entry("labels", PART_OF).map(str::to_owned),
            digest: entry("annotations", DIGEST).map(str::to_owned),
            ours,
            managers,
            has_owner: is_filled("ownerReferences"),
            keep: entry("annotations", PRUNE) == Some("false"),
            is_terminating: metadata.get("deletionTimestamp").is_some(),
        })
    }

    pub(crate) fn is_ours(&self) -> bool {
        self.ours.is_some()
    }
}
