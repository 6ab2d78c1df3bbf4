//! `[metrics]`

use std::{collections::BTreeMap, fmt, net::SocketAddr, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Protocol, TelemetryConfig, duration};

/// `[metrics]`
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsConfig {
    /// Whether metrics are recorded at all.
    pub enabled: bool,
    /// How metrics leave the process: "prometheus" serves them for whoever asks, "otlp" sends them, "both" does both.
    pub exporter: MetricsExporter,
    /// Where they are served.
    pub path: String,
    /// Address and port of their own for them, without TLS, such as "0.0.0.0:9090"; they are not served on the port of the daemon then.
    #[schemars(with = "Option<String>")]
    pub listen: Option<SocketAddr>,
    /// The collector to which they are sent. Default: `telemetry.endpoint`. With "http/protobuf", `/v1/metrics` is appended to an endpoint
    /// without a path.
    pub endpoint: Option<String>,
    /// The OTLP transport, "grpc" or "http/protobuf". Default: `telemetry.protocol`.
    pub protocol: Option<Protocol>,
    /// Headers sent with every export. Never logged. Default: `telemetry.headers`.
    pub headers: Option<BTreeMap<String, String>>,
    /// How often they are sent: "60s".
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub interval: Duration,
}

/// How metrics leave the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MetricsExporter {
    /// They are served, as Prometheus text or `OpenMetrics`.
    #[default]
    Prometheus,
    /// They are sent to a collector.
    Otlp,
    /// Both.
    Both,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            exporter: MetricsExporter::Prometheus,
            path: "/metrics".to_owned(),
            listen: None,
            endpoint: None,
            protocol: None,
            headers: None,
            interval: Duration::from_secs(60),
        }
    }
}

impl MetricsConfig {
    /// Whether somebody may ask for them.
    #[must_use]
    pub fn are_served(&self) -> bool {
        self.enabled && self.exporter != MetricsExporter::Otlp
    }

    /// Whether they are sent.
    #[must_use]
    pub fn are_sent(&self) -> bool {
        self.enabled && self.exporter != MetricsExporter::Prometheus
    }

    /// Where and how they are sent: what is not set here is that of the spans.
    pub(crate) fn over(&self, telemetry: &TelemetryConfig) -> TelemetryConfig {
        let mut sent = telemetry.clone();
        sent.protocol = self.protocol.unwrap_or(sent.protocol);
        sent.headers = self.headers.clone().unwrap_or(sent.headers);
        sent.endpoint = match &self.endpoint {
            Some(own) => Some(own.clone()),
            // The place of the spans on the same collector is not that of the metrics.
            None => telemetry.endpoint.as_ref().map(|of_spans| of_spans.trim_end_matches("/v1/traces").to_owned()),
        };
        sent
    }
}

impl fmt::Debug for MetricsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsConfig")
            .field("enabled", &self.enabled)
            .field("exporter", &self.exporter)
            .field("path", &self.path)
            .field("listen", &self.listen)
            .field("endpoint", &self.endpoint)
            .field("protocol", &self.protocol)
            .field("headers", &self.headers.as_ref().map(|headers| headers.keys().collect::<Vec<_>>()))
            .field("interval", &self.interval)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_is_that_of_the_spans() {
        let telemetry: TelemetryConfig =
            toml::from_str("protocol = \"http/protobuf\"\nendpoint = \"http://c:4318/v1/traces\"\nheaders = { a = \"1\" }")
                .unwrap();
        let sent = MetricsConfig::default().over(&telemetry);
        assert_eq!((sent.effective_endpoint(), sent.protocol), ("http://c:4318", Protocol::HttpProtobuf));
        assert_eq!(sent.headers, telemetry.headers);
        let own: MetricsConfig =
            toml::from_str("protocol = \"grpc\"\nendpoint = \"http://m:4317\"\nheaders = { b = \"hush\" }").unwrap();
        let sent = own.over(&telemetry);
        assert_eq!((sent.effective_endpoint(), sent.protocol), ("http://m:4317", Protocol::Grpc));
        assert!(sent.headers.contains_key("b") && !sent.headers.contains_key("a"));
        assert!(!format!("{own:?}").contains("hush"));
    }

    #[test]
    fn off_is_neither_served_nor_sent() {
        let of = |text: &str| {
            let config: MetricsConfig = toml::from_str(text).unwrap();
            (config.are_served(), config.are_sent())
        };
        assert_eq!(of(""), (true, false));
        assert_eq!(of("exporter = \"otlp\""), (false, true));
        assert_eq!(of("exporter = \"both\""), (true, true));
        assert_eq!(of("enabled = false\nexporter = \"both\""), (false, false));
    }
}
