//! The way of an event to a receiver outside.

use tracing::{Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::{TraceContext, sampler::Class};

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub struct SendWebhook<'a> {
    /// `webhook-id`, the same in every attempt.
    pub id: &'a str,
    /// Id of the webhook.
    pub webhook_id: &'a str,
    /// Its name.
    pub webhook: &'a str,
    /// Type of the event.
    pub event: &'a str,
    /// 1 for the first.
    pub attempt: u32,
}

/// `send webhook`, PRODUCER: one attempt. Relate it to what happened, and link it to the attempt before.
///
/// A root of its own until it is related: what happens to run around it is not its parent.
#[must_use]
pub fn send_webhook(send: SendWebhook<'_>) -> Span {
    let span = tracing::info_span!(
        parent: None,
        "webhook.send",
        otel.name = "send webhook",
        otel.kind = "producer",
        otel.status_code = Empty,
        messaging.operation.name = "send",
        messaging.operation.type = "send",
        messaging.destination.name = "webhook",
        messaging.message.id = send.id,
        brokkr.webhook.id = send.webhook_id,
        brokkr.webhook.name = send.webhook,
        brokkr.event.type = send.event,
        brokkr.attempt = i64::from(send.attempt),
        brokkr.reason = Empty,
        error.type = Empty,
    );
    super::begin_trace(span, Class::Rollout)
}

/// Links a span to a place in another trace, or in its own.
pub fn link(span: &Span, to: &TraceContext) {
    if !span.is_disabled() {
        span.add_link(to.span_context());
    }
}
