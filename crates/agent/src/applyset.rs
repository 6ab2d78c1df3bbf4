//! Membership by the ApplySet specification (KEP-3659): one ConfigMap parent per stack id, and a label on every member.

use std::{collections::BTreeSet, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use brokkr_api::{StackId, desired_state::Scope};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    cluster::STACK_RECORD,
    object::{GroupKind, Manifest, ObjectId},
};

/// Label of members; its value is the set's id.
pub(crate) const PART_OF: &str = "applyset.kubernetes.io/part-of";
const ID: &str = "applyset.kubernetes.io/id";
const TOOLING: &str = "applyset.kubernetes.io/tooling";
const GROUP_KINDS: &str = "applyset.kubernetes.io/contains-group-kinds";
const NAMESPACES: &str = "applyset.kubernetes.io/additional-namespaces";
const STACK: &str = "brokkr.io/stack";
const INSTALLATION: &str = "brokkr.io/installation";
const EPOCH: &str = "brokkr.io/epoch";
const HELD: &str = "brokkr.io/epoch-held";

/// The set of one stack in one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApplySet {
    /// Namespace of the parent: the agent's own.
    pub(crate) namespace: String,
    /// Name of the parent.
    pub(crate) name: String,
    /// Value of the members' label.
    pub(crate) id: String,
}

impl ApplySet {
    pub(crate) fn of(stack: StackId, namespace: &str) -> Self {
        let name = format!("{STACK_RECORD}{stack}");
        // The specification's id: name, namespace, kind and group of the parent; a ConfigMap's group is empty.
        let hash = Sha256::digest(format!("{name}.{namespace}.ConfigMap.").as_bytes());
        let id = format!("applyset-{}-v1", URL_SAFE_NO_PAD.encode(hash));
        Self { namespace: namespace.to_owned(), name, id }
    }

    pub(crate) fn parent_id(&self) -> ObjectId {
        ObjectId { kind: GroupKind::new("", "ConfigMap"), namespace: Some(self.namespace.clone()), name: self.name.clone() }
    }

    /// Whether a parent that names `said` names everything of `scope`. The parent's own namespace is always meant.
    pub(crate) fn names_all(&self, said: &Scope, scope: &Scope) -> bool {
        scope.group_kinds.iter().all(|kind| said.group_kinds.contains(kind))
            && scope.namespaces.iter().all(|namespace| *namespace == self.namespace || said.namespaces.contains(namespace))
    }

    /// The parent with this scope. It names group-kinds and namespaces only, never objects.
    pub(crate) fn parent(&self, stack: &str, scope: &Scope, installation: &str, epoch: &Epoch<'_>) -> Value {
        let others: Vec<_> =
            scope.namespaces.iter().filter(|namespace| **namespace != self.namespace).map(String::as_str).collect();
        let (written, held) = match epoch {
            Epoch::Now(epoch) => (*epoch, None),
            Epoch::Kept { epoch, now, revision } => (*epoch, Some(format!("{now}/{revision}"))),
        };
        let mut parent = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": self.name,
                "namespace": self.namespace,
                "labels": {ID: self.id},
                "annotations": {
                    TOOLING: concat!("brokkr-agent/v", env!("CARGO_PKG_VERSION")),
                    GROUP_KINDS: scope.group_kinds.join(","),
                    NAMESPACES: others.join(","),
                    STACK: stack,
                    INSTALLATION: installation,
                    EPOCH: written,
                }
            }
        });
        if let (Some(held), Some(annotations)) =
            (held, parent.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut))
        {
            annotations.insert(HELD.to_owned(), Value::String(held));
        }
        parent
    }
}

/// Under which epoch of the broker the members were applied.
pub(crate) enum Epoch<'a> {
    /// Under the one that it has now.
    Now(&'a str),
    /// Under one before it: what left the manifests is held, up to and with this revision.
    Kept { epoch: &'a str, now: &'a str, revision: u64 },
}

/// What a parent in the cluster says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Parent {
    pub(crate) scope: Scope,
    pub(crate) epoch: Option<String>,
    /// A later epoch and the revision of it whose prunes were held.
    pub(crate) held: Option<(String, u64)>,
}

impl Parent {
    pub(crate) fn read(object: &Value) -> Self {
        let annotation = |key: &str| object.pointer("/metadata/annotations").and_then(|map| map.get(key)).and_then(Value::as_str);
        let list = |key: &str| -> Vec<String> {
            let text = annotation(key).unwrap_or_default();
            text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
        };
        let scope = Scope { group_kinds: list(GROUP_KINDS), namespaces: list(NAMESPACES) };
        let held = annotation(HELD).and_then(|text| text.rsplit_once('/'));
        let held = held.and_then(|(epoch, revision)| Some((epoch.to_owned(), revision.parse().ok()?)));
        Self { scope, epoch: annotation(EPOCH).map(str::to_owned), held }
    }

    /// Whether the members were applied under another epoch than this.
    pub(crate) fn is_of_another(&self, epoch: &str) -> bool {
        self.epoch.as_deref().is_some_and(|written| written != epoch)
    }

    /// Whether a prune for this revision follows from a change of epoch: the broker may have been restored from an old backup. It
    /// does not when somebody sent a newer revision since the first one of the epoch was held.
    pub(crate) fn holds(&self, epoch: &str, revision: u64) -> bool {
        let is_newer = |(held, first): &(String, u64)| held == epoch && revision > *first;
        self.is_of_another(epoch) && !self.held.as_ref().is_some_and(is_newer)
    }
}

/// The scope of these manifests.
pub(crate) fn scope_of(manifests: &[Arc<Manifest>]) -> Scope {
    let kinds: BTreeSet<_> = manifests.iter().map(|manifest| manifest.id.kind.to_string()).collect();
    let namespaces: BTreeSet<_> = manifests.iter().filter_map(|manifest| manifest.id.namespace.clone()).collect();
    Scope { group_kinds: kinds.into_iter().collect(), namespaces: namespaces.into_iter().collect() }
}

/// Everything that is in either scope.
pub(crate) fn union(one: &Scope, other: &Scope) -> Scope {
    let join = |a: &[String], b: &[String]| a.iter().chain(b).cloned().collect::<BTreeSet<_>>().into_iter().collect();
    Scope { group_kinds: join(&one.group_kinds, &other.group_kinds), namespaces: join(&one.namespaces, &other.namespaces) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_says_what_it_was_given_and_its_id_follows_the_specification() {
        let set = ApplySet::of(StackId(Default::default()), "brokkr-system");
        assert!(set.id.starts_with("applyset-") && set.id.ends_with("-v1"));
        assert_eq!(set.id.len(), "applyset-".len() + 43 + "-v1".len());
        let scope = Scope { group_kinds: vec!["ConfigMap".into(), "Deployment.apps".into()], namespaces: vec!["shop".into()] };
        let parent = Parent::read(&set.parent("shop", &scope, "i", &Epoch::Now("e")));
        assert_eq!(parent.scope.group_kinds, scope.group_kinds);
        assert_eq!(parent.scope.namespaces, ["shop"]);
        assert_eq!((parent.epoch.as_deref(), parent.held), (Some("e"), None));
    }

    #[test]
    fn the_first_revision_of_a_new_epoch_is_held_and_a_newer_one_is_not() {
        let set = ApplySet::of(StackId(Default::default()), "brokkr-system");
        let read = |epoch: &Epoch<'_>| Parent::read(&set.parent("shop", &Scope::default(), "i", epoch));
        let before = read(&Epoch::Now("old"));
        assert!(!before.holds("old", 7) && before.holds("new", 7) && before.holds("new", 8));
        let held = read(&Epoch::Kept { epoch: "old", now: "new", revision: 7 });
        assert!(held.is_of_another("new") && held.holds("new", 7) && held.holds("new", 6));
        assert!(!held.holds("new", 8), "somebody sent it under the new epoch");
        assert!(held.holds("newest", 8), "restored once more");
    }
}
