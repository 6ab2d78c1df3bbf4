//! Spans of what is over: a wait that is known only when it has ended.

use std::time::SystemTime;

use opentelemetry::{
    KeyValue,
    trace::{Span as _, SpanKind, Status, TraceContextExt, Tracer},
};
use opentelemetry_sdk::trace::SdkTracer;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;

use super::WaitReason;
use crate::{propagation::TraceContext, sampler::Class};

/// What is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Past {
    /// A wait.
    Wait(WaitReason),
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
        if let Some(TracerSlot(tracer)) = subscriber.downcast_ref() {
            record(tracer, &context, what, start, end);
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
        let Some(TracerSlot(tracer)) = subscriber.downcast_ref() else { return };
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

/// The same under a place that work carries, whose span ended long ago.
///
/// Nothing happens when spans are off or the place is not sampled.
pub fn record_past_of(place: &TraceContext, what: Past, start: SystemTime, end: SystemTime) {
    if !place.is_sampled() {
        return;
    }
    let context = place.to_remote_parent().with_value(Class::Rollout);
    tracing::dispatcher::get_default(|subscriber| {
        if let Some(TracerSlot(tracer)) = subscriber.downcast_ref() {
            record(tracer, &context, what, start, end);
        }
    });
}

fn record(tracer: &SdkTracer, context: &opentelemetry::Context, what: Past, start: SystemTime, end: SystemTime) {
    let Past::Wait(reason) = what;
    let mut span = tracer
        .span_builder(reason.span_name())
        .with_kind(SpanKind::Internal)
        .with_start_time(start)
        .with_attributes([KeyValue::new("brokkr.wait.reason", reason.as_str())])
        .start_with_context(tracer, context);
    span.end_with_timestamp(end.max(start));
}

/// Lets [`record_past`] find the tracer of the subscriber that a span belongs to. It observes nothing.
#[derive(Debug)]
pub(crate) struct TracerSlot(pub(crate) SdkTracer);

impl<S: tracing::Subscriber> Layer<S> for TracerSlot {}
