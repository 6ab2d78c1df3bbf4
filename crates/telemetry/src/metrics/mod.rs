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

pub use agent::{AGENT, AgentMetrics};
pub use broker::{BROKER, BrokerMetrics};
pub use catalogue::{MetricInfo, MetricKind, catalogue};
pub use endpoint::{MetricsEndpoint, Rendered};
pub(crate) use instruments::Instruments;
pub use instruments::{Gauge, SecondsGauge};
pub use labels::{ClaimResult, DbOperation, HttpMethod, KubeOperation, OpResult, PollResult, WorkClass};
pub use process::PROCESS;
pub(crate) use process::ProcessMetrics;
