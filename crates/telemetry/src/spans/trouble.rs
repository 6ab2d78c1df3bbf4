//! Why something failed, and what is wrong although no request failed.

use std::time::SystemTime;

use opentelemetry::{
    KeyValue,
    trace::{Span as _, SpanKind, Status, Tracer},
};
use tracing::{Span, field::Empty};

use super::{begin_trace, past::TracerSlot, record_error};
use crate::sampler::Class;

/// Says why, in a word of a closed set: the code of a problem, the class of a failure.
pub fn record_reason(span: &Span, reason: &str) {
    span.record("brokkr.reason", reason);
}

/// The same for what has failed for this reason.
pub fn record_failure(span: &Span, reason: &str) {
    record_reason(span, reason);
    record_error(span, reason);
}

/// Nobody waits for the answer any more, and it did not take too long either. No error, and there is no status.
pub fn record_cancelled(span: &Span) {
    span.record("error.type", "cancelled");
}

/// `agent offline`, INTERNAL: an agent has let its polls lapse. A trace of its own, which is always kept: it is rare, and nothing
/// else in a trace says why a deployment waits. It is an error from the beginning.
#[must_use]
pub fn agent_offline(agent: &str, cluster: &str) -> Span {
    let span = tracing::info_span!(
        parent: None,
        "agent.offline",
        otel.name = "agent offline",
        otel.kind = "internal",
        otel.status_code = Empty,
        brokkr.agent.name = agent,
        brokkr.cluster.name = cluster,
        brokkr.reason = Empty,
        error.type = Empty,
    );
    let span = begin_trace(span, Class::Trouble);
    record_reason(&span, "polls_missed");
    record_error(&span, "agent_offline");
    span
}

/// A time in which the collector took no spans.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ExportOutage {
    pub(crate) since: SystemTime,
    pub(crate) until: SystemTime,
    /// A word of a closed set.
    pub(crate) error_type: &'static str,
    /// Spans that it would have got.
    pub(crate) lost: u64,
}

/// `export spans`, CLIENT: told when it is over, because nothing could be told before. Spans of that time are missing, and this says
/// why. Always kept.
pub(crate) fn record_export_outage(outage: ExportOutage) {
    tracing::dispatcher::get_default(|subscriber| {
        let Some(TracerSlot { tracer, .. }) = subscriber.downcast_ref() else { return };
        // Not the current context: the exporter's thread makes no spans, so that exporting causes no exports.
        let root = opentelemetry::Context::new().with_value(Class::Trouble);
        let lost = i64::try_from(outage.lost).unwrap_or(i64::MAX);
        let mut span = tracer
            .span_builder("export spans")
            .with_kind(SpanKind::Client)
            .with_start_time(outage.since)
            .with_attributes([
                KeyValue::new("brokkr.reason", "collector_unavailable"),
                KeyValue::new("brokkr.spans.lost", lost),
                KeyValue::new("error.type", outage.error_type),
            ])
            .start_with_context(tracer, &root);
        span.set_status(Status::error(""));
        span.end_with_timestamp(outage.until.max(outage.since));
    });
}
