//! Traces, metrics and logs: one init, one catalogue.
//!
//! [`init()`] returns the guard of everything; nothing is reached for through globals. [`spans`] and [`metrics`] are the only places that name a span, an
//! attribute, a metric or a label. [`propagation`] is how a span takes its place in a trace that began elsewhere, perhaps long ago.

#![expect(clippy::disallowed_macros, reason = "the catalogue is where spans are made; clippy hears this for a whole crate only")]

pub mod config;
pub mod control;
pub mod http;
pub mod init;
pub mod logging;
pub mod metrics;
pub mod pipeline;
pub mod propagation;
pub mod sampler;
pub mod spans;

#[cfg(feature = "testing")]
pub mod capture;

pub use config::{LogConfig, MetricsConfig, TelemetryConfig};
pub use control::{Control, RunTime};
pub use init::{InitError, InitOptions, Service, StatusHandle, Telemetry, init};
pub use metrics::{AgentMetrics, BrokerMetrics, MetricsEndpoint};
pub use pipeline::PipelineStatus;
pub use propagation::{Relation, TraceContext, relate, within};

/// What the targets of our spans begin with.
const TARGET: &str = "brokkr_telemetry";
