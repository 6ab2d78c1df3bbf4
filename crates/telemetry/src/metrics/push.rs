//! Metrics on their way to a collector.

use opentelemetry_otlp::{MetricExporter, WithExportConfig, WithHttpConfig, WithTonicConfig};
use opentelemetry_sdk::metrics::{PeriodicReader, Temporality};
use tonic::transport::ClientTlsConfig;

use crate::{
    config::{Compression, MetricsConfig, Protocol, TelemetryConfig},
    pipeline::{ExporterError, checked, metadata},
};

/// Collects and sends now and then, on a thread of its own. Over gRPC it must be made inside of a tokio runtime.
pub(crate) fn reader(
    config: &MetricsConfig,
    telemetry: &TelemetryConfig,
) -> Result<PeriodicReader<MetricExporter>, ExporterError> {
    // Refused only when another provider was installed before: then that one is used.
    drop(rustls::crypto::ring::default_provider().install_default());
    let sent = config.over(telemetry);
    let exporter = match sent.protocol {
        Protocol::Grpc => grpc(&sent),
        Protocol::HttpProtobuf => http(&sent),
    }?;
    Ok(PeriodicReader::builder(exporter).with_interval(config.interval).build())
}

fn grpc(config: &TelemetryConfig) -> Result<MetricExporter, ExporterError> {
    let endpoint = checked(config.effective_endpoint())?;
    let mut builder = MetricExporter::builder()
        .with_tonic()
        .with_temporality(Temporality::Cumulative)
        .with_endpoint(endpoint.to_string())
        .with_timeout(config.timeout)
        .with_metadata(metadata(config)?);
    if endpoint.scheme_str() == Some("https") {
        builder = builder.with_tls_config(ClientTlsConfig::new().with_enabled_roots());
    }
    if config.compression == Compression::Gzip {
        builder = builder.with_compression(opentelemetry_otlp::Compression::Gzip);
    }
    Ok(builder.build()?)
}

fn http(config: &TelemetryConfig) -> Result<MetricExporter, ExporterError> {
    let endpoint = checked(config.effective_endpoint())?;
    let mut url = endpoint.to_string();
    if endpoint.path() == "/" {
        url = format!("{}/v1/metrics", url.trim_end_matches('/'));
    }
    metadata(config)?;
    let headers = config.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let mut builder = MetricExporter::builder()
        .with_http()
        .with_temporality(Temporality::Cumulative)
        .with_endpoint(url)
        .with_timeout(config.timeout)
        .with_headers(headers);
    if config.compression == Compression::Gzip {
        builder = builder.with_compression(opentelemetry_otlp::Compression::Gzip);
    }
    Ok(builder.build()?)
}
