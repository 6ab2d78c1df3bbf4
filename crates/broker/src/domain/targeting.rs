//! Who is concerned by a stack, and what changes when that changes.

use brokkr_api::{
    AgentId, Labels, Name, StackId, TargetSelector,
    desired_state::Action,
    rollouts::Phase,
    stacks::{PREVIEW_AGENTS, PREVIEW_PERCENT},
};
use serde::Serialize;
use sha2::{Digest, Sha256};

use brokkr_runtime::hex;

/// One deployment that begins or ends because targeting changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct TargetChange {
    pub(crate) agent: AgentId,
    pub(crate) stack: StackId,
    pub(crate) action: Action,
    /// The phase before; none where there was no deployment.
    #[serde(skip)]
    pub(crate) from: Option<Phase>,
    pub(crate) phase: Phase,
    pub(crate) generation: u64,
    pub(crate) digest: Option<String>,
}

/// An agent's deployment of a stack; none of each where there was never any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Current {
    pub(crate) action: Option<Action>,
    pub(crate) phase: Option<Phase>,
}

impl Current {
    /// It has the stack, or will.
    pub(crate) fn has(self) -> bool {
        self.action == Some(Action::Apply)
    }

    /// It was told to remove the stack and has not acknowledged that.
    pub(crate) fn leaves(self) -> bool {
        !self.has() && matches!(self.phase, Some(Phase::Deleting | Phase::Progressing | Phase::Failed))
    }
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

/// What happens to one deployment when a stack's selector meets an agent; nothing when it stays as it is.
pub(crate) fn change(target: &Target<'_>, agent: &Candidate<'_>, current: Current) -> Option<TargetChange> {
    let wanted = target.selector.matches(agent.name, agent.labels);
    let (action, phase, digest) = match (wanted, current.has()) {
        (true, false) => (Action::Apply, Phase::Pending, target.digest.map(str::to_owned)),
        // What was never handed to an agent needs no tombstone.
        (false, true) if target.generation == 0 => (Action::Withdraw, Phase::Deleted, None),
        (false, true) => (Action::Withdraw, Phase::Deleting, None),
        _ => return None,
    };
    let (agent, stack, from) = (agent.id, target.id, current.phase);
    Some(TargetChange { agent, stack, action, from, phase, generation: target.generation, digest })
}

/// What an agent has to do with a stack already, as a new revision.
pub(crate) fn again(target: &Target<'_>, agent: AgentId, current: Current) -> TargetChange {
    let (action, phase, digest) = if current.has() {
        (Action::Apply, Phase::Pending, target.digest.map(str::to_owned))
    } else {
        (Action::Withdraw, Phase::Deleting, None)
    };
    TargetChange { agent, stack: target.id, action, from: current.phase, phase, generation: target.generation, digest }
}

/// Whether a change that takes a stack from `lost` of the `had` agents that have it must have been looked at before.
pub(crate) fn needs_preview(had: u64, lost: u64) -> bool {
    lost >= PREVIEW_AGENTS && lost * 100 > had * PREVIEW_PERCENT
}

/// Confirms one change of targets: it names the stack as it is, the selector and exactly the agents that lose the stack.
///
/// No secret: it proves that somebody has looked, not who. It needs no memory, and ceases to be valid when the consequence changes.
pub(crate) fn preview_token(stack: StackId, version: u64, selector: &TargetSelector, lost: &mut [AgentId]) -> String {
    lost.sort_unstable();
    let mut hash = Sha256::new();
    hash.update(stack.0.as_bytes());
    hash.update(version.to_be_bytes());
    hash.update(serde_json::to_vec(selector).unwrap_or_default());
    for agent in lost.iter() {
        hash.update(agent.0.as_bytes());
    }
    hex(&hash.finalize()[..16])
}

#[cfg(test)]
mod tests {
    use brokkr_api::Timestamp;
    use brokkr_runtime::{Ids, SeededIds};

    use super::*;

    fn id(ids: &SeededIds) -> uuid::Uuid {
        ids.uuid(Timestamp::from_micros(0))
    }

    #[test]
    fn agents_that_match_begin_those_that_no_longer_match_end_and_the_rest_is_left_alone() {
        let ids = SeededIds::new(1);
        let names: Vec<Name> = ["new", "kept", "lost", "never"].iter().map(|name| name.parse().unwrap()).collect();
        let labels = Labels::default();
        let agents: Vec<_> = names.iter().map(|name| Candidate { id: AgentId(id(&ids)), name, labels: &labels }).collect();
        let selector = TargetSelector { names: names[..2].to_vec(), labels: None };
        let target = Target { id: StackId(id(&ids)), selector: &selector, generation: 3, digest: Some("sha256:x") };

        let healthy = Current { action: Some(Action::Apply), phase: Some(Phase::Healthy) };
        let current = [Current::default(), healthy, healthy, Current::default()];
        let changes: Vec<_> = agents.iter().zip(current).filter_map(|(agent, current)| change(&target, agent, current)).collect();

        let seen: Vec<_> = changes.iter().map(|change| (change.agent, change.action, change.digest.as_deref())).collect();
        assert_eq!(seen, [(agents[0].id, Action::Apply, Some("sha256:x")), (agents[2].id, Action::Withdraw, None)]);
        assert_eq!((changes[0].from, changes[0].phase), (None, Phase::Pending));
        assert_eq!((changes[1].from, changes[1].phase), (Some(Phase::Healthy), Phase::Deleting));
    }

    #[test]
    fn what_was_never_handed_out_needs_no_tombstone() {
        let ids = SeededIds::new(1);
        let (name, labels, selector) = ("edge".parse().unwrap(), Labels::default(), TargetSelector::default());
        let target = Target { id: StackId(id(&ids)), selector: &selector, generation: 0, digest: None };
        let agent = Candidate { id: AgentId(id(&ids)), name: &name, labels: &labels };
        let pending = Current { action: Some(Action::Apply), phase: Some(Phase::Pending) };
        assert_eq!(change(&target, &agent, pending).unwrap().phase, Phase::Deleted);
    }

    #[test]
    fn only_a_loss_of_many_agents_needs_a_preview() {
        for (had, lost, needed) in [(100, 30, false), (100, 31, true), (2, 2, false), (3, 3, true), (9, 3, true), (10, 3, false)]
        {
            assert_eq!(needs_preview(had, lost), needed, "{lost} of {had}");
        }
    }

    #[test]
    fn a_token_is_for_one_change_of_one_version_and_for_those_agents_alone() {
        let ids = SeededIds::new(2);
        let (stack, one, other) = (StackId(id(&ids)), AgentId(id(&ids)), AgentId(id(&ids)));
        let token = preview_token(stack, 1, &TargetSelector::default(), &mut [one, other]);
        assert_eq!(token, preview_token(stack, 1, &TargetSelector::default(), &mut [other, one]), "the order is no part of it");
        for another in [
            preview_token(stack, 2, &TargetSelector::default(), &mut [one, other]),
            preview_token(stack, 1, &TargetSelector::everyone(), &mut [one, other]),
            preview_token(stack, 1, &TargetSelector::default(), &mut [one]),
            preview_token(StackId(one.0), 1, &TargetSelector::default(), &mut [one, other]),
        ] {
            assert_ne!(token, another);
        }
    }
}
