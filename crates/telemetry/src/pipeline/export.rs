//! Exporters by configuration.

use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig};
use tonic::{
    metadata::{MetadataKey, MetadataMap, MetadataValue},
    transport::ClientTlsConfig,
};

use crate::config::{Compression, Protocol, TelemetryConfig};

/// Why there is no exporter. Names no value of a header.
#[derive(Debug, thiserror::Error)]
pub enum ExporterError {
    /// The endpoint is not a URL with scheme and host.
    #[error("telemetry.endpoint: {0:?} is not an http:// or https:// URL with a host")]
    Endpoint(String),
    /// A header has a name or a value that cannot be sent.
    #[error("telemetry.headers: {0:?} cannot be sent as a header")]
    Header(String),
    /// The library refuses the configuration.
    #[error(transparent)]
    Build(#[from] ExporterBuildError),
}

/// An OTLP exporter. It connects when it first has something to send. Over gRPC it must be made inside of a tokio runtime.
pub(crate) fn otlp(config: &TelemetryConfig) -> Result<SpanExporter, ExporterError> {
    // Refused only when another provider was installed before: then that one is used.
    drop(rustls::crypto::ring::default_provider().install_default());
    match config.protocol {
        Protocol::Grpc => grpc(config),
        Protocol::HttpProtobuf => http(config),
    }
}

fn grpc(config: &TelemetryConfig) -> Result<SpanExporter, ExporterError> {
    let endpoint = checked(config.effective_endpoint())?;
    let secure = endpoint.scheme_str() == Some("https");
    let mut builder = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint.to_string())
        .with_timeout(config.timeout)
        .with_metadata(metadata(config)?);
    if secure {
        builder = builder.with_tls_config(ClientTlsConfig::new().with_enabled_roots());
    }
    if config.compression == Compression::Gzip {
        builder = builder.with_compression(opentelemetry_otlp::Compression::Gzip);
    }
    Ok(builder.build()?)
}

fn http(config: &TelemetryConfig) -> Result<SpanExporter, ExporterError> {
    let endpoint = checked(config.effective_endpoint())?;
    let mut url = endpoint.to_string();
    if endpoint.path() == "/" {
        url = format!("{}/v1/traces", url.trim_end_matches('/'));
    }
    metadata(config)?;
    let headers = config.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let mut builder = SpanExporter::builder().with_http().with_endpoint(url).with_timeout(config.timeout).with_headers(headers);
    if config.compression == Compression::Gzip {
        builder = builder.with_compression(opentelemetry_otlp::Compression::Gzip);
    }
    Ok(builder.build()?)
}

pub(crate) fn checked(endpoint: &str) -> Result<http::Uri, ExporterError> {
    let uri = endpoint.parse::<http::Uri>().ok();
    let usable = |uri: &http::Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
    uri.filter(usable).ok_or_else(|| ExporterError::Endpoint(endpoint.to_owned()))
}

pub(crate) fn metadata(config: &TelemetryConfig) -> Result<MetadataMap, ExporterError> {
    let mut metadata = MetadataMap::new();
    for (name, value) in &config.headers {
        let bad = || ExporterError::Header(name.clone());
        let key = MetadataKey::from_bytes(name.to_ascii_lowercase().as_bytes()).map_err(|_| bad())?;
        let mut value: MetadataValue<_> = value.parse().map_err(|_| bad())?;
        value.set_sensitive(true);
        metadata.insert(key, value);
    }
    Ok(metadata)
}
