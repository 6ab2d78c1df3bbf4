//! What may be deleted. Every rule here errs on the side of keeping.

use std::collections::HashSet;

use serde::Serialize;

use super::{Held, Member, Observed};
use crate::object::{GroupKind, Manifest, ObjectId};

/// Prunes of more objects than this need an approval.
const MAX_PRUNED: usize = 10;
/// Prunes of more than this share of the members (and of at least [`MIN_SHARE`]) need one too.
const MAX_SHARE: f64 = 0.3;
const MIN_SHARE: usize = 3;

/// What the broker's order allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Policy {
    /// A person deleted the stack, which approves the deletion of everything in it.
    pub(crate) deletion_approved: bool,
    /// The broker's epoch changed since these members were applied: it may have been restored from an old backup.
    pub(crate) epoch_changed: bool,
}

/// Why a member that should go is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HoldReason {
    /// Namespaces, CRDs and volumes hold what a manifest does not.
    ProtectedKind,
    /// More objects would go than one change usually removes.
    TooMany,
    /// The broker's epoch is another since the members were applied.
    EpochChanged,
}

impl HoldReason {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::ProtectedKind => "approval_required_protected_kind",
            Self::TooMany => "approval_required_too_many",
            Self::EpochChanged => "approval_required_epoch_changed",
        }
    }

    pub(crate) fn explain(self) -> &'static str {
        match self {
            Self::ProtectedKind => "namespaces, CRDs and volumes are not deleted without an approval",
            Self::TooMany => "this change would delete unusually many objects, and waits for an approval",
            Self::EpochChanged => {
                "the broker's epoch changed since this object was applied, and its deletion waits for an approval"
            }
        }
    }
}

pub(super) struct Removal {
    pub(super) delete: Vec<Member>,
    pub(super) held: Vec<Held>,
}

/// Sorts the members that the manifests do not name into those that go and those that are held.
pub(super) fn decide(manifests: &[Manifest], observed: &Observed, policy: &Policy) -> Removal {
    let mut removal = Removal { delete: Vec::new(), held: Vec::new() };
    // Absence of information is never an order to delete.
    if !observed.complete {
        return removal;
    }
    let wanted: HashSet<&ObjectId> = manifests.iter().map(|manifest| &manifest.id).collect();
    let is_ours = |member: &&Member| member.managed_by_us && !member.has_owner && !member.keep;
    let members: Vec<&Member> = observed.members.iter().filter(is_ours).collect();
    let surplus: Vec<&Member> = members.iter().copied().filter(|member| !wanted.contains(&member.id)).collect();
    let too_many = surplus.len() > MAX_PRUNED || (surplus.len() >= MIN_SHARE && share(surplus.len(), members.len()) > MAX_SHARE);
    for member in surplus {
        let reason = match () {
            () if policy.epoch_changed => Some(HoldReason::EpochChanged),
            () if policy.deletion_approved => None,
            () if is_protected(&member.id.kind) => Some(HoldReason::ProtectedKind),
            () if too_many => Some(HoldReason::TooMany),
            () => None,
        };
        match reason {
            Some(reason) => removal.held.push(Held { member: member.clone(), reason }),
            None => removal.delete.push(member.clone()),
        }
    }
    removal
}

#[expect(clippy::cast_precision_loss, reason = "a share of at most thousands of objects")]
fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

fn is_protected(kind: &GroupKind) -> bool {
    kind.is("", "Namespace")
        || kind.is("", "PersistentVolume")
        || kind.is("", "PersistentVolumeClaim")
        || kind.is("apiextensions.k8s.io", "CustomResourceDefinition")
}
