//! What `/metrics` answers. The only file that knows the Prometheus exporter.

use std::sync::Arc;

use opentelemetry_prometheus::PrometheusExporter;
use opentelemetry_sdk::error::OTelSdkError;
use prometheus::{Encoder, Registry, TextEncoder, proto::MetricFamily};

use super::{
    MetricInfo,
    instruments::Exemplars,
    negotiation::{Format, negotiate},
    openmetrics,
};

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Renders the metrics of a daemon. Cheap to clone.
#[derive(Debug, Clone)]
pub struct MetricsEndpoint {
    registry: Registry,
    exemplars: Exemplars,
    catalogue: Vec<MetricInfo>,
    path: Arc<str>,
}

/// The body of an answer, and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The media type.
    pub content_type: &'static str,
    /// The metrics.
    pub body: String,
}

impl MetricsEndpoint {
    /// The endpoint, and the reader that fills it.
    pub(crate) fn new(
        path: &str,
        exemplars: Exemplars,
        catalogue: impl IntoIterator<Item = MetricInfo>,
    ) -> Result<(Self, PrometheusExporter), OTelSdkError> {
        let registry = Registry::new();
        let reader = opentelemetry_prometheus::exporter().with_registry(registry.clone()).scope_info_enabled(false).build()?;
        Ok((Self { registry, exemplars, catalogue: catalogue.into_iter().collect(), path: path.into() }, reader))
    }

    /// Where it is served.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The metrics in the format that the `Accept` header prefers: OpenMetrics 1.0 with exemplars, or Prometheus text 0.0.4.
    ///
    /// Both are written from one collection of the same families, so that they cannot disagree.
    #[must_use]
    pub fn render(&self, accept: Option<&str>) -> Rendered {
        let families = self.registry.gather();
        match negotiate(accept) {
            Format::Text => Rendered { content_type: TEXT, body: self.text(&families) },
            Format::OpenMetrics => {
                let body = openmetrics::encode(&families, &self.absent(&families), &self.exemplars);
                Rendered { content_type: OPENMETRICS, body }
            }
        }
    }

    fn text(&self, families: &[MetricFamily]) -> String {
        let mut body = Vec::new();
        if let Err(error) = TextEncoder::new().encode(families, &mut body) {
            tracing::warn!(%error, "metrics cannot be encoded");
        }
        let mut body = String::from_utf8(body).unwrap_or_default();
        for info in self.absent(families) {
            body.push_str(&format!("# HELP {} {}\n# TYPE {} {}\n", info.name, info.help, info.name, info.kind.as_str()));
        }
        body
    }

    /// What nothing was measured of so far: declared all the same, so that dashboards and alerts find it.
    fn absent(&self, families: &[MetricFamily]) -> Vec<MetricInfo> {
        let present = |info: &&MetricInfo| families.iter().any(|family| family.name() == info.name);
        self.catalogue.iter().filter(|info| !present(info)).copied().collect()
    }
}
