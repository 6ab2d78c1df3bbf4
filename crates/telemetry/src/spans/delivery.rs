//! The way of a deployment object to its clusters.

use tracing::{Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::sampler::Class;

/// What the broker hands off.
#[derive(Debug, Clone, Copy)]
pub struct SendDeployment<'a> {
    /// Name of the stack.
    pub stack: &'a str,
    /// Its id.
    pub stack_id: &'a str,
    /// The generation that is sent.
    pub generation: i64,
    /// To how many agents, where that is known beforehand; else [`record_fan_out`] says it.
    pub fan_out: Option<u64>,
}

/// `send deployment`, PRODUCER: once for a generation, never once for an agent. Its context is what the deployments carry.
#[must_use]
pub fn send_deployment_object(send: SendDeployment<'_>) -> Span {
    let span = tracing::info_span!(
        "deployment.send",
        otel.name = "send deployment",
        otel.kind = "producer",
        otel.status_code = Empty,
        messaging.operation.name = "send",
        messaging.operation.type = "send",
        messaging.destination.name = "deployment",
        brokkr.stack.name = send.stack,
        brokkr.stack.id = send.stack_id,
        brokkr.generation = send.generation,
        brokkr.fan_out = Empty,
        brokkr.reason = Empty,
        error.type = Empty,
    );
    if let Some(agents) = send.fan_out {
        record_fan_out(&span, agents);
    }
    span
}

/// Says to how many agents a `send deployment` span hands its work.
pub fn record_fan_out(span: &Span, agents: u64) {
    span.record("brokkr.fan_out", i64::try_from(agents).unwrap_or(i64::MAX));
}

/// What an agent carries out.
#[derive(Debug, Clone, Copy)]
pub struct ProcessDeployment<'a> {
    /// Name of the stack.
    pub stack: &'a str,
    /// Its id.
    pub stack_id: &'a str,
    /// The generation that is wanted.
    pub generation: i64,
    /// The revision of the deployment.
    pub revision: i64,
    /// `apply` or `delete`.
    pub action: &'static str,
    /// 1 for the first.
    pub attempt: u32,
    /// Name of the agent.
    pub agent: &'a str,
    /// Name of its cluster.
    pub cluster: &'a str,
}

/// `process deployment`, CONSUMER: from taking up a deployment until it is applied or failed. Relate it to the context that the work carries.
///
/// A root of its own until it is related: what happens to run around it is not its parent.
#[must_use]
pub fn process_deployment(process: ProcessDeployment<'_>) -> Span {
    let span = tracing::info_span!(
        parent: None,
        "deployment.process",
        otel.name = "process deployment",
        otel.kind = "consumer",
        otel.status_code = Empty,
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.destination.name = "deployment",
        brokkr.stack.name = process.stack,
        brokkr.stack.id = process.stack_id,
        brokkr.generation = process.generation,
        brokkr.revision = process.revision,
        brokkr.action = process.action,
        brokkr.attempt = i64::from(process.attempt),
        brokkr.agent.name = process.agent,
        brokkr.cluster.name = process.cluster,
        brokkr.phase = Empty,
        brokkr.reason = Empty,
        brokkr.object = Empty,
        error.type = Empty,
    );
    super::begin_trace(span, Class::Rollout)
}

/// How a deployment ended.
#[derive(Debug, Clone, Copy)]
pub struct ConsumerOutcome<'a> {
    /// The phase that it ended in: `applied`, `deleted`, `failed`.
    pub phase: &'a str,
    /// On failure, why: a word of a closed set.
    pub reason: Option<&'a str>,
    /// On failure, which object: `apps/Deployment shop/web`.
    pub object: Option<&'a str>,
}

/// Puts the outcome on the span of [`process_deployment`]. A reason makes it an error.
pub fn record_outcome(span: &Span, outcome: ConsumerOutcome<'_>) {
    span.record("brokkr.phase", outcome.phase);
    if let Some(object) = outcome.object {
        span.record("brokkr.object", object);
    }
    if let Some(reason) = outcome.reason {
        span.record("brokkr.reason", reason);
        super::record_error(span, reason);
    }
}

/// What is done with one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectAction {
    /// Server-side apply.
    Apply,
    /// Deletion.
    Delete,
}

/// One object of a deployment.
#[derive(Debug, Clone, Copy)]
pub struct ObjectSpan<'a> {
    /// What is done with it.
    pub action: ObjectAction,
    /// `apps/Deployment`.
    pub group_kind: &'a str,
    /// Its namespace, where it has one.
    pub namespace: Option<&'a str>,
    /// Its name.
    pub name: &'a str,
    /// The wave that it belongs to.
    pub wave: i64,
}

/// `apply object` or `delete object`, INTERNAL: everything done for one object, retries included.
#[must_use]
pub fn object(object: ObjectSpan<'_>) -> Span {
    tracing::info_span!(
        "object",
        otel.name = object.action.span_name(),
        otel.kind = "internal",
        otel.status_code = Empty,
        // Not k8s.namespace.name: that is the namespace that this process runs in.
        brokkr.object.kind = object.group_kind,
        brokkr.object.namespace = object.namespace,
        brokkr.object.name = object.name,
        brokkr.wave = object.wave,
        brokkr.reason = Empty,
        error.type = Empty,
    )
}

impl ObjectAction {
    fn span_name(self) -> &'static str {
        match self {
            Self::Apply => "apply object",
            Self::Delete => "delete object",
        }
    }
}

/// Late facts about a deployment that its span did not know when it began.
pub trait DeploymentSpanExt {
    /// Seconds from the acceptance of the generation until now; an integer, so that collectors can sample by it.
    fn record_lag_seconds(&self, seconds: i64);
}

impl DeploymentSpanExt for Span {
    fn record_lag_seconds(&self, seconds: i64) {
        self.set_attribute("brokkr.rollout.lag_seconds", seconds);
    }
}
