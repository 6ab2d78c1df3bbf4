//! The loop that turns the desired state into attempts: level-triggered, one stack at a time each, several stacks side by side.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use brokkr_api::{
    StackId,
    client::ClientError,
    desired_state::{Action, DesiredDeployment, DesiredState},
    policy::DriftOutcome,
    reports::{Failure, ObjectOutcome, Report, ReportResult, Reports},
    rollouts::Phase,
};
use brokkr_runtime::{Clock, Ids, Lifecycle};
use brokkr_telemetry::{
    AgentMetrics,
    metrics::ReconcileAction,
    spans::{self, ConsumerOutcome},
    within,
};
use tokio::sync::{Semaphore, mpsc, watch};
use tracing::{Instrument, Span, info, warn};

use crate::{
    attempt::{Attempted, Order, Workshop},
    cluster::Class,
    desired::Desired,
    hold::{Hold, News, Stop, Suspended, Told},
    outcome,
    phases::Subject,
    schedule::{Due, Ended, Schedule, Trigger, sleep_until},
    slot::Slot,
    status::Status,
    trace::AttemptSpan,
    trouble::{self, Trouble},
};

/// Runs attempts.
pub(crate) struct Reconciler {
    pub(crate) workshop: Arc<Workshop>,
    pub(crate) metrics: AgentMetrics,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
    pub(crate) status: Arc<Status>,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) stacks: usize,
    pub(crate) resync: Duration,
}

impl Reconciler {
    /// Works until the lifecycle stops. `seen` tells of stacks in which somebody may have changed something.
    pub(crate) async fn run(self, mut desired: watch::Receiver<Option<Desired>>, mut seen: mpsc::UnboundedReceiver<StackId>) {
        let (finished, mut results) = mpsc::unbounded_channel::<(Due, Ended)>();
        let slots = Arc::new(Semaphore::new(self.stacks));
        let (mut schedule, mut told) = (Schedule::new(self.resync), Told::default());
        let stopping = self.lifecycle.stopping().clone();
        loop {
            let current = desired.borrow_and_update().clone();
            if !self.status.broker_is_away() {
                schedule.has_broker(Instant::now());
            }
            // Without a state that counts, because the broker refuses the agent, nothing is begun and nothing tried again.
            let next = current.as_ref().map(|state| {
                told.news(state).iter().for_each(tell);
                self.workshop.forget_all_but(state);
                for due in schedule.take_due(state, Instant::now()) {
                    let hold = Hold::new(desired.clone(), due.stack, due.revision);
                    self.start(Arc::clone(state), due, hold, Arc::clone(&slots), finished.clone());
                }
                schedule.next_due()
            });
            self.status.stacks(schedule.unfinished(), told.stacks());
            tokio::select! {
                () = stopping.cancelled() => return,
                changed = desired.changed() => if changed.is_err() { return },
                Some((due, ended)) = results.recv() => {
                    schedule.ended(due, ended, Instant::now(), self.ids.fraction());
                    if self.status.broker_is_away() {
                        schedule.had_no_broker(due.stack);
                    }
                }
                Some(stack) = seen.recv() => schedule.look(stack, Instant::now()),
                () = sleep_until(next.flatten()) => {}
            }
        }
    }

    fn start(&self, state: Desired, due: Due, hold: Hold, slots: Arc<Semaphore>, finished: mpsc::UnboundedSender<(Due, Ended)>) {
        let (workshop, status, clock) = (Arc::clone(&self.workshop), Arc::clone(&self.status), Arc::clone(&self.clock));
        let metrics = self.metrics.clone();
        self.lifecycle.spawn_work(async move {
            let slot = Slot::take(slots).await;
            let deployment = state.deployments.iter().find(|deployment| deployment.stack_id == due.stack);
            let ended = match deployment {
                // Suspended, or replaced by a newer revision, while it waited for its turn.
                Some(_) if hold.stop().is_some() => Ended::Held,
                Some(deployment) => {
                    let (waiting, waits) = mpsc::unbounded_channel();
                    let order = Order { state: &state, deployment, due, hold: &hold, slot: &slot, waiting: &waiting };
                    carry_out(&workshop, order, waits, &status, &*clock, &metrics).await
                }
                None => Ended::Done,
            };
            // The loop is gone only when the agent is ending, and so are those who watch.
            finished.send((due, ended)).ok();
            workshop.applied.send(()).ok();
            workshop.ledger.settled();
            workshop.sight.judge_stack(&workshop, due.stack);
        });
    }
}

/// One attempt and its report.
async fn carry_out(
    workshop: &Workshop,
    order: Order<'_>,
    mut waits: mpsc::UnboundedReceiver<Failure>,
    status: &Status,
    clock: &dyn Clock,
    metrics: &AgentMetrics,
) -> Ended {
    let Order { state, deployment, due, hold, .. } = order;
    let attempt_span = AttemptSpan::begin(deployment, due, status, clock);
    let tell = |phase, reason: Option<&str>| workshop.phases.now(subject(deployment), phase, reason);
    let work = async {
        if due.trigger == Trigger::Revision && due.attempt == 1 {
            tell(outcome::unfinished(deployment.action), None);
        }
        let began = Instant::now();
        let attempt = workshop.attempt(order);
        tokio::pin!(attempt);
        let attempted = loop {
            tokio::select! {
                attempted = &mut attempt => break attempted,
                Some(what) = waits.recv() => {
                    send(workshop, state, &outcome::waiting(deployment, due, what)).instrument(spans::report()).await;
                }
            }
        };
        let of = if deployment.action == Action::Apply { ReconcileAction::Apply } else { ReconcileAction::Delete };
        metrics.reconciled(of, began.elapsed());
        let Attempted::Report(mut report) = attempted else { return (attempted, false) };
        measure(&report, metrics);
        workshop.health.begin(deployment, &state.epoch, &mut report, attempt_span.place.as_ref(), clock, Instant::now());
        log(deployment, &report, status);
        tell(report.phase, report.error.as_ref().map(|error| error.reason.as_str()));
        let sent = send(workshop, state, &report).instrument(spans::report()).await;
        (Attempted::Report(report), sent)
    };
    let (attempted, sent) = within(&attempt_span.span, attempt_span.place.as_ref().map(|place| &place.work), work).await;
    let report = match attempted {
        Attempted::Report(report) => report,
        Attempted::AsItShouldBe => return Ended::Done,
        Attempted::Stopped(stop) => {
            let phase = if stop == Stop::Suspended { Phase::Suspended } else { Phase::Progressing };
            attempt_span.span.in_scope(|| tell(phase, Some(stop.as_str())));
            attempt_span.end(ConsumerOutcome { phase: phase.as_str(), reason: None, object: None }, clock);
            return Ended::Held;
        }
    };
    let object = report.error.as_ref().and_then(|error| error.object.as_ref()).map(ToString::to_string);
    // What was done and cannot be told is not done for the broker, and is done again.
    let unreported = (!sent).then_some("unreported");
    let reason = report.error.as_ref().map(|error| error.reason.as_str()).or(unreported);
    attempt_span.end(ConsumerOutcome { phase: report.phase.as_str(), reason, object: object.as_deref() }, clock);
    match (report.phase, sent) {
        (Phase::Applied | Phase::Healthy | Phase::Degraded | Phase::Deleted, true) => Ended::Done,
        _ if hold.stop().is_some() => Ended::Held,
        _ => Ended::Again,
    }
}

fn subject(deployment: &DesiredDeployment) -> Subject<'_> {
    let (generation, revision) = (deployment.generation, deployment.revision);
    Subject { stack: deployment.stack_id, name: &deployment.stack, generation, revision }
}

/// Counts what an attempt came upon.
fn measure(report: &Report, metrics: &AgentMetrics) {
    let count = |outcome| report.objects.iter().filter(|object| object.outcome == outcome).count() as u64;
    metrics.prunes_refused(count(ObjectOutcome::Held));
    let repaired = report.drift.iter().filter(|drift| drift.outcome == DriftOutcome::Repaired);
    metrics.drift_repaired(repaired.count() as u64);
    let failed = report.objects.iter().filter(|object| object.outcome == ObjectOutcome::Failed);
    let mut reasons: Vec<_> = failed.filter_map(|object| object.reason.as_deref()).collect();
    if reasons.is_empty() && report.phase == Phase::Failed {
        reasons.extend(report.error.as_ref().map(|error| error.reason.as_str()));
    }
    // What waits for a person has no class, and is no failure.
    reasons.into_iter().filter_map(Class::of_word).for_each(|class| metrics.failed(class));
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
            spans::record_failure(&Span::current(), Trouble::of(&error).kind);
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
