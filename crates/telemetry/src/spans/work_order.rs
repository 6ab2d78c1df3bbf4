//! The way of a work order to the one cluster that carries it out.

use tracing::{Span, field::Empty};

use crate::sampler::Class;

/// What somebody asks for.
#[derive(Debug, Clone, Copy)]
pub struct SendWorkOrder<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its name.
    pub name: &'a str,
    /// `job`, `apply`, `build`.
    pub kind: &'static str,
}

/// `send work_order`, PRODUCER: a work order was accepted. Its context is what the order carries.
#[must_use]
pub fn send_work_order(send: SendWorkOrder<'_>) -> Span {
    child_span!(
        "work_order.send",
        otel.name = "send work_order",
        otel.kind = "producer",
        otel.status_code = Empty,
        messaging.operation.name = "send",
        messaging.operation.type = "send",
        messaging.destination.name = "work_order",
        cicd.pipeline.name = send.name,
        brokkr.work_order.id = send.id,
        brokkr.work_order.kind = send.kind,
        error.type = Empty,
    )
}

/// What an agent carries out.
#[derive(Debug, Clone, Copy)]
pub struct ProcessWorkOrder<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its name.
    pub name: &'a str,
    /// `job`, `apply`, `build`.
    pub kind: &'static str,
    /// 1 for the first.
    pub attempt: u32,
    /// Name of the agent.
    pub agent: &'a str,
    /// Name of its cluster.
    pub cluster: &'a str,
}

/// `process work_order`, CONSUMER: one attempt, from the claim until it has ended. Relate it to the context that the order carries.
///
/// A root of its own until it is related: what happens to run around it is not its parent.
#[must_use]
pub fn process_work_order(process: ProcessWorkOrder<'_>) -> Span {
    let run = format!("{}-{}", process.id, process.attempt);
    let span = tracing::info_span!(
        parent: None,
        "work_order.process",
        otel.name = "process work_order",
        otel.kind = "consumer",
        otel.status_code = Empty,
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.destination.name = "work_order",
        cicd.pipeline.name = process.name,
        cicd.pipeline.run.id = run,
        cicd.pipeline.run.state = "executing",
        cicd.pipeline.result = Empty,
        brokkr.work_order.id = process.id,
        brokkr.work_order.kind = process.kind,
        brokkr.attempt = i64::from(process.attempt),
        brokkr.agent.name = process.agent,
        brokkr.cluster.name = process.cluster,
        brokkr.reason = Empty,
        brokkr.object = Empty,
        error.type = Empty,
    );
    super::begin_trace(span, Class::Rollout)
}

/// Puts the end on the span of [`process_work_order`]. `result` is a value of `cicd.pipeline.result`; a reason makes it an error.
pub fn record_work_result(span: &Span, result: &'static str, reason: Option<&str>, object: Option<&str>) {
    span.record("cicd.pipeline.result", result);
    if let Some(object) = object {
        span.record("brokkr.object", object);
    }
    if let Some(reason) = reason {
        span.record("brokkr.reason", reason);
        super::record_error(span, reason);
    }
}
