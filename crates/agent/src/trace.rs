//! The spans of an attempt: how it takes its place in the trace of the change, what it waited for before it began, and how it ended.

use std::time::{Duration, Instant, SystemTime};

use brokkr_api::{Relation, Timestamp, WorkTrace, desired_state::DesiredDeployment};
use brokkr_runtime::Clock;
use brokkr_telemetry::{
    TraceContext, relate,
    spans::{self, ConsumerOutcome, DeploymentSpanExt, Past, ProcessDeployment, WaitReason},
};
use tracing::{Instrument, Span};

use crate::{
    attempt::Obstacle,
    schedule::{Due, Trigger},
    status::Status,
};

/// Shorter waits are the turn of a task, and no news.
const WORTH_TELLING: Duration = Duration::from_millis(1);

/// The place that the work carries, and whether its spans join that trace.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) work: TraceContext,
    pub(crate) joins: bool,
}

impl Place {
    /// The broker decides; a second attempt never prolongs a trace that ended with the first.
    fn of(deployment: &DesiredDeployment, due: Due) -> Option<Self> {
        let work = deployment.trace.as_ref()?;
        let joins = work.relation == Relation::Parent && due.attempt == 1 && due.trigger == Trigger::Revision;
        Some(Self { work: context_of(work)?, joins })
    }
}

/// The span of one attempt, from taking the deployment up until it is applied or failed.
pub(crate) struct AttemptSpan<'a> {
    pub(crate) span: Span,
    /// Where it stands in the trace of the change.
    pub(crate) place: Option<Place>,
    deployment: &'a DesiredDeployment,
    due: Due,
}

impl<'a> AttemptSpan<'a> {
    /// A CONSUMER span in the trace of the work for an attempt at a revision; a trace of its own, linked to that, for a look at what
    /// is carried out. What it waited for until now is told beside it.
    pub(crate) fn begin(deployment: &'a DesiredDeployment, due: Due, status: &Status, clock: &dyn Clock) -> Self {
        let (agent, cluster) = status.identity();
        let stack_id = deployment.stack_id.to_string();
        let span = match due.trigger {
            Trigger::Look => spans::job("look"),
            Trigger::Revision => spans::process_deployment(ProcessDeployment {
                stack: deployment.stack.as_str(),
                stack_id: &stack_id,
                generation: signed(deployment.generation),
                revision: signed(deployment.revision),
                action: deployment.action.as_str(),
                attempt: due.attempt,
                agent: &agent,
                cluster: &cluster,
            }),
        };
        let place = Place::of(deployment, due);
        if let Some(Place { work, joins }) = &place {
            relate(&span, work, if *joins { brokkr_telemetry::Relation::Parent } else { brokkr_telemetry::Relation::Link });
        }
        let begun = Self { span, place, deployment, due };
        begun.tell_waits(clock);
        begun
    }

    fn tell_waits(&self, clock: &dyn Clock) {
        let Some((reason, since)) = self.due.waited else { return };
        let now = clock.now().to_system_time();
        let since = now.checked_sub(Instant::now().saturating_duration_since(since)).unwrap_or(now);
        if reason == WaitReason::Queued && self.due.attempt == 1 {
            self.tell_way(since);
        }
        if now.duration_since(since).is_ok_and(|waited| waited >= WORTH_TELLING) {
            self.past(Past::Wait(reason), since, now);
        }
    }

    /// From the acceptance of the change until the agent had it in its hands. Where the attempt joins the trace of the change the broker
    /// has told of the first part there.
    fn tell_way(&self, arrived: SystemTime) {
        let Some(work) = &self.deployment.trace else { return };
        let Some(sent) = work.sent_at.map(Timestamp::to_system_time) else { return };
        if let Some(accepted) = work.accepted_at.filter(|_| !self.joins()) {
            self.past(Past::Wait(WaitReason::Queued), accepted.to_system_time(), sent);
        }
        if sent < arrived {
            self.past(Past::Receive, sent, arrived);
        }
    }

    fn joins(&self) -> bool {
        self.place.as_ref().is_some_and(|place| place.joins)
    }

    /// Beside the attempt where it joins the trace of the change, below it where it is a trace of its own.
    fn past(&self, what: Past, start: SystemTime, end: SystemTime) {
        match self.place.as_ref().filter(|place| place.joins) {
            Some(place) => spans::record_past_of(&place.work, None, what, start, end),
            None => spans::record_past(&self.span, what, start, end),
        }
    }

    /// How the attempt ended.
    pub(crate) fn end(&self, outcome: ConsumerOutcome<'_>, clock: &dyn Clock) {
        if self.due.trigger == Trigger::Revision {
            spans::record_outcome(&self.span, outcome);
            if let Some(accepted) = self.deployment.trace.as_ref().and_then(|work| work.accepted_at) {
                let lag = clock.now().since(accepted).as_secs();
                self.span.record_lag_seconds(signed(lag));
            }
        } else if let Some(reason) = outcome.reason {
            spans::record_error(&self.span, reason);
        }
    }
}

/// A step of an attempt inside its span; what hinders it is the span's error.
pub(crate) async fn step<T>(span: Span, work: impl Future<Output = Result<T, Obstacle>>) -> Result<T, Obstacle> {
    let result = work.instrument(span.clone()).await;
    result.inspect_err(|obstacle| spans::record_error(&span, obstacle.reason()))
}

/// The place that work carries.
pub(crate) fn context_of(work: &WorkTrace) -> Option<TraceContext> {
    TraceContext::from_parts(&work.traceparent, work.tracestate.as_deref())
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
