//! The sections `[telemetry]`, `[metrics]` and `[log]`. Every default stands here and nowhere else.

mod duration;
pub mod endpoint;
mod metrics;
mod origins;
pub mod variables;

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use metrics::{MetricsConfig, MetricsExporter};
pub use origins::Origins;

/// `[telemetry]`: where spans go, and how many.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// Whether spans are made at all. When off, an incoming trace context is still passed on and stands in the log.
    pub enabled: bool,
    /// How spans leave the process: "otlp", "jaeger" (OTLP to a Jaeger), or "none" to make them without sending them.
    pub exporter: Exporter,
    /// The collector, with scheme and port. Default: `http://localhost:4317`, or `http://localhost:4318` when the protocol is "http/protobuf".
    /// With "http/protobuf", `/v1/traces` is appended to an endpoint without a path. The address of an old collector of Jaeger,
    /// `http://HOST:14268/api/traces`, is taken for `http://HOST:4317`, with a warning.
    pub endpoint: Option<String>,
    /// The OTLP transport: "grpc" or "http/protobuf".
    pub protocol: Protocol,
    /// Headers sent with every export, such as an authorization for the collector. Never logged.
    pub headers: BTreeMap<String, String>,
    /// How long one attempt of an export may take: "10s", "500ms".
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub timeout: Duration,
    /// For how long an export that failed is repeated, with growing pauses, while further spans wait in the queue.
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub retry: Duration,
    /// Compression of exports: "none" or "gzip".
    pub compression: Compression,
    /// TLS towards the collector, for an endpoint with `https://`.
    pub tls: TlsConfig,
    /// `service.name` of this process. Default: "brokkr-broker" or "brokkr-agent".
    pub service_name: Option<String>,
    /// `service.version` of this process. Default: the version of the program.
    pub service_version: Option<String>,
    /// `deployment.environment.name`: "production", "staging".
    pub environment: Option<String>,
    /// Further attributes of the resource, `{ "team.name" = "shop" }`. They stand on every export.
    pub resource: BTreeMap<String, String>,
    /// Share of the traces begun here that are kept, 0.0 to 1.0. A value outside is clamped, with a warning.
    pub sampling_rate: f64,
    /// Shares for particular operations, in place of `sampling_rate`.
    pub rates: Rates,
    /// Aims at so many traces a second in place of `sampling_rate`: the share follows the load, and is never above 1. It concerns what has no rate
    /// of its own below.
    pub adaptive_traces_per_second: Option<f64>,
    /// Traces a second, at most, that are kept for callers who are not authenticated; 0 for none.
    pub untrusted_traces_per_second: f64,
    /// How the spans of an agent relate to the trace of the change, "auto", "parent" or "link". The broker decides; an agent ignores it.
    pub handoff: Handoff,
    /// Whether the sampled flag of an authenticated caller decides. The trace id of a caller is continued either way; when this is off, or the
    /// caller is not authenticated, the rates above decide as for a trace begun here.
    pub trust_inbound: bool,
    /// The queue between the process and the collector. A full queue drops spans and counts them; it never blocks.
    pub batch: BatchConfig,
    /// The log, which goes to the standard error.
    pub log: LogConfig,
    /// Where the values come from.
    #[serde(skip)]
    pub origins: Origins,
}

/// `[telemetry.tls]`: whom to believe, and who this process is. The files are read when the exporter is made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// File with certificates of authorities, PEM. Default: the machine's own.
    pub ca_file: Option<PathBuf>,
    /// File with this process's certificate chain, PEM, for a collector that asks for one.
    pub certificate_file: Option<PathBuf>,
    /// File with its private key, PEM.
    pub key_file: Option<PathBuf>,
}

/// How an agent's spans relate to the trace of the change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Handoff {
    /// Parent and link for a small, fresh, first delivery; link otherwise.
    #[default]
    Auto,
    /// Always a child.
    Parent,
    /// Always a trace of its own that links.
    Link,
}

/// `[telemetry.rates]`: shares of traces that are kept, by operation, 0.0 to 1.0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rates {
    /// Long polls for desired state: a trace of their own each, and most of them say "nothing new".
    pub poll: f64,
    /// `/healthz`, `/readyz` and `/metrics`.
    pub probe: f64,
    /// Background work, such as reading the change feed.
    pub job: f64,
    /// Rollouts and work orders that begin here. Default: `sampling_rate`.
    pub rollout: Option<f64>,
    /// Other requests that change something. Default: `sampling_rate`.
    pub write: Option<f64>,
}

/// `[telemetry.batch]`: how spans are gathered before they are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BatchConfig {
    /// Spans that wait or are being sent, at most. What comes on top is dropped and counted.
    pub queue_size: usize,
    /// Spans in one export, at most.
    pub batch_size: usize,
    /// How long spans wait for a batch to fill: "5s".
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub delay: Duration,
}

/// How spans leave the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Exporter {
    /// To an OpenTelemetry collector, or a backend that speaks its protocol.
    #[default]
    Otlp,
    /// To a Jaeger, which takes OTLP on the same ports.
    Jaeger,
    /// Nowhere. Contexts are still made and passed on, and log lines carry their ids.
    None,
}

/// The OTLP transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Protocol {
    /// gRPC, usually port 4317.
    #[default]
    #[serde(rename = "grpc")]
    Grpc,
    /// Protobuf over HTTP, usually port 4318.
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
}

/// Compression of exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// As they are.
    #[default]
    None,
    /// gzip.
    Gzip,
}

/// `[telemetry.log]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// "human" for people, "json" for machines (one object a line).
    pub format: LogFormat,
    /// What is logged: "info", or by module, as in `info,brokkr_agent=debug`. It never switches spans off.
    pub level: String,
}

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line of text, coloured on a terminal.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            exporter: Exporter::Otlp,
            endpoint: None,
            protocol: Protocol::Grpc,
            headers: BTreeMap::new(),
            timeout: Duration::from_secs(10),
            retry: Duration::from_secs(10),
            compression: Compression::None,
            tls: TlsConfig::default(),
            service_name: None,
            service_version: None,
            environment: None,
            resource: BTreeMap::new(),
            sampling_rate: 0.1,
            rates: Rates::default(),
            adaptive_traces_per_second: None,
            untrusted_traces_per_second: 10.0,
            handoff: Handoff::Auto,
            trust_inbound: true,
            batch: BatchConfig::default(),
            log: LogConfig::default(),
            origins: Origins::default(),
        }
    }
}

impl Default for Rates {
    fn default() -> Self {
        Self { poll: 0.01, probe: 0.0, job: 0.01, rollout: None, write: None }
    }
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self { queue_size: 2048, batch_size: 512, delay: Duration::from_secs(5) }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Human, level: "info".to_owned() }
    }
}

impl TelemetryConfig {
    /// The same, sending spans by `exporter`, and switched on.
    #[must_use]
    pub fn with_exporter(mut self, exporter: Exporter) -> Self {
        self.enabled = true;
        self.exporter = exporter;
        self
    }

    /// The same, with this collector.
    #[must_use]
    pub fn with_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// The same, under this `service.name`.
    #[must_use]
    pub fn with_service_name(mut self, name: impl Into<String>) -> Self {
        self.service_name = Some(name.into());
        self
    }

    /// The same, keeping this share of the traces.
    #[must_use]
    pub fn with_sample_rate(mut self, rate: f64) -> Self {
        self.sampling_rate = rate;
        self
    }

    /// Where spans go: the endpoint, or the usual port of the protocol on this machine.
    #[must_use]
    pub fn effective_endpoint(&self) -> &str {
        self.endpoint.as_deref().unwrap_or(self.protocol.default_endpoint())
    }

    /// Every rate by its key.
    #[must_use]
    pub fn named_rates(&self) -> Vec<(&'static str, f64)> {
        let Rates { poll, probe, job, rollout, write } = self.rates;
        let own = [("rates.rollout", rollout), ("rates.write", write)];
        let own = own.into_iter().filter_map(|(key, rate)| rate.map(|rate| (key, rate)));
        [("sampling_rate", self.sampling_rate), ("rates.poll", poll), ("rates.probe", probe), ("rates.job", job)]
            .into_iter()
            .chain(own)
            .collect()
    }
}

impl Protocol {
    /// The usual port on this machine.
    #[must_use]
    pub fn default_endpoint(self) -> &'static str {
        match self {
            Self::Grpc => "http://localhost:4317",
            Self::HttpProtobuf => "http://localhost:4318",
        }
    }

    /// The word in configurations.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::HttpProtobuf => "http/protobuf",
        }
    }
}

impl Exporter {
    /// The word in configurations.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Otlp => "otlp",
            Self::Jaeger => "jaeger",
            Self::None => "none",
        }
    }
}

impl fmt::Debug for TelemetryConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TelemetryConfig")
            .field("enabled", &self.enabled)
            .field("exporter", &self.exporter)
            .field("endpoint", &self.endpoint)
            .field("protocol", &self.protocol)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("service_name", &self.service_name)
            .field("sampling_rate", &self.sampling_rate)
            .field("rates", &self.rates)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
