//! The HTTP client of an exporter.

use async_trait::async_trait;
use http::{HeaderMap, header};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use reqwest::{Certificate, Identity, blocking};

use super::{ExporterError, bad_file, certificates, read, whole};
use crate::config::TelemetryConfig;

/// Sends exports with the headers of the configuration, and with no others.
#[derive(Debug)]
pub(crate) struct Client {
    http: blocking::Client,
    headers: HeaderMap,
}

impl Client {
    pub(crate) fn new(config: &TelemetryConfig, headers: HeaderMap) -> Result<Self, ExporterError> {
        let tls = &config.tls;
        let mut builder = blocking::Client::builder().timeout(config.timeout).redirect(reqwest::redirect::Policy::none());
        if let Some(file) = &tls.ca_file {
            let found = Certificate::from_pem_bundle(&certificates(file)?).map_err(|error| bad_file(file, &whole(&error)))?;
            builder = builder.tls_certs_only(found);
        }
        if let (Some(certificate), Some(key)) = (&tls.certificate_file, &tls.key_file) {
            let mut pem = certificates(certificate)?;
            pem.push(b'\n');
            pem.extend(read(key)?);
            builder = builder.identity(Identity::from_pem(&pem).map_err(|error| bad_file(key, &whole(&error)))?);
        }
        let transport = |error: reqwest::Error| ExporterError::Transport(whole(&error));
        // A blocking client has a runtime of its own, which must not begin on a thread of another one.
        let built = std::thread::scope(|scope| scope.spawn(|| builder.build()).join());
        let http =
            built.map_err(|_| ExporterError::Transport("the client's thread has panicked".to_owned()))?.map_err(transport)?;
        Ok(Self { http, headers })
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (mut parts, body) = request.into_parts();
        let mut headers = self.headers.clone();
        for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::USER_AGENT] {
            if let Some(value) = parts.headers.remove(&name) {
                headers.insert(name, value);
            }
        }
        parts.headers = headers;
        self.http.send_bytes(Request::from_parts(parts, body)).await
    }
}
