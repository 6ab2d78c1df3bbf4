//! What may be deleted. Every rule here errs on the side of keeping.

use std::{collections::HashSet, sync::Arc};

use brokkr_api::policy::{DeletePolicy, HeldPlan};
use brokkr_runtime::hex;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{Held, Observed, Policy};
use crate::{
    live::Live,
    object::{GroupKind, Manifest, ObjectId},
};

/// Prunes of more objects than this need an approval.
const MAX_PRUNED: usize = 10;
/// Prunes of more than this share of the members (and of at least [`MIN_SHARE`]) need one too.
const MAX_SHARE: f64 = 0.3;
const MIN_SHARE: usize = 3;

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

#[derive(Default)]
pub(super) struct Removal {
    pub(super) delete: Vec<Live>,
    pub(super) release: Vec<Live>,
    pub(super) held: Vec<Held>,
    pub(super) held_plan: Option<HeldPlan>,
    pub(super) postponed: usize,
}

/// Sorts the members that the manifests do not name into those that go, those that are let go, and those that are held.
pub(super) fn decide(manifests: &[Arc<Manifest>], everything_goes: bool, observed: &Observed, policy: &Policy) -> Removal {
    let mut removal = Removal::default();
    // Absence of information is never an order to delete.
    if !observed.complete {
        return removal;
    }
    let wanted: HashSet<&ObjectId> = manifests.iter().map(|manifest| &manifest.id).collect();
    let is_ours = |member: &&Live| member.is_ours() && !member.has_owner;
    let members: Vec<&Live> = observed.members.iter().filter(is_ours).collect();
    let is_surplus = |member: &&&Live| !wanted.contains(&member.id) && !observed.wanted_elsewhere.contains(&member.id);
    let mut surplus: Vec<&Live> = members.iter().filter(is_surplus).copied().collect();
    if policy.deletes_nothing {
        removal.postponed = surplus.iter().filter(|member| everything_goes || !member.keep).count();
        return removal;
    }
    if policy.delete_policy == DeletePolicy::Orphan {
        removal.release = surplus.into_iter().cloned().collect();
        return removal;
    }
    if everything_goes {
        // Without its stack a kept object is nobody's.
        removal.release = surplus.iter().filter(|member| member.keep).map(|member| (*member).clone()).collect();
    }
    surplus.retain(|member| !member.keep);
    let too_many = surplus.len() > MAX_PRUNED || (surplus.len() >= MIN_SHARE && share(surplus.len(), members.len()) > MAX_SHARE);
    for member in surplus {
        let reason = match () {
            // Nothing is left to approve.
            () if member.is_terminating || observed.approved.contains(&member.uid) => None,
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
    let held_plan = held_plan(&removal.held, policy.revision);
    if held_plan.is_some() && held_plan.as_ref().map(|held| &held.plan) == policy.approved.as_ref() {
        removal.delete.extend(removal.held.drain(..).map(|held| held.member));
    } else {
        removal.held_plan = held_plan;
    }
    removal
}

/// Names exactly these objects at exactly this revision, whatever their order.
fn held_plan(held: &[Held], revision: u64) -> Option<HeldPlan> {
    let mut objects: Vec<_> = held.iter().map(|held| format!("{} {}", held.member.id, held.member.uid)).collect();
    objects.sort();
    let mut hasher = Sha256::new();
    hasher.update(revision.to_be_bytes());
    objects.iter().for_each(|object| {
        hasher.update(object);
        hasher.update([0]);
    });
    let digest = hex(&hasher.finalize());
    (!held.is_empty()).then(|| HeldPlan { plan: format!("sha256:{digest}"), objects: held.len() as u64 })
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
