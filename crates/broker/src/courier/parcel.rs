//! What an agent is handed of a delivery, and what its report says of the attempt.

use std::time::Duration;

use brokkr_api::{
    Relation, Timestamp, WorkTrace,
    deliveries::{DeliveryReport, DeliveryToSend},
};
use brokkr_telemetry::{TraceContext, config::Handoff, metrics::WebhookResult};
use brokkr_webhooks::{Attempt, Secret, mask};

use super::{endpoint::Endpoint, message};
use crate::store::ClaimedDelivery;

/// The message of a delivery, signed now, for whoever sends it.
pub(crate) fn parcel(
    delivery: &ClaimedDelivery,
    endpoint: &Endpoint,
    installation: &str,
    knob: Handoff,
    now: Timestamp,
) -> DeliveryToSend {
    let message = message::message(delivery, endpoint, installation, knob, now).signed(now);
    // They were checked to be text when they were set.
    let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    DeliveryToSend {
        id: delivery.id,
        token: delivery.token,
        webhook_id: endpoint.id,
        webhook: endpoint.name.clone(),
        kind: message.kind,
        attempt: message.attempt,
        url: message.url.to_string(),
        headers: message.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: String::from_utf8_lossy(&message.body).into_owned(),
        timeout_seconds: endpoint.settings.timeout_seconds,
        traceparent: message.traceparent,
        tracestate: message.tracestate,
        trace: message.cause.map(|(cause, relation)| WorkTrace {
            traceparent: cause.traceparent,
            tracestate: cause.tracestate,
            relation: match relation {
                brokkr_telemetry::Relation::Parent => Relation::Parent,
                brokkr_telemetry::Relation::Link => Relation::Link,
            },
            accepted_at: Some(delivery.created_at),
            sent_at: Some(now),
        }),
        before: message.before.map(|before| before.traceparent),
    }
}

/// The attempt that a report tells of. The answer is masked once more, with the secrets that the agent does not have.
pub(crate) fn attempt(report: &DeliveryReport, class: WebhookResult, endpoint: Option<&Endpoint>, now: Timestamp) -> Attempt {
    let secrets: Vec<String> =
        endpoint.iter().flat_map(|endpoint| endpoint.sealed.secrets(now)).map(|secret| Secret::reveal(&secret)).collect();
    let headers = endpoint.iter().flat_map(|endpoint| endpoint.sealed.headers.values());
    let known: Vec<&str> = secrets.iter().chain(headers).map(String::as_str).collect();
    Attempt {
        class,
        status: report.status,
        latency: Duration::from_millis(report.latency_ms),
        excerpt: mask::excerpt(report.answer.as_bytes(), &known),
        retry_after: report.retry_after_seconds.map(|seconds| Duration::from_secs(seconds.into())),
        trace: report.traceparent.as_deref().and_then(|place| TraceContext::from_parts(place, None)),
    }
}
