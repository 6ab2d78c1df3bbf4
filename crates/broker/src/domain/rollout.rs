//! Summing up a rollout for people.

use brokkr_api::{
    Timestamp,
    desired_state::Action,
    rollouts::{Deployment, Phase},
};

/// Whether a deployment needs nothing more.
pub(crate) fn is_finished(phase: Phase) -> bool {
    matches!(phase, Phase::Applied | Phase::Healthy | Phase::Degraded | Phase::Deleted | Phase::Orphaned)
}

/// Whether a report of this phase acknowledges the revision.
pub(crate) fn acknowledges(action: Action, phase: Phase) -> bool {
    match action {
        Action::Apply => matches!(phase, Phase::Applied | Phase::Healthy | Phase::Degraded),
        Action::Delete | Action::Withdraw => phase == Phase::Deleted,
    }
}

/// Whether an agent may report this phase for this action.
pub(crate) fn is_reportable(action: Action, phase: Phase) -> bool {
    match phase {
        Phase::Progressing | Phase::Failed => true,
        Phase::Applied | Phase::Healthy | Phase::Degraded => action == Action::Apply,
        Phase::Deleting | Phase::Deleted => action != Action::Apply,
        Phase::Pending | Phase::Suspended | Phase::Orphaned => false,
    }
}

/// What a deployment waits for, in words; nothing when it is finished.
pub(crate) fn waiting_for(
    deployment: &Deployment,
    last_seen_at: Option<Timestamp>,
    online: bool,
    attempts: u64,
) -> Option<String> {
    let work = if deployment.action == Action::Apply { "apply" } else { "delete" };
    match deployment.phase {
        phase if is_finished(phase) => None,
        Phase::Failed => Some(format!("the agent to try again (attempt {attempts} failed)")),
        Phase::Suspended => Some("somebody to resume it".to_owned()),
        _ if last_seen_at.is_none() => Some(format!("agent {} to connect for the first time", deployment.agent)),
        _ if !online => Some(format!(
            "agent {} to come back (last seen {})",
            deployment.agent,
            last_seen_at.map_or_else(String::new, |at| at.to_string())
        )),
        Phase::Progressing => Some(format!("the agent to {work} the remaining objects")),
        _ => Some(format!("the agent to pick up revision {} and {work} it", deployment.revision)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tombstone_is_acknowledged_by_deleted_alone_and_an_apply_never_by_it() {
        for phase in Phase::ALL {
            assert_eq!(acknowledges(Action::Delete, phase), phase == Phase::Deleted, "{phase:?}");
            assert!(!(acknowledges(Action::Apply, phase) && phase == Phase::Deleted));
            if acknowledges(Action::Apply, phase) {
                assert!(is_reportable(Action::Apply, phase) && is_finished(phase), "{phase:?}");
            }
        }
    }
}
