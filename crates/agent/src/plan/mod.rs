//! What to do, as a value: `plan` is pure. It has no client and no clock; acting is a walk over its stages.

mod order;
mod prune;
#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::object::{Manifest, ObjectId};

pub(crate) use prune::{HoldReason, Policy};

/// What the cluster holds of a stack.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Observed {
    /// Whether every kind and namespace of the scope was listed. From an incomplete observation nothing is ever deleted.
    pub(crate) complete: bool,
    /// Objects that carry the stack's label.
    pub(crate) members: Vec<Member>,
}

/// An object in the cluster that carries the stack's label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Member {
    pub(crate) id: ObjectId,
    pub(crate) api_version: String,
    pub(crate) uid: String,
    pub(crate) resource_version: String,
    /// Whether our field manager has an entry in its managed fields: a label alone can be copied by anybody.
    pub(crate) managed_by_us: bool,
    /// Whether another object owns it and will take it along.
    pub(crate) has_owner: bool,
    /// `brokkr.io/prune: "false"`.
    pub(crate) keep: bool,
    /// Whether its deletion is under way already.
    pub(crate) is_terminating: bool,
}

/// What to do with a stack.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Goal {
    /// Make the cluster equal to these manifests.
    Apply(Vec<Manifest>),
    /// Remove everything.
    Remove,
}

/// Stages run one after the other; the actions of a stage run side by side.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Plan {
    pub(crate) apply: Vec<ApplyStage>,
    pub(crate) delete: Vec<DeleteStage>,
    /// Members that should go, and may not without an approval.
    pub(crate) held: Vec<Held>,
}

/// Objects to apply side by side.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ApplyStage {
    pub(crate) name: &'static str,
    pub(crate) objects: Vec<Manifest>,
    /// Whether to wait for these CRDs to be established before the next stage.
    pub(crate) wait_established: bool,
}

/// Objects to delete side by side; the next stage begins when they are gone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct DeleteStage {
    pub(crate) name: &'static str,
    pub(crate) members: Vec<Member>,
}

/// A member that is kept for now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Held {
    pub(crate) member: Member,
    pub(crate) reason: HoldReason,
}

/// Plans. The order of manifests and members does not matter but for objects of one stage, which keep theirs.
pub(crate) fn plan(goal: Goal, observed: &Observed, policy: &Policy) -> Plan {
    let manifests = match goal {
        Goal::Apply(manifests) => manifests,
        Goal::Remove => Vec::new(),
    };
    let removal = prune::decide(&manifests, observed, policy);
    Plan { delete: order::delete_stages(removal.delete), held: removal.held, apply: order::apply_stages(manifests) }
}
