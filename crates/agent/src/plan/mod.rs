//! What to do, as a value: `plan` is pure. It has no client and no clock; acting is a walk over its stages.

mod order;
mod prune;
mod step;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use brokkr_api::policy::{Adoption, DeletePolicy, HeldPlan};
use serde::Serialize;

use crate::{
    ledger::Applied,
    live::Live,
    object::{GroupKind, Manifest, ObjectId},
};

pub(crate) use prune::HoldReason;
pub(crate) use step::{Refusal, Step};

/// What the cluster holds of a stack, and what the agent knows about it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Observed {
    /// Whether every kind and namespace of the scope was listed. From an incomplete observation nothing is ever deleted.
    pub(crate) complete: bool,
    /// Objects that carry the stack's label.
    pub(crate) members: Vec<Live>,
    /// Objects that the manifests name and that do not carry it.
    pub(crate) strangers: Vec<Live>,
    /// Kinds that the agent has no right to read, with the API server's words.
    pub(crate) unreadable: BTreeMap<GroupKind, String>,
    /// What was applied since the agent started.
    pub(crate) applied: HashMap<ObjectId, Applied>,
    /// Objects that somebody else keeps changing, and when they are repaired next.
    pub(crate) contested: HashMap<ObjectId, Instant>,
    /// Surplus members that another stack has in its manifests: they move there.
    pub(crate) wanted_elsewhere: HashSet<ObjectId>,
    /// UIDs of members whose deletion was approved at this revision, and is not finished.
    pub(crate) approved: HashSet<String>,
    /// Strangers that belong to another stack, and whether it still has them in its manifests.
    pub(crate) other_stacks: HashMap<ObjectId, OtherStack>,
}

/// The other stack that an object belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OtherStack {
    pub(crate) name: String,
    pub(crate) wants_it: bool,
}

/// What to do with a stack.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Goal {
    /// Make the cluster equal to these manifests.
    Apply(Vec<Arc<Manifest>>),
    /// Remove everything.
    Remove,
}

/// What the stack and the broker's order allow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Policy {
    /// The stack's `ApplySet`.
    pub(crate) set: String,
    pub(crate) revision: u64,
    pub(crate) adoption: Adoption,
    pub(crate) delete_policy: DeletePolicy,
    /// Nothing is deleted now, whatever the rest says: the broker is away.
    pub(crate) deletes_nothing: bool,
    /// A person deleted the stack, which approves the deletion of everything in it.
    pub(crate) deletion_approved: bool,
    /// The broker's epoch changed since the members were applied: it may have been restored from an old backup.
    pub(crate) epoch_changed: bool,
    /// The held plan that a person has approved.
    pub(crate) approved: Option<String>,
}

/// Stages run one after the other; the actions of a stage run side by side.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Plan {
    /// In order; the next one begins when the one before is healthy.
    pub(crate) waves: Vec<Wave>,
    pub(crate) delete: Vec<DeleteStage>,
    /// Members that stay in the cluster and leave the stack.
    pub(crate) release: Vec<Live>,
    /// Members that should go, and may not without an approval.
    pub(crate) held: Vec<Held>,
    /// How many members should go, and stay because nothing is deleted now.
    pub(crate) postponed: usize,
    /// What an approval of the held ones must name.
    #[serde(skip)]
    pub(crate) held_plan: Option<HeldPlan>,
}

/// Objects that have to be healthy before the next wave.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Wave {
    pub(crate) number: i32,
    pub(crate) stages: Vec<ApplyStage>,
}

/// Objects to apply side by side.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ApplyStage {
    pub(crate) name: &'static str,
    pub(crate) actions: Vec<Action>,
    /// Whether to wait for these CRDs to be established before the next stage.
    pub(crate) wait_established: bool,
}

/// One object and what to do about it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Action {
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) step: Step,
}

/// Objects to delete side by side; the next stage begins when they are gone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct DeleteStage {
    pub(crate) name: &'static str,
    pub(crate) members: Vec<Live>,
}

/// A member that is kept for now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Held {
    pub(crate) member: Live,
    pub(crate) reason: HoldReason,
}

impl Plan {
    /// Whether acting on it changes nothing in the cluster.
    pub(crate) fn changes_nothing(&self) -> bool {
        let idle = |action: &Action| !action.step.changes_something();
        self.delete.is_empty() && self.release.is_empty() && self.actions().all(idle)
    }

    pub(crate) fn actions(&self) -> impl Iterator<Item = &Action> {
        self.waves.iter().flat_map(|wave| &wave.stages).flat_map(|stage| &stage.actions)
    }
}

/// Plans. The order of manifests and members does not matter but for objects of one stage, which keep theirs.
pub(crate) fn plan(goal: &Goal, observed: &Observed, policy: &Policy, now: Instant) -> Plan {
    let manifests = match goal {
        Goal::Apply(manifests) => manifests.as_slice(),
        Goal::Remove => &[],
    };
    let removal = prune::decide(manifests, matches!(goal, Goal::Remove), observed, policy);
    let look = step::Look::new(observed, policy, now);
    let actions = manifests.iter().map(|manifest| Action { step: look.step(manifest), manifest: Arc::clone(manifest) });
    Plan {
        waves: order::waves(actions),
        delete: order::delete_stages(removal.delete),
        release: removal.release,
        held: removal.held,
        held_plan: removal.held_plan,
        postponed: removal.postponed,
    }
}
