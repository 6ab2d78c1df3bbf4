//! Who is concerned by a stack, and what changes when that changes.

use std::collections::HashSet;

use brokkr_api::{AgentId, Labels, Name, StackId, TargetSelector, desired_state::Action, rollouts::Phase};
use serde::Serialize;

/// One deployment that begins or ends because targeting changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct TargetChange {
    pub(crate) agent: AgentId,
    pub(crate) stack: StackId,
    pub(crate) action: Action,
    pub(crate) phase: Phase,
    pub(crate) generation: u64,
    pub(crate) digest: Option<String>,
}

/// What targeting needs of an agent.
pub(crate) struct Candidate<'a> {
    pub(crate) id: AgentId,
    pub(crate) name: &'a Name,
    pub(crate) labels: &'a Labels,
}

/// What targeting needs of a stack.
pub(crate) struct Target<'a> {
    pub(crate) id: StackId,
    pub(crate) selector: &'a TargetSelector,
    pub(crate) generation: u64,
    pub(crate) digest: Option<&'a str>,
}

/// Deployments that begin and end when a stack's selector meets these agents. `current` are the agents that it is for now.
pub(crate) fn changes_of_stack(target: &Target<'_>, agents: &[Candidate<'_>], current: &HashSet<AgentId>) -> Vec<TargetChange> {
    agents.iter().filter_map(|agent| change(target, agent, current.contains(&agent.id))).collect()
}

/// Deployments that begin and end when an agent meets these stacks. `current` are the stacks that it has now.
pub(crate) fn changes_of_agent(agent: &Candidate<'_>, targets: &[Target<'_>], current: &HashSet<StackId>) -> Vec<TargetChange> {
    targets.iter().filter_map(|target| change(target, agent, current.contains(&target.id))).collect()
}

fn change(target: &Target<'_>, agent: &Candidate<'_>, is_current: bool) -> Option<TargetChange> {
    let wanted = target.selector.matches(agent.name, agent.labels);
    let (action, phase, digest) = match (wanted, is_current) {
        (true, false) => (Action::Apply, Phase::Pending, target.digest.map(str::to_owned)),
        (false, true) => (Action::Withdraw, Phase::Deleting, None),
        _ => return None,
    };
    Some(TargetChange { agent: agent.id, stack: target.id, action, phase, generation: target.generation, digest })
}

#[cfg(test)]
mod tests {
    use brokkr_runtime::{Ids, SeededIds};

    use super::*;

    #[test]
    fn agents_that_match_begin_those_that_no_longer_match_end_and_the_rest_is_left_alone() {
        let ids = SeededIds::new(1);
        let id = || AgentId(ids.uuid(brokkr_api::Timestamp::from_micros(0)));
        let names: Vec<Name> = ["new", "kept", "lost", "never"].iter().map(|name| name.parse().unwrap()).collect();
        let labels = Labels::default();
        let agents: Vec<_> = names.iter().map(|name| Candidate { id: id(), name, labels: &labels }).collect();
        let selector = TargetSelector { names: names[..2].to_vec(), labels: None };
        let stack = StackId(ids.uuid(brokkr_api::Timestamp::from_micros(0)));
        let target = Target { id: stack, selector: &selector, generation: 3, digest: Some("sha256:x") };
        let current = HashSet::from([agents[1].id, agents[2].id]);

        let changes = changes_of_stack(&target, &agents, &current);

        let seen: Vec<_> = changes.iter().map(|change| (change.agent, change.action, change.digest.as_deref())).collect();
        assert_eq!(seen, [(agents[0].id, Action::Apply, Some("sha256:x")), (agents[2].id, Action::Withdraw, None)]);
    }
}
