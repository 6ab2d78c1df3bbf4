//! The loop that turns the desired state into attempts: level-triggered, one stack at a time each, several stacks side by side.

use std::{sync::Arc, time::Instant};

use brokkr_api::{
    Relation,
    client::ClientError,
    desired_state::{DesiredDeployment, DesiredState},
    reports::{Report, ReportResult, Reports},
    rollouts::Phase,
};
use brokkr_runtime::{Ids, Lifecycle};
use brokkr_telemetry::{
    TraceContext, relate,
    spans::{self, ConsumerOutcome, ProcessDeployment},
};
use tokio::sync::{Semaphore, mpsc, watch};
use tracing::{Instrument, info, warn};

use crate::{
    attempt::{Origin, Workshop},
    cluster::Class,
    desired::Desired,
    schedule::{Due, Ended, Schedule},
    status::Status,
};

/// Runs attempts.
pub(crate) struct Reconciler {
    pub(crate) workshop: Arc<Workshop>,
    pub(crate) ids: Arc<dyn Ids>,
    pub(crate) status: Arc<Status>,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) stacks: usize,
}

impl Reconciler {
    /// Works until the lifecycle stops.
    pub(crate) async fn run(self, mut desired: watch::Receiver<Option<Desired>>) {
        let (finished, mut results) = mpsc::unbounded_channel::<(Due, Ended)>();
        let slots = Arc::new(Semaphore::new(self.stacks));
        let mut schedule = Schedule::default();
        let stopping = self.lifecycle.stopping().clone();
        loop {
            let current = desired.borrow_and_update().clone();
            if let Some(state) = current {
                for due in schedule.take_due(&state, Instant::now()) {
                    self.start(Arc::clone(&state), due, Arc::clone(&slots), finished.clone());
                }
            }
            self.status.unfinished(schedule.unfinished());
            let retry = schedule.next_retry();
            tokio::select! {
                () = stopping.cancelled() => return,
                changed = desired.changed() => if changed.is_err() { return },
                Some((due, ended)) = results.recv() => schedule.ended(due, ended, Instant::now(), self.ids.fraction()),
                () = sleep_until(retry) => {}
            }
        }
    }

    fn start(&self, state: Desired, due: Due, slots: Arc<Semaphore>, finished: mpsc::UnboundedSender<(Due, Ended)>) {
        let (workshop, status) = (Arc::clone(&self.workshop), Arc::clone(&self.status));
        self.lifecycle.spawn_work(async move {
            let _slot = slots.acquire_owned().await;
            let deployment = state.deployments.iter().find(|deployment| deployment.stack_id == due.stack);
            let ended = match deployment {
                Some(deployment) => carry_out(&workshop, &state, deployment, due, &status).await,
                None => Ended::Done,
            };
            // The loop is gone only when the agent is ending.
            finished.send((due, ended)).ok();
        });
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// One attempt and its report, inside one CONSUMER span.
async fn carry_out(
    workshop: &Workshop,
    state: &DesiredState,
    deployment: &DesiredDeployment,
    due: Due,
    status: &Status,
) -> Ended {
    let (agent, cluster) = status.identity();
    let stack_id = deployment.stack_id.to_string();
    let span = spans::process_deployment(ProcessDeployment {
        stack: deployment.stack.as_str(),
        stack_id: &stack_id,
        generation: signed(deployment.generation),
        revision: signed(deployment.revision),
        action: deployment.action.as_str(),
        attempt: due.attempt,
        agent: &agent,
        cluster: &cluster,
    });
    if let Some(work) = &deployment.trace
        && let Some(trace) = TraceContext::from_parts(&work.traceparent, work.tracestate.as_deref())
    {
        // The broker decides; a second attempt never prolongs a trace that ended with the first.
        let parent = work.relation == Relation::Parent && due.attempt == 1;
        relate(&span, &trace, if parent { brokkr_telemetry::Relation::Parent } else { brokkr_telemetry::Relation::Link });
    }
    let work = async {
        let origin = Origin { installation: &state.installation, epoch: &state.epoch };
        let report = workshop.attempt(deployment, due, &origin).await;
        log(deployment, &report, status);
        let sent = send(workshop, state, &report).instrument(spans::report()).await;
        (report, sent)
    };
    let (report, sent) = work.instrument(span.clone()).await;
    let object = report.error.as_ref().and_then(|error| error.object.as_ref()).map(ToString::to_string);
    let reason = report.error.as_ref().map(|error| error.reason.as_str());
    spans::record_outcome(&span, ConsumerOutcome { phase: report.phase.as_str(), reason, object: object.as_deref() });
    match (report.phase, sent) {
        (Phase::Applied | Phase::Deleted, true) => Ended::Done,
        _ => Ended::Again,
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Tells the broker. A stale report counts as told: the newer revision is on its way by the poll.
async fn send(workshop: &Workshop, state: &DesiredState, report: &Report) -> bool {
    let reports = Reports { epoch: state.epoch.clone(), reports: vec![report.clone()] };
    match workshop.client.report(&reports).await {
        Ok(answer) => {
            if answer.results.first() != Some(&ReportResult::Accepted) {
                info!(stack.id = %report.stack_id, revision = report.revision, "the deployment has moved on since this revision");
            }
            true
        }
        Err(error) => {
            let cause: &(dyn std::error::Error + 'static) = &error;
            warn!(stack.id = %report.stack_id, revision = report.revision, error = cause, "the outcome cannot be reported; it will be again");
            // A broker that refuses the report for good would refuse it again; the next change brings the truth.
            !error.is_transient() && matches!(error, ClientError::Problem(_))
        }
    }
}

fn log(deployment: &DesiredDeployment, report: &Report, status: &Status) {
    let unreachable = report.error.as_ref().filter(|error| error.reason == Class::Unreachable.as_str());
    match unreachable {
        Some(error) => {
            if status.kubernetes(Some(error.message.clone())) {
                let reason = error.reason.as_str();
                warn!(reason, detail = error.message, "the Kubernetes API does not answer; the agent tries again");
            }
            // Said once; the deployment itself is not the trouble.
            return;
        }
        None if status.kubernetes(None) => info!("the Kubernetes API answers again"),
        None => {}
    }
    let (stack, generation, revision) = (deployment.stack.as_str(), deployment.generation, deployment.revision);
    let (action, phase, attempt) = (deployment.action.as_str(), report.phase.as_str(), report.attempt);
    match &report.error {
        None => info!(
            stack.name = stack,
            generation,
            revision,
            action,
            phase,
            attempt,
            objects = report.objects.len(),
            "a deployment was carried out"
        ),
        Some(error) => {
            let object = error.object.as_ref().map(ToString::to_string);
            warn!(
                stack.name = stack,
                generation,
                revision,
                action,
                phase,
                attempt,
                reason = error.reason,
                object,
                detail = error.message,
                "a deployment is not carried out yet"
            );
        }
    }
}
