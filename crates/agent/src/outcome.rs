//! The report of an attempt.

use brokkr_api::{
    desired_state::{Action, DesiredDeployment, Scope},
    policy::MAX_DRIFT,
    reports::{Failure, MAX_MESSAGE, ObjectOutcome, ObjectReport, Report},
    rollouts::Phase,
};

use crate::{
    act::Done,
    attempt::Obstacle,
    object::{ObjectId, reference},
    schedule::Due,
};

impl Obstacle {
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Kube(failure) => failure.class.as_str(),
            Self::Content(_) | Self::BrokerAway => "broker_unreachable",
            Self::NoContent => "invalid",
            Self::Stopped(_) => "suspended",
        }
    }
}

fn empty(deployment: &DesiredDeployment, due: Due) -> Report {
    Report {
        stack_id: deployment.stack_id,
        revision: due.revision,
        phase: Phase::Failed,
        attempt: due.attempt,
        objects: Vec::new(),
        error: None,
        health: None,
        scope: None,
        held: None,
        drift: Vec::new(),
    }
}

/// The report of an attempt that came to no result.
pub(crate) fn hindered(deployment: &DesiredDeployment, due: Due, obstacle: &Obstacle) -> Report {
    let message = obstacle.to_string().chars().take(MAX_MESSAGE).collect();
    let error = Failure { reason: obstacle.reason().to_owned(), message, object: None };
    Report { error: Some(error), ..empty(deployment, due) }
}

/// The report while something is being waited for.
pub(crate) fn waiting(deployment: &DesiredDeployment, due: Due, what: Failure) -> Report {
    Report { phase: unfinished(deployment.action), error: Some(what), ..empty(deployment, due) }
}

/// The report of what was done.
pub(crate) fn finished(deployment: &DesiredDeployment, due: Due, done: Done, scope: Scope) -> Report {
    let action = deployment.action;
    let failure = done.failure.as_ref().map(|(id, failure)| Failure {
        reason: failure.class.as_str().to_owned(),
        message: failure.message.clone(),
        object: Some(named(id, &done.objects)),
    });
    let (phase, error) = match (action, failure) {
        (_, Some(failure)) => (Phase::Failed, Some(failure)),
        (_, None) if done.stopped.is_some() => (unfinished(action), Some(suspended(&done.objects))),
        (_, None) if !done.still_there.is_empty() => (unfinished(action), Some(terminating(&done))),
        (_, None) if done.postponed > 0 => (unfinished(action), Some(postponed(done.postponed))),
        (Action::Apply, None) => (Phase::Applied, None),
        (_, None) => match &done.held_plan {
            Some(held) => {
                let message = format!("{} objects wait for an approval of their deletion", held.objects);
                (Phase::Deleting, Some(Failure { reason: "approval_required".to_owned(), message, object: None }))
            }
            None => (Phase::Deleted, None),
        },
    };
    let mut drift = done.drift;
    drift.truncate(MAX_DRIFT);
    Report { phase, error, objects: done.objects, scope: Some(scope), held: done.held_plan, drift, ..empty(deployment, due) }
}

/// The phase of what is under way.
pub(crate) fn unfinished(action: Action) -> Phase {
    if action == Action::Apply { Phase::Progressing } else { Phase::Deleting }
}

/// The object as the report names it, with the version of its API.
fn named(id: &ObjectId, objects: &[ObjectReport]) -> brokkr_api::reports::ObjectRef {
    let is_it = |object: &&ObjectReport| {
        object.object.kind == id.kind.kind && object.object.namespace == id.namespace && object.object.name == id.name
    };
    objects.iter().find(is_it).map_or_else(|| reference(id, ""), |report| report.object.clone())
}

fn suspended(objects: &[ObjectReport]) -> Failure {
    let left = objects.iter().filter(|object| object.outcome == ObjectOutcome::Skipped).count();
    let message = format!("suspended on the way: {left} of {} objects are left until somebody resumes it", objects.len());
    Failure { reason: "suspended".to_owned(), message, object: None }
}

fn postponed(objects: usize) -> Failure {
    let message = format!("{objects} objects should go, and stay as long as the broker does not answer");
    Failure { reason: "broker_unreachable".to_owned(), message, object: None }
}

fn terminating(done: &Done) -> Failure {
    let message = format!("waiting for {} objects to be gone; a finalizer may hold them", done.still_there.len());
    let object = done.still_there.first().map(|id| named(id, &done.objects));
    Failure { reason: "terminating".to_owned(), message, object }
}
