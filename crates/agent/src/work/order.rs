//! One attempt at one work order, from the claim to the report.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use brokkr_api::{
    ErrorCode, Relation, Timestamp,
    client::ClientError,
    reports::ObjectRef,
    work_orders::{ClaimedOrder, ReportWork, Work, WorkOutcome},
};
use brokkr_telemetry::{
    TraceContext, relate,
    spans::{self, Past, ProcessWorkOrder, WaitReason},
    within,
};
use serde_json::Value;
use tokio::{sync::watch::Receiver, time::Instant};
use tracing::{Instrument, Span, info, warn};

use super::{
    Signal, WORK_ORDER, Workforce, build, job,
    mind::{Came, Mind, Why},
    verdict::Ended,
};
use crate::{schedule::backoff, trace::context_of};

/// What there is to report beside the outcome.
#[derive(Default)]
pub(super) struct Found {
    pub(super) object: Option<ObjectRef>,
    pub(super) log: Option<String>,
}

impl Workforce {
    /// Carries an order out, and reports. Ends when there is nothing more to do for it.
    pub(super) async fn carry_out(self: &Arc<Self>, order: ClaimedOrder, signal: Receiver<Signal>, claimed: Instant) {
        let trace = order.trace.as_ref().and_then(context_of);
        let span = self.span(&order, trace.as_ref());
        tell_way(&span, &order, self.clock.now().to_system_time());
        let work = async {
            // By how much is left, because the clocks of broker and agent differ.
            let left = |deadline: Timestamp| deadline.since(order.claimed_at);
            let mut mind = Mind {
                signal,
                deadline: order.deadline.map(|deadline| claimed + left(deadline)),
                stopping: self.lifecycle.stopping().clone(),
            };
            if !order.started && !self.may_start(&order).await {
                info!(work_order.id = %order.id, attempt = order.attempt, "a work order is not this agent's any more; nothing was started");
                return;
            }
            let mut found = Found::default();
            let came = match &order.work {
                Work::Job(job) => self.run_job(&order, job, &mut mind, &mut found).await,
                Work::Apply(apply) => self.run_apply(&order, apply, &mut mind, &mut found).await,
                Work::Build(build) => self.run_build(&order, build, &mut mind, &mut found).await,
            };
            let object = found.object.clone().filter(|_| matches!(came, Came::Ended(_)));
            self.tell(&order, came, found).await;
            let of_cluster = match &order.work {
                Work::Job(_) => Some(job::resource()),
                Work::Build(_) => Some(build::resource()),
                Work::Apply(_) => None,
            };
            if let Some((resource, object)) = of_cluster.zip(object) {
                self.delete_soon(&order, resource, &object);
            }
        };
        within(&span, trace.as_ref(), work).await;
    }

    fn span(&self, order: &ClaimedOrder, trace: Option<&TraceContext>) -> Span {
        let (agent, cluster) = self.status.identity();
        let id = order.id.to_string();
        let span = spans::process_work_order(ProcessWorkOrder {
            id: &id,
            name: order.name.as_str(),
            kind: order.work.kind().as_str(),
            attempt: order.attempt,
            agent: &agent,
            cluster: &cluster,
        });
        if let Some(trace) = trace {
            let relation = if joins(order) { brokkr_telemetry::Relation::Parent } else { brokkr_telemetry::Relation::Link };
            relate(&span, trace, relation);
        }
        span
    }

    /// Asks the broker for leave to start. Nothing was touched before, and without leave nothing is.
    async fn may_start(&self, order: &ClaimedOrder) -> bool {
        self.report(&report(order, WorkOutcome::Started)).await
    }

    async fn tell(&self, order: &ClaimedOrder, came: Came, found: Found) {
        let span = Span::current();
        let mut report = report(order, WorkOutcome::Succeeded);
        let object = found.object.as_ref().map(ToString::to_string);
        report.object = found.object;
        report.log = found.log;
        match came {
            Came::Lost => {
                warn!(work_order.id = %order.id, attempt = order.attempt, "a work order was lost while it ran; the broker says what becomes of it");
                spans::record_work_result(&span, "error", Some("lease_lost"), object.as_deref());
                return;
            }
            Came::Left => {
                info!(work_order.id = %order.id, attempt = order.attempt, "the agent ends; a work order goes on without it until it is back");
                return;
            }
            Came::Ended(Ended::Succeeded) => spans::record_work_result(&span, "success", None, object.as_deref()),
            Came::Ended(Ended::Failed { reason, message, retry }) => {
                spans::record_work_result(&span, "failure", Some(&reason), object.as_deref());
                report =
                    ReportWork { outcome: WorkOutcome::Failed, reason: Some(reason), message: Some(message), retry, ..report };
            }
            Came::Stopped(Why::Cancelled) => {
                spans::record_work_result(&span, "cancellation", None, object.as_deref());
                report.outcome = WorkOutcome::Cancelled;
            }
            Came::Stopped(Why::Deadline) => {
                spans::record_work_result(&span, "timeout", Some("deadline_exceeded"), object.as_deref());
                report.outcome = WorkOutcome::Failed;
                report.reason = Some("deadline_exceeded".to_owned());
                report.message = Some("its deadline was over; it was stopped in the cluster".to_owned());
            }
        }
        let (outcome, reason) = (report.outcome.as_str(), report.reason.clone());
        if self.report(&report).instrument(spans::report()).await {
            info!(work_order.id = %order.id, work_order.name = %order.name, attempt = order.attempt, outcome, reason, object, "a work order was carried out");
        } else {
            warn!(work_order.id = %order.id, attempt = order.attempt, outcome, "the outcome of a work order counts no more: the agent had lost it");
        }
    }

    /// Reports until the broker has answered; tells whether it accepted.
    async fn report(&self, report: &ReportWork) -> bool {
        let mut failures = 0;
        loop {
            match self.workshop.client.report_work(report).await {
                Ok(_) => return true,
                Err(ClientError::Problem(problem))
                    if problem.code == ErrorCode::LeaseLost || problem.code == ErrorCode::WorkOrderState =>
                {
                    return false;
                }
                Err(error) => {
                    failures += 1;
                    if failures == 1 {
                        let cause: &(dyn std::error::Error + 'static) = &error;
                        warn!(work_order.id = %report.id, error = cause, "a work order cannot be reported; it is tried again");
                    }
                    // While it lasts the lease is renewed, or lost.
                    let pause = backoff(failures, self.ids.fraction()).min(Duration::from_secs(15));
                    tokio::time::sleep(pause).await;
                    if failures > 1 && !self.holds(report) {
                        return false;
                    }
                }
            }
        }
    }

    fn holds(&self, report: &ReportWork) -> bool {
        let held = self.held.lock();
        held.get(&report.id).is_some_and(|held| held.token == report.token && *held.signal.borrow() != Signal::Lost)
    }
}

/// Whether the attempt is a part of the trace of the request. What goes on after a restart is a trace of its own: the span of the first
/// process has ended.
fn joins(order: &ClaimedOrder) -> bool {
    !order.started && order.trace.as_ref().is_some_and(|work| work.relation == Relation::Parent)
}

/// From when the order could be claimed until this agent had it in its hands. Where the attempt joins the trace of the request, the
/// broker has told of the wait there.
fn tell_way(span: &Span, order: &ClaimedOrder, arrived: SystemTime) {
    let Some(work) = order.trace.as_ref().filter(|_| !order.started) else { return };
    let place = context_of(work).filter(|_| joins(order));
    let past = |what, start, end| match &place {
        Some(place) => spans::record_past_of(place, None, what, start, end),
        None => spans::record_past(span, what, start, end),
    };
    let sent = work.sent_at.unwrap_or(order.claimed_at).to_system_time();
    if place.is_none() {
        past(Past::Wait(WaitReason::Queued), order.queued_at.to_system_time(), sent);
    }
    if sent < arrived {
        past(Past::ReceiveWorkOrder, sent, arrived);
    }
}

/// Where the work of an order stands. Without spans of its own the agent passes on what came with the order.
pub(super) fn place(order: &ClaimedOrder) -> Option<TraceContext> {
    TraceContext::of(&Span::current()).or_else(|| order.trace.as_ref().and_then(context_of))
}

/// The id of the order that an object is of.
pub(super) fn order_of(object: &Value) -> Option<&str> {
    object.pointer(&format!("/metadata/labels/{}", WORK_ORDER.replace('/', "~1")))?.as_str()
}

/// Whether an object is of this order.
pub(super) fn is_of(object: &Value, order: &ClaimedOrder) -> bool {
    order_of(object) == Some(order.id.to_string().as_str())
}

fn report(order: &ClaimedOrder, outcome: WorkOutcome) -> ReportWork {
    ReportWork { id: order.id, token: order.token, outcome, reason: None, message: None, retry: false, object: None, log: None }
}
