//! Spans of what is over: a wait that is known only when it has ended.

use std::{sync::Arc, time::SystemTime};

use opentelemetry::{
    KeyValue,
    trace::{Link, Span as _, SpanKind, Status, TraceContextExt, Tracer},
};
use opentelemetry_sdk::trace::SdkTracer;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;

use super::WaitReason;
use crate::{pipeline::Counts, propagation::TraceContext, sampler::Class};

/// What is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Past {
    /// A wait.
    Wait(WaitReason),
    /// A deployment on its way from the broker's answer into the agent's hands. Its start is the broker's clock and its end the agent's:
    /// it fills what lies between the two on the axis of the trace, a difference of the clocks included.
    Receive,
    /// The same of a work order.
    ReceiveWorkOrder,
}

impl Past {
    fn span_name(self) -> &'static str {
        match self {
            Self::Wait(reason) => reason.span_name(),
            Self::Receive => "receive deployment",
            Self::ReceiveWorkOrder => "receive work_order",
        }
    }

    fn kind(self) -> SpanKind {
        match self {
            Self::Wait(_) => SpanKind::Internal,
            Self::Receive | Self::ReceiveWorkOrder => SpanKind::Client,
        }
    }

    fn attributes(self) -> Vec<KeyValue> {
        match self {
            Self::Wait(reason) => vec![KeyValue::new("brokkr.wait.reason", reason.as_str())],
            Self::Receive => receive("deployment"),
            Self::ReceiveWorkOrder => receive("work_order"),
        }
    }
}

fn receive(what: &'static str) -> Vec<KeyValue> {
    vec![
        KeyValue::new("messaging.operation.name", "receive"),
        KeyValue::new("messaging.operation.type", "receive"),
        KeyValue::new("messaging.destination.name", what),
    ]
}

/// Records a span under `parent` for what went on from `start` to `end`. An end before the start counts as the start.
///
/// Nothing happens when spans are off or the parent is not recorded.
pub fn record_past(parent: &Span, what: Past, start: SystemTime, end: SystemTime) {
    let context = parent.context();
    if !context.span().is_recording() {
        return;
    }
    parent.with_subscriber(|(_, subscriber)| {
        if let Some(TracerSlot { tracer, .. }) = subscriber.downcast_ref() {
            record(tracer, &context, None, what, start, end);
        }
    });
}

/// A container of a work order that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// Its name.
    pub name: &'a str,
    /// 0 for success.
    pub exit_code: i64,
}

/// Records a span under `parent` for a container that ran from `start` to `end`, by the times of its status.
///
/// Nothing happens when spans are off or the parent is not recorded.
pub fn record_step(parent: &Span, step: Step<'_>, start: SystemTime, end: SystemTime) {
    let context = parent.context();
    if !context.span().is_recording() {
        return;
    }
    parent.with_subscriber(|(_, subscriber)| {
        let Some(TracerSlot { tracer, .. }) = subscriber.downcast_ref() else { return };
        let failed = step.exit_code != 0;
        let mut span = tracer
            .span_builder(format!("run {}", step.name))
            .with_kind(SpanKind::Internal)
            .with_start_time(start)
            .with_attributes([
                KeyValue::new("cicd.pipeline.task.name", step.name.to_owned()),
                KeyValue::new("cicd.pipeline.task.run.result", if failed { "failure" } else { "success" }),
                KeyValue::new("brokkr.exit_code", step.exit_code),
            ])
            .start_with_context(tracer, &context);
        if failed {
            span.set_status(Status::error(""));
            span.set_attribute(KeyValue::new("error.type", "exit_code"));
        }
        span.end_with_timestamp(end.max(start));
    });
}

/// The same under a place that work carries, whose span ended long ago; linked to what caused it, where that is another.
///
/// Nothing happens when spans are off or the place is not sampled.
pub fn record_past_of(place: &TraceContext, cause: Option<&TraceContext>, what: Past, start: SystemTime, end: SystemTime) {
    if !place.is_sampled() {
        return;
    }
    tracing::dispatcher::get_default(|subscriber| {
        if let Some(TracerSlot { tracer, counts }) = subscriber.downcast_ref()
            && counts.is_on()
        {
            let context = place.to_remote_parent().with_value(Class::Rollout);
            record(tracer, &context, cause, what, start, end);
        }
    });
}

fn record(
    tracer: &SdkTracer,
    context: &opentelemetry::Context,
    cause: Option<&TraceContext>,
    what: Past,
    start: SystemTime,
    end: SystemTime,
) {
    let links: Vec<_> = cause.map(|cause| Link::with_context(cause.span_context())).into_iter().collect();
    let mut span = tracer
        .span_builder(what.span_name())
        .with_kind(what.kind())
        .with_start_time(start)
        .with_attributes(what.attributes())
        .with_links(links)
        .start_with_context(tracer, context);
    span.end_with_timestamp(end.max(start));
}

/// Lets [`record_past`] find the tracer of the subscriber that a span belongs to. It observes nothing.
#[derive(Debug)]
pub(crate) struct TracerSlot {
    pub(crate) tracer: SdkTracer,
    pub(crate) counts: Arc<Counts>,
}

impl<S: tracing::Subscriber> Layer<S> for TracerSlot {}
