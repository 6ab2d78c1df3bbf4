//! From what the broker hands out to the message that is sent, and from the attempt to its report.

use std::time::Duration;

use brokkr_api::{
    DeliveryId, Relation,
    deliveries::{DeliveryReport, DeliveryToSend, MAX_ANSWER, MAX_LATENCY_MS, MAX_RETRY_AFTER_SECONDS},
};
use brokkr_telemetry::TraceContext;
use brokkr_webhooks::{Attempt, Message, Signing};
use http::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

/// The message of a delivery, or what is wrong with it. Whether it may be sent is for the guard.
pub(super) fn message(delivery: DeliveryToSend) -> Result<Message, &'static str> {
    let mut headers = HeaderMap::with_capacity(delivery.headers.len());
    for (name, value) in &delivery.headers {
        let name = HeaderName::try_from(name).map_err(|_| "the name of a header is malformed")?;
        let mut value = HeaderValue::try_from(value).map_err(|_| "the value of a header is malformed")?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    let cause = delivery.trace.and_then(|trace| {
        let relation = match trace.relation {
            Relation::Parent => brokkr_telemetry::Relation::Parent,
            Relation::Link => brokkr_telemetry::Relation::Link,
        };
        Some((TraceContext::from_parts(&trace.traceparent, trace.tracestate.as_deref())?, relation))
    });
    Ok(Message {
        id: delivery.id.to_string(),
        url: Url::parse(&delivery.url).map_err(|_| "the URL is malformed")?,
        webhook_id: delivery.webhook_id.to_string(),
        webhook: delivery.webhook.to_string(),
        kind: delivery.kind,
        body: delivery.body.into_bytes(),
        headers,
        signing: Signing::Done,
        timeout: Duration::from_secs(delivery.timeout_seconds.into()),
        traceparent: delivery.traceparent,
        tracestate: delivery.tracestate,
        attempt: delivery.attempt,
        cause,
        before: delivery.before.as_deref().and_then(|before| TraceContext::from_parts(before, None)),
    })
}

/// What the broker is told of an attempt.
pub(super) fn report(id: DeliveryId, token: u64, attempt: Attempt) -> DeliveryReport {
    let retry_after = attempt.retry_after.map(|wait| u32::try_from(wait.as_secs()).unwrap_or(u32::MAX));
    DeliveryReport {
        id,
        token,
        result: attempt.class.as_str().to_owned(),
        status: attempt.status,
        latency_ms: u64::try_from(attempt.latency.as_millis()).unwrap_or(u64::MAX).min(MAX_LATENCY_MS),
        answer: attempt.excerpt.chars().take(MAX_ANSWER).collect(),
        retry_after_seconds: retry_after.map(|seconds| seconds.min(MAX_RETRY_AFTER_SECONDS)),
        traceparent: attempt.trace.map(|trace| trace.traceparent),
    }
}
