//! What the log says of deployments that begin a phase together: one record, whatever their number. What each of them was in before
//! stands in its own last record.

use std::collections::BTreeMap;

use brokkr_api::{AgentId, Name, rollouts::Phase};
use tracing::info;

use crate::{domain::targeting::TargetChange, store::StackRow};

/// Of one stack at many agents.
pub(super) fn of_stack(stack: &StackRow, agents: u64, to: Phase, reason: &'static str) {
    if agents > 0 {
        info!(stack.id = %stack.id, stack.name = %stack.name, generation = stack.generation, agents, to = to.as_str(), reason,
            "deployments begin a new phase");
    }
}

/// Of many stacks at one agent.
pub(super) fn of_agent(id: AgentId, name: &Name, stacks: u64, to: Phase, reason: &'static str) {
    if stacks > 0 {
        info!(agent.id = %id, agent.name = %name, stacks, to = to.as_str(), reason, "deployments begin a new phase");
    }
}

/// The phases that these changes begin, and how many deployments begin each.
pub(super) fn begun(changes: &[TargetChange]) -> impl Iterator<Item = (Phase, u64)> {
    let mut begun = BTreeMap::new();
    for change in changes {
        *begun.entry(change.phase).or_default() += 1;
    }
    begun.into_iter()
}
