//! What follows from an attempt, whoever made it, and how that is written down.

use std::time::Duration;

use brokkr_api::{EventId, Timestamp, webhooks::DeliveryAttempt};
use brokkr_runtime::Ids;
use brokkr_telemetry::{BrokerMetrics, TraceContext, metrics::WebhookResult};
use brokkr_webhooks::Attempt;
use serde_json::json;
use tracing::warn;

use crate::{
    domain::webhook::schedule::{self, Next},
    store::{ClaimedDelivery, DisabledWebhook, Error, Judged, Mark, NewEvent, Settled, Tx},
};

/// How an attempt ended whose maker died with it, or reported too late.
const LOST: &str = "lost";

/// What follows from an attempt.
pub(crate) struct Verdict {
    pub(crate) settled: Settled,
    pub(crate) mark: Mark,
    /// So long the receiver wants to be left alone.
    pub(crate) pause: Option<Duration>,
    class: WebhookResult,
    latency: Duration,
    /// The time since the event, where the receiver has it now.
    lag: Option<Duration>,
}

impl Verdict {
    /// Counts the attempt.
    pub(crate) fn count(&self, metrics: &BrokerMetrics) {
        metrics.webhook_attempted(self.class, self.latency, self.lag);
    }
}

/// Judges an attempt that ended at `at`. `fraction` is random in `0.0..1.0`.
pub(crate) fn judge(mut delivery: Box<ClaimedDelivery>, attempt: Attempt, at: Timestamp, fraction: f64) -> Verdict {
    let ok = attempt.class == WebhookResult::Success;
    let (class, latency, lag) = (attempt.class, attempt.latency, ok.then(|| at.since(delivery.created_at)));
    let mark = Mark { id: delivery.webhook, ok, gone: attempt.class == WebhookResult::Gone };
    let judged = match schedule::next(attempt.class, delivery.tries, attempt.retry_after, at, fraction) {
        Next::Delivered => Judged::Delivered,
        Next::Dead => Judged::Dead,
        Next::Retry(at) => Judged::Again(at),
    };
    // Those whose maker never came back are known by their numbers alone.
    let known = delivery.log.0.last().map_or(0, |attempt| attempt.number);
    for number in known + 1..delivery.attempts {
        let result = LOST.to_owned();
        let lost = DeliveryAttempt { number, at, result, status: None, latency_ms: 0, answer: String::new(), trace_id: None };
        delivery.log.push(lost);
    }
    delivery.log.push(DeliveryAttempt {
        number: delivery.attempts,
        at,
        result: attempt.class.as_str().to_owned(),
        status: attempt.status,
        latency_ms: u64::try_from(attempt.latency.as_millis()).unwrap_or(u64::MAX),
        answer: attempt.excerpt,
        trace_id: attempt.trace.as_ref().map(|trace| trace.trace_id().to_owned()),
    });
    delivery.last_trace = attempt.trace;
    Verdict { settled: Settled { delivery, judged }, mark, pause: attempt.retry_after, class, latency, lag }
}

/// What is written down together.
pub(crate) struct Account<'a> {
    pub(crate) settled: Vec<&'a Settled>,
    /// One for each webhook.
    pub(crate) marks: Vec<Mark>,
}

impl Account<'_> {
    /// Writes it down, with the events of webhooks that are disabled by it.
    pub(crate) async fn write(mut self, tx: &mut Tx, ids: &dyn Ids, now: Timestamp) -> Result<Vec<DisabledWebhook>, Error> {
        self.marks.sort_by_key(|mark| mark.id);
        tx.settle_deliveries(&self.settled, &self.marks, now).await?;
        let disabled = tx.disable_webhooks(&self.marks, now).await?;
        let trace = TraceContext::current();
        let event = |webhook: &DisabledWebhook| NewEvent {
            id: EventId(ids.uuid(now)),
            kind: "webhook.disabled",
            stack: None,
            agent: None,
            generation: None,
            data: json!({"webhook": webhook.name, "reason": webhook.reason, "failing_since": webhook.failing_since}),
            trace: trace.as_ref(),
            now,
        };
        tx.insert_events(&disabled.iter().map(event).collect::<Vec<_>>()).await?;
        Ok(disabled)
    }
}

/// Says which webhooks were disabled, after the commit.
pub(crate) fn tell_disabled(disabled: &[DisabledWebhook], metrics: &BrokerMetrics) {
    for webhook in disabled {
        metrics.webhook_disabled();
        warn!(webhook.id = %webhook.id, webhook.name = %webhook.name, reason = webhook.reason, "a webhook is disabled");
    }
}
