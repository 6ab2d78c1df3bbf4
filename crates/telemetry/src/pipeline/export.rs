//! Exporters by configuration. Everything that the libraries would look for in the environment is set, so that they look for nothing.

mod client;

use std::{path::Path, time::Duration};

use opentelemetry_otlp::{
    ExporterBuildError, Protocol as Wire, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig,
};
use tonic::{
    Status,
    metadata::{MetadataKey, MetadataMap, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Identity},
};

pub(crate) use client::Client;

use crate::config::{
    Compression, Protocol, TelemetryConfig,
    endpoint::{self, EndpointError},
};

/// The first pause after an export that failed, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Why there is no exporter. Names no value of a header.
#[derive(Debug, thiserror::Error)]
pub enum ExporterError {
    /// The endpoint is not a URL with scheme and host.
    #[error("telemetry.endpoint: {0}")]
    Endpoint(#[from] EndpointError),
    /// A header has a name or a value that cannot be sent.
    #[error("telemetry.headers: {0:?} cannot be sent as a header")]
    Header(String),
    /// A file of the TLS settings cannot be used.
    #[error("telemetry.tls: {file}: {reason}")]
    Tls {
        /// The file.
        file: String,
        /// Why not.
        reason: String,
    },
    /// The library refuses the configuration.
    #[error(transparent)]
    Build(#[from] ExporterBuildError),
    /// The transport cannot be made.
    #[error("the connection to the collector cannot be set up: {0}")]
    Transport(String),
}

/// An OTLP exporter. It connects when it first has something to send. Over gRPC it must be made inside of a tokio runtime.
pub(crate) fn otlp(config: &TelemetryConfig) -> Result<SpanExporter, ExporterError> {
    // Refused only when another provider was installed before: then that one is used.
    drop(rustls::crypto::ring::default_provider().install_default());
    let uri = target(config)?;
    match config.protocol {
        Protocol::Grpc => grpc(config, &uri),
        Protocol::HttpProtobuf => http(config, &uri),
    }
}

/// Where the collector is.
pub(crate) fn target(config: &TelemetryConfig) -> Result<http::Uri, ExporterError> {
    let url = endpoint::parse(config.effective_endpoint())?.url;
    url.parse::<http::Uri>().map_err(|error| ExporterError::Transport(error.to_string()))
}

/// A connection for gRPC, which is made when it is first needed.
pub(crate) fn channel(config: &TelemetryConfig, uri: &http::Uri) -> Result<Channel, ExporterError> {
    let transport = |error: tonic::transport::Error| ExporterError::Transport(whole(&error));
    let mut endpoint = Channel::builder(uri.clone()).timeout(config.timeout).connect_timeout(config.timeout);
    if uri.scheme_str() == Some("https") {
        endpoint = endpoint.tls_config(grpc_tls(config)?).map_err(transport)?;
    }
    Ok(endpoint.connect_lazy())
}

fn grpc(config: &TelemetryConfig, uri: &http::Uri) -> Result<SpanExporter, ExporterError> {
    let metadata = metadata(config)?;
    let mut builder = SpanExporter::builder()
        .with_tonic()
        .with_protocol(Wire::Grpc)
        .with_channel(channel(config, uri)?)
        .with_timeout(config.retry)
        .with_retry_policy(retries(config.retry))
        // In place of what the library found in the environment: headers are for the collector of the configuration alone.
        .with_interceptor(move |mut request: tonic::Request<()>| {
            *request.metadata_mut() = metadata.clone();
            Ok::<_, Status>(request)
        });
    if config.compression == Compression::Gzip {
        builder = builder.with_compression(opentelemetry_otlp::Compression::Gzip);
    }
    Ok(builder.build()?)
}

fn grpc_tls(config: &TelemetryConfig) -> Result<ClientTlsConfig, ExporterError> {
    let tls = &config.tls;
    let mut client = match &tls.ca_file {
        Some(file) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(certificates(file)?)),
        None => ClientTlsConfig::new().with_enabled_roots(),
    };
    if let (Some(certificate), Some(key)) = (&tls.certificate_file, &tls.key_file) {
        client = client.identity(Identity::from_pem(certificates(certificate)?, read(key)?));
    }
    Ok(client)
}

fn http(config: &TelemetryConfig, uri: &http::Uri) -> Result<SpanExporter, ExporterError> {
    let url = http_url(uri, "/v1/traces");
    let headers = metadata(config)?.into_headers();
    let mut builder = SpanExporter::builder()
        .with_http()
        .with_protocol(Wire::HttpBinary)
        .with_endpoint(url)
        .with_timeout(config.retry)
        .with_retry_policy(retries(config.retry))
        .with_http_client(Client::new(config, headers)?);
    if config.compression == Compression::Gzip {
        builder = builder.with_compression(opentelemetry_otlp::Compression::Gzip);
    }
    Ok(builder.build()?)
}

/// The URL of a signal over HTTP: its usual path where the endpoint has none.
pub(crate) fn http_url(uri: &http::Uri, path: &str) -> String {
    let url = uri.to_string();
    if uri.path() == "/" { format!("{}{path}", url.trim_end_matches('/')) } else { url }
}

/// As many attempts as the time for repetitions allows.
fn retries(time: Duration) -> RetryPolicy {
    if time.is_zero() {
        return RetryPolicy::disabled();
    }
    let (first, longest) = PAUSES;
    RetryPolicy::recommended()
        .with_max_retries(usize::MAX)
        .with_initial_delay(first)
        .with_max_delay(longest)
        .with_max_jitter(first)
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

fn read(file: &Path) -> Result<Vec<u8>, ExporterError> {
    std::fs::read(file).map_err(|error| bad_file(file, &error.to_string()))
}

/// PEM that holds a certificate; the transports would take anything, and believe nobody.
fn certificates(file: &Path) -> Result<Vec<u8>, ExporterError> {
    let pem = read(file)?;
    match reqwest::Certificate::from_pem_bundle(&pem) {
        Ok(found) if !found.is_empty() => Ok(pem),
        _ => Err(bad_file(file, "there is no certificate in PEM form in it")),
    }
}

fn bad_file(file: &Path, reason: &str) -> ExporterError {
    ExporterError::Tls { file: file.display().to_string(), reason: reason.to_owned() }
}

/// An error with its causes.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
