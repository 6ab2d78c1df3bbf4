//! The catalogue of metrics: the only place that names a metric or a label.
//!
//! Labels are words of closed sets, or route templates; no metric carries the id of an agent, a stack or a request.

mod agent;
mod broker;
mod catalogue;
mod endpoint;
mod instruments;
mod labels;
mod negotiation;
mod openmetrics;
mod process;
pub(crate) mod push;
mod usage;

pub use agent::{AGENT, AgentMetrics};
pub use broker::{BROKER, BrokerMetrics};
pub use catalogue::{Label, MetricInfo, MetricKind, catalogue};
pub use endpoint::{MetricsEndpoint, Rendered};
pub(crate) use instruments::Instruments;
pub use instruments::{Gauge, Level, Observed, SecondsGauge, Within};
pub use labels::{
    ClaimResult, DbOperation, FailureClass, HEALTH_WORDS, HttpMethod, JOBS, KubeOperation, OpResult, PHASES, PollResult, QUEUES,
    ReconcileAction, WORK_KINDS, WebhookResult, WorkClass,
};
pub use process::PROCESS;
pub(crate) use process::ProcessMetrics;
