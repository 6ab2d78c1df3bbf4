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
    hold::{Hold, News, Suspended, Told},
    schedule::{Due, Ended, Schedule},
    status::Status,
    trouble,
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
        let (mut schedule, mut told) = (Schedule::default(), Told::default());
        let stopping = self.lifecycle.stopping().clone();
        loop {
            let current = desired.borrow_and_update().clone();
            // Without a state that counts, because the broker refuses the agent, nothing is begun and nothing tried again.
            let retry = current.as_ref().map(|state| {
                told.news(state).iter().for_each(tell);
                for due in schedule.take_due(state, Instant::now()) {
                    let hold = Hold::new(desired.clone(), due.stack);
                    self.start(Arc::clone(state), due, hold, Arc::clone(&slots), finished.clone());
                }
                schedule.next_retry()
            });
            self.status.stacks(schedule.unfinished(), told.stacks());
            tokio::select! {
                () = stopping.cancelled() => return,
                changed = desired.changed() => if changed.is_err() { return },
                Some((due, ended)) = results.recv() => schedule.ended(due, ended, Instant::now(), self.ids.fraction()),
                () = sleep_until(retry.flatten()) => {}
            }
        }
    }

    fn start(&self, state: Desired, due: Due, hold: Hold, slots: Arc<Semaphore>, finished: mpsc::UnboundedSender<(Due, Ended)>) {
        let (workshop, status) = (Arc::clone(&self.workshop), Arc::clone(&self.status));
        self.lifecycle.spawn_work(async move {
            let _slot = slots.acquire_owned().await;
            let deployment = state.deployments.iter().find(|deployment| deployment.stack_id == due.stack);
            let ended = match deployment {
                // Suspended while it waited for its turn.
                Some(_) if hold.is_on() => Ended::Held,
                Some(deployment) => carry_out(&workshop, &state, deployment, due, &hold, &status).await,
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
    hold: &Hold,
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
        let report = workshop.attempt(deployment, due, &origin, hold).await?;
        log(deployment, &report, status);
        let sent = send(workshop, state, &report).instrument(spans::report()).await;
        Some((report, sent))
    };
    let Some((report, sent)) = work.instrument(span.clone()).await else {
        spans::record_outcome(&span, ConsumerOutcome { phase: Phase::Suspended.as_str(), reason: None, object: None });
        return Ended::Held;
    };
    let object = report.error.as_ref().and_then(|error| error.object.as_ref()).map(ToString::to_string);
    let reason = report.error.as_ref().map(|error| error.reason.as_str());
    spans::record_outcome(&span, ConsumerOutcome { phase: report.phase.as_str(), reason, object: object.as_deref() });
    match (report.phase, sent) {
        (Phase::Applied | Phase::Deleted, true) => Ended::Done,
        _ if hold.is_on() => Ended::Held,
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
            // One that refuses the agent may take it from the same agent later.
            !error.is_transient() && matches!(error, ClientError::Problem(_)) && !trouble::is_refusal(&error)
        }
    }
}

/// Says what is suspended and why, and that it no longer is.
fn tell(news: &News) {
    match news {
        News::Held { what, suspension, stacks } => {
            let (scope, name) = named(what);
            let (reason, by, since) = (suspension.reason.as_str(), suspension.by.as_str(), suspension.since);
            info!(scope, stack.name = name, stacks, reason, by, %since, "suspended: nothing is applied or deleted until somebody resumes it");
        }
        News::Resumed { what } => {
            let (scope, name) = named(what);
            info!(scope, stack.name = name, "no longer suspended");
        }
    }
}

fn named(what: &Suspended) -> (&'static str, Option<&str>) {
    match what {
        Suspended::Fleet => ("fleet", None),
        Suspended::Agent => ("agent", None),
        Suspended::Stack(_, name) => ("stack", Some(name)),
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
