//! Tracing of the broker and its agents: what is set at run time, what is in effect, and whether spans reach the collector.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Name, TargetSelector, Timestamp};

/// Longest address of a collector, in bytes.
pub const MAX_ENDPOINT: usize = 512;
/// Longest name of a service, in characters.
pub const MAX_SERVICE_NAME: usize = 255;
/// Most rules for some agents at once.
pub const MAX_RULES: usize = 16;
/// Most values that a pipeline tells.
pub const MAX_VALUES: usize = 32;
/// Longest value, source or error that a pipeline tells, in characters; longer ones are cut by the agent.
pub const MAX_TEXT: usize = 1_024;

/// What can be set while the daemons run. What is absent is as their files and environments say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TraceSettings {
    /// Whether spans are made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// How they leave the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exporter: Option<TraceExporter>,
    /// The collector: `http://HOST:PORT` or `https://HOST:PORT`. That of an old collector of Jaeger is taken for its OTLP port, with a warning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The OTLP transport; where it is absent, the usual port 4317 or 4318 says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<TraceProtocol>,
    /// `service.name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
    /// Share of the traces that are kept, 0 to 1. A value outside is clamped, with a warning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling_rate: Option<f64>,
}

/// How spans leave a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TraceExporter {
    /// To a collector.
    Otlp,
    /// To a Jaeger, which takes OTLP on the same ports.
    Jaeger,
}

/// The OTLP transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum TraceProtocol {
    /// gRPC.
    #[serde(rename = "grpc")]
    Grpc,
    /// Protobuf over HTTP.
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
}

/// Sets tracing: `PUT /api/v1/tracing`. It takes the place of what was set before for the same daemons.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetTracing {
    /// The settings; empty ones let the files and environments decide.
    pub settings: TraceSettings,
    /// Whether the broker follows them.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub broker: bool,
    /// The agents that follow them; all of them when absent. Of several rules that concern an agent the one that was set last counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agents: Option<TargetSelector>,
}

fn yes() -> bool {
    true
}

/// What is set at run time for the agents of a selector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TraceRule {
    /// The agents; all of them when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agents: Option<TargetSelector>,
    /// The settings.
    pub settings: TraceSettings,
}

/// Tracing of the broker, and what is set for everybody: `GET /api/v1/tracing`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Tracing {
    /// Counts up with every change; 0 before the first.
    pub revision: u64,
    /// Name of the key that made the last change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_by: Option<String>,
    /// When that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<Timestamp>,
    /// What is set for the broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker: Option<TraceSettings>,
    /// What is set for agents; the last rule that concerns an agent counts.
    pub agents: Vec<TraceRule>,
    /// What is in effect on the broker that answers, and what becomes of its spans.
    pub pipeline: TracePipeline,
    /// What was understood otherwise than it was written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What is in effect in one process, and what became of its spans since it started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TracePipeline {
    /// Whether spans are made.
    pub enabled: bool,
    /// The values in effect, at most [`MAX_VALUES`].
    #[schema(max_items = 32)]
    pub values: Vec<TraceValue>,
    /// Spans that the collector took.
    pub exported: u64,
    /// Spans that it refused, or that did not reach it.
    pub failed: u64,
    /// Spans that were lost before they could be sent.
    pub dropped: u64,
    /// When the collector last took something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success_at: Option<Timestamp>,
    /// Why the latest export failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// One value in effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TraceValue {
    /// Its key in `[telemetry]`.
    pub key: String,
    /// The value. Headers show their names alone.
    pub value: String,
    /// `run time`, a variable, a file, or `default`.
    pub source: String,
}

/// What an agent is told with its desired state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TraceOrder {
    /// The revision that this is of.
    pub revision: u64,
    /// The settings.
    pub settings: TraceSettings,
}

/// What an agent tells of its tracing: `PUT /api/v1/agent/tracing`. It does so when something has changed, and of counts alone every few minutes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportTracing {
    /// The revision that it follows; 0 when it was told none.
    pub revision: u64,
    /// What is in effect, and what became of its spans.
    pub pipeline: TracePipeline,
}

/// Tracing of one agent, as it told last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentTracing {
    /// The agent.
    pub agent: Name,
    /// The revision that it follows.
    pub revision: u64,
    /// When it told so; never when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported_at: Option<Timestamp>,
    /// What is in effect there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<TracePipeline>,
}
