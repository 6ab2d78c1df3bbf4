//! The sections `[telemetry]`, `[metrics]` and `[log]`. Every default stands here and nowhere else.

mod duration;
mod metrics;

use std::{collections::BTreeMap, fmt, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use metrics::{MetricsConfig, MetricsExporter};

/// `[telemetry]`: where spans go, and how many.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// Whether spans are made at all. When off, an incoming trace context is still passed on and stands in the log.
    pub enabled: bool,
    /// How spans leave the process: "otlp", or "none" to make them without sending them.
    pub exporter: Exporter,
    /// The collector, with scheme and port. Default: `http://localhost:4317`, or `http://localhost:4318` when the protocol is "http/protobuf".
    /// With "http/protobuf", `/v1/traces` is appended to an endpoint without a path.
    pub endpoint: Option<String>,
    /// The OTLP transport: "grpc" or "http/protobuf".
    pub protocol: Protocol,
    /// Headers sent with every export, such as an authorization for the collector. Never logged.
    pub headers: BTreeMap<String, String>,
    /// How long one attempt of an export may take, and for how long a failed one is repeated: "10s", "500ms".
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub timeout: Duration,
    /// `service.name` of this process. Default: "brokkr-broker" or "brokkr-agent".
    pub service_name: Option<String>,
    /// Share of the traces begun here that are kept, 0.0 to 1.0. A value outside is clamped, with a warning.
    pub sampling_rate: f64,
    /// Shares for particular operations, in place of `sampling_rate`.
    pub rates: Rates,
    /// Whether the sampled flag of an authenticated caller decides. The trace id of a caller is continued either way; when this is off, or the
    /// caller is not authenticated, the rates above decide as for a trace begun here.
    pub trust_inbound: bool,
    /// Compression of exports: "none" or "gzip".
    pub compression: Compression,
    /// The queue between the process and the collector. A full queue drops spans and counts them; it never blocks.
    pub batch: BatchConfig,
}

/// `[telemetry.rates]`: shares of traces that are kept, by operation, 0.0 to 1.0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rates {
    /// Long polls for desired state: a trace of their own each, and most of them say "nothing new".
    pub poll: f64,
    /// `/healthz`, `/readyz` and `/metrics`.
    pub probe: f64,
    /// Rollouts and work orders that begin here. Default: `sampling_rate`.
    pub rollout: Option<f64>,
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

/// `[log]`
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
            service_name: None,
            sampling_rate: 0.1,
            rates: Rates::default(),
            trust_inbound: true,
            compression: Compression::None,
            batch: BatchConfig::default(),
        }
    }
}

impl Default for Rates {
    fn default() -> Self {
        Self { poll: 0.01, probe: 0.0, rollout: None }
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
        match (&self.endpoint, self.protocol) {
            (Some(endpoint), _) => endpoint,
            (None, Protocol::Grpc) => "http://localhost:4317",
            (None, Protocol::HttpProtobuf) => "http://localhost:4318",
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
            .field("timeout", &self.timeout)
            .field("service_name", &self.service_name)
            .field("sampling_rate", &self.sampling_rate)
            .field("rates", &self.rates)
            .field("trust_inbound", &self.trust_inbound)
            .field("compression", &self.compression)
            .field("batch", &self.batch)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_section_is_the_defaults_of_the_reference() {
        let config: TelemetryConfig = toml::from_str("").unwrap();
        assert_eq!(config, TelemetryConfig::default());
        assert!(!config.enabled);
        assert_eq!(config.effective_endpoint(), "http://localhost:4317");
        assert_eq!((config.sampling_rate, config.rates.poll, config.rates.probe), (0.1, 0.01, 0.0));
    }

    #[test]
    fn the_port_follows_the_protocol_unless_an_endpoint_is_set() {
        let http: TelemetryConfig = toml::from_str("protocol = \"http/protobuf\"").unwrap();
        assert_eq!(http.effective_endpoint(), "http://localhost:4318");
        assert_eq!(http.with_endpoint("http://collector:1").effective_endpoint(), "http://collector:1");
    }

    #[test]
    fn durations_are_written_as_people_write_them() {
        let config: TelemetryConfig = toml::from_str("timeout = \"500ms\"\n[batch]\ndelay = \"1s\"").unwrap();
        assert_eq!((config.timeout, config.batch.delay), (Duration::from_millis(500), Duration::from_secs(1)));
        let error = toml::from_str::<TelemetryConfig>("timeout = \"soon\"").unwrap_err().to_string();
        assert!(error.contains("timeout") && error.contains("10s"), "{error}");
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        assert!(toml::from_str::<TelemetryConfig>("sample_rate = 1.0").unwrap_err().to_string().contains("sample_rate"));
    }

    #[test]
    fn values_of_headers_are_not_shown() {
        let config: TelemetryConfig = toml::from_str("headers = { authorization = \"Bearer hush\" }").unwrap();
        let shown = format!("{config:?}");
        assert!(shown.contains("authorization") && !shown.contains("hush"), "{shown}");
    }
}
