//! Summing up a rollout for people.

use brokkr_api::{
    Timestamp,
    desired_state::Action,
    policy::HeldPlan,
    rollouts::{Deployment, Phase},
    suspension::Suspension,
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

/// What a deployment waits for, in words; nothing when it is finished and no deletion waits for an approval.
pub(crate) fn waiting_for(deployment: &Deployment, last_seen_at: Option<Timestamp>, online: bool) -> Option<String> {
    let work = if deployment.action == Action::Apply { "apply" } else { "delete" };
    match deployment.phase {
        Phase::Suspended => Some(deployment.suspended.as_ref().map_or_else(|| "somebody to resume it".to_owned(), held)),
        Phase::Deleted | Phase::Orphaned => None,
        _ if let Some(held) = deployment.held.as_ref().filter(|_| !deployment.approved) => Some(to_approve(deployment, held)),
        phase if is_finished(phase) => None,
        _ if last_seen_at.is_none() => Some(format!("agent {} to connect for the first time", deployment.agent)),
        _ if !online => Some(format!(
            "agent {} to come back (last seen {})",
            deployment.agent,
            last_seen_at.map_or_else(String::new, |at| at.to_string())
        )),
        Phase::Failed => Some(format!("the agent to try again (attempt {} failed)", deployment.attempts)),
        Phase::Progressing => Some(format!("the agent to {work} the remaining objects")),
        _ if deployment.picked_up_at.is_some() => {
            Some(format!("the agent to {work} revision {}, which it has", deployment.revision))
        }
        _ => Some(format!("the agent to pick up revision {} and {work} it", deployment.revision)),
    }
}

fn to_approve(deployment: &Deployment, held: &HeldPlan) -> String {
    let (stack, agent) = (&deployment.stack, &deployment.agent);
    let objects = if held.objects == 1 { "1 object" } else { &format!("{} objects", held.objects) };
    format!("somebody to approve the deletion of {objects}: brokkr approve {stack} --agent {agent}")
}

fn held(suspension: &Suspension) -> String {
    let what = suspension.scope.in_words();
    format!("somebody to resume {what}, which {} suspended: {}", suspension.by, suspension.reason)
}

/// Whether this change of phase is told to the world: one that was applied once is not applied again when its health is in doubt.
pub(crate) fn is_event(before: Phase, after: Phase, acknowledged: bool) -> bool {
    let in_doubt = acknowledged && after == Phase::Applied && matches!(before, Phase::Healthy | Phase::Degraded);
    before != after && !in_doubt
}

/// Whether a report comes too late to tell anything: the revision was acknowledged, and beginning with it again is no news.
pub(crate) fn is_late(phase: Phase, acknowledged: bool) -> bool {
    acknowledged && phase == Phase::Progressing
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
