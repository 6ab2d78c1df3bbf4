//! The catalogue of spans: the only place that names a span or an attribute.
//!
//! Names and attributes follow the OpenTelemetry semantic conventions where there are some (HTTP, database, messaging); what is ours is `brokkr.*`.
//! An attribute holds a name, a number or a word of a closed set, never content: no keys, no manifest, no SQL parameter.
//!
//! What is only part of a trace that nobody will see is not made: the place of its parent stands for it.
//!
//! A span begins when it is first entered, or asked for its context. What places it in a trace ([`crate::propagation::relate`]) comes before.

/// A span inside of what goes on already, as [`tracing::info_span`]. There is none under a place that is not recorded: everything below would
/// follow it, and cost as much as if it were seen.
macro_rules! child_span {
    ($($fields:tt)*) => {
        if $crate::spans::is_unseen() { tracing::Span::none() } else { tracing::info_span!($($fields)*) }
    };
}

mod catalogue;
mod database;
mod delivery;
mod http;
mod kubernetes;
mod ours;
mod past;
mod trouble;
mod webhook;
mod work;
mod work_order;

use opentelemetry::trace::TraceContextExt;
use tracing::Span;

pub use catalogue::{ATTRIBUTES, AttributeInfo, SPANS, SpanInfo};
pub use database::{DbStatement, DbTransaction, db_statement, db_transaction, record_database_error};
pub use delivery::{
    ConsumerOutcome, DeploymentSpanExt, ObjectAction, ObjectSpan, ProcessDeployment, SendDeployment, object, process_deployment,
    record_fan_out, record_outcome, send_deployment_object,
};
pub use http::{
    HttpClientSpan, http_client, http_server, record_client_disconnect, record_http_status_client, record_http_status_expected,
    record_http_status_server, record_resend_count,
};
pub use kubernetes::{KubernetesCall, kubernetes_call, record_audit_id};
pub(crate) use ours::{Gate, ours};
pub(crate) use past::TracerSlot;
pub use past::{Past, Step, record_past, record_past_of, record_step};
pub(crate) use trouble::{ExportOutage, record_export_outage};
pub use trouble::{agent_offline, record_cancelled, record_failure, record_reason};
pub use webhook::{SendWebhook, link, send_webhook};
pub use work::{
    PollOutcome, WaitReason, encrypt, job, job_of, observe, plan, plan_rollout, poll, prepare, record_agents, record_objects,
    record_poll, report, target, validate, wait,
};
pub use work_order::{ProcessWorkOrder, SendWorkOrder, process_work_order, record_work_result, send_work_order};

/// Says that what the span stands for has failed. `error_type` is a word of a closed set, or the name of an error type; never a message.
pub fn record_error(span: &Span, error_type: &str) {
    span.record("otel.status_code", "ERROR");
    span.record("error.type", error_type);
}

/// Whether this is inside of something of ours that is not recorded.
fn is_unseen() -> bool {
    opentelemetry::Context::map_current(|context| {
        let span = context.span();
        let place = span.span_context();
        place.is_valid() && !place.is_remote() && !span.is_recording()
    })
}

/// A root of a trace of its own, whose keeping is decided by the rate of `class`.
fn begin_trace(span: Span, class: crate::sampler::Class) -> Span {
    use tracing_opentelemetry::OpenTelemetrySpanExt;
    // Off means off: a context would be memory for nothing.
    if span.is_disabled() {
        return span;
    }
    // Refused only when the span has begun.
    drop(span.set_parent(opentelemetry::Context::new().with_value(class)));
    span
}
