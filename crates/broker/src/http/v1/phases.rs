//! What the log says of deployments that begin a phase together: one record for each phase that they were in, whatever their number.

use std::collections::BTreeMap;

use brokkr_api::{AgentId, Name, rollouts::Phase};
use tracing::info;

use crate::{
    domain::targeting::TargetChange,
    store::{Phases, StackRow},
};

/// Which phases deployments leave and begin, and how many do. Before its first phase a deployment is in none.
type Begun = BTreeMap<(Option<Phase>, Phase), u64>;

/// Of one stack at many agents.
pub(super) fn of_stack(stack: &StackRow, begun: Begun, reason: &'static str) {
    for ((from, to), agents) in begun {
        info!(stack.id = %stack.id, stack.name = %stack.name, generation = stack.generation, agents, from = word(from), to = to.as_str(),
            reason, "deployments begin a new phase");
    }
}

/// Of many stacks at one agent.
pub(super) fn of_agent(id: AgentId, name: &Name, begun: Begun, reason: &'static str) {
    for ((from, to), stacks) in begun {
        info!(agent.id = %id, agent.name = %name, stacks, from = word(from), to = to.as_str(), reason, "deployments begin a new phase");
    }
}

fn word(phase: Option<Phase>) -> &'static str {
    phase.map_or("none", Phase::as_str)
}

/// What these changes begin.
pub(super) fn begun(changes: &[TargetChange]) -> Begun {
    let mut begun = Begun::new();
    for change in changes {
        *begun.entry((change.from, change.phase)).or_default() += 1;
    }
    begun
}

/// All of these begin one phase.
pub(super) fn all_to(before: &Phases, to: Phase) -> Begun {
    before.iter().map(|(from, count)| ((Some(*from), to), *count)).collect()
}
