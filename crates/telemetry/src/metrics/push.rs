//! Metrics on their way to a collector, by the same transport as spans.

use opentelemetry_otlp::{MetricExporter, Protocol as Wire, WithExportConfig, WithHttpConfig, WithTonicConfig};
use opentelemetry_sdk::metrics::{PeriodicReader, Temporality};

use crate::{
    config::{Compression, MetricsConfig, Protocol, TelemetryConfig},
    pipeline::{Client, ExporterError, channel, http_url, metadata, target},
};

/// Collects and sends now and then, on a thread of its own. Over gRPC it must be made inside of a tokio runtime.
pub(crate) fn reader(
    config: &MetricsConfig,
    telemetry: &TelemetryConfig,
) -> Result<PeriodicReader<MetricExporter>, ExporterError> {
    // Refused only when another provider was installed before: then that one is used.
    drop(rustls::crypto::ring::default_provider().install_default());
    let sent = config.over(telemetry);
    let uri = target(&sent)?;
    let exporter = match sent.protocol {
        Protocol::Grpc => grpc(&sent, &uri),
        Protocol::HttpProtobuf => http(&sent, &uri),
    }?;
    Ok(PeriodicReader::builder(exporter).with_interval(config.interval).build())
}

fn grpc(config: &TelemetryConfig, uri: &http::Uri) -> Result<MetricExporter, ExporterError> {
    let metadata = metadata(config)?;
    let mut builder = MetricExporter::builder()
        .with_tonic()
        .with_protocol(Wire::Grpc)
        .with_temporality(Temporality::Cumulative)
        .with_channel(channel(config, uri)?)
        .with_timeout(config.timeout)
        .with_interceptor(move |mut request: tonic::Request<()>| {
            *request.metadata_mut() = metadata.clone();
            Ok::<_, tonic::Status>(request)
        });
    if config.compression == Compression::Gzip {
        builder = builder.with_compression(opentelemetry_otlp::Compression::Gzip);
    }
    Ok(builder.build()?)
}

fn http(config: &TelemetryConfig, uri: &http::Uri) -> Result<MetricExporter, ExporterError> {
    let headers = metadata(config)?.into_headers();
    let mut builder = MetricExporter::builder()
        .with_http()
        .with_protocol(Wire::HttpBinary)
        .with_temporality(Temporality::Cumulative)
        .with_endpoint(http_url(uri, "/v1/metrics"))
        .with_timeout(config.timeout)
        .with_http_client(Client::new(config, headers)?);
    if config.compression == Compression::Gzip {
        builder = builder.with_compression(opentelemetry_otlp::Compression::Gzip);
    }
    Ok(builder.build()?)
}
