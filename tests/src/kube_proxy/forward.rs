//! The way to the API server.

use std::{path::Path, time::Duration};

use axum::{
    body::{Body, to_bytes},
    extract::Request,
    response::Response,
};
use futures::stream;
use http::{HeaderMap, header};

use crate::lab::LabError;

/// The API server.
pub(super) struct Upstream {
    base: String,
    client: reqwest::Client,
}

impl Upstream {
    pub(super) fn new(base: &str, authority: &Path) -> Result<Self, LabError> {
        crate::http::install_tls();
        let refused = |error: reqwest::Error| LabError::Refused(format!("the proxy's client: {error}"));
        let pem = std::fs::read(authority).map_err(LabError::io("the cluster's authority"))?;
        let authority = reqwest::Certificate::from_pem(&pem).map_err(refused)?;
        // No time limit: a watch lasts as long as its caller wants it.
        let client = reqwest::Client::builder().tls_certs_only([authority]).connect_timeout(Duration::from_secs(5));
        let client = client.tcp_nodelay(true).redirect(reqwest::redirect::Policy::none()).build().map_err(refused)?;
        Ok(Self { base: base.trim_end_matches('/').to_owned(), client })
    }

    /// Passes a call on. The answer is there with its head; its body is streamed.
    pub(super) async fn forward(&self, request: Request) -> Result<Response<Body>, String> {
        let (parts, body) = request.into_parts();
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let body = to_bytes(body, usize::MAX).await.map_err(|error| error.to_string())?;
        let call = self.client.request(parts.method, format!("{}{target}", self.base));
        let call = call.headers(end_to_end(parts.headers)).body(body);
        let answer = call.send().await.map_err(|error| format!("{error:?}"))?;
        let (status, headers) = (answer.status(), end_to_end(answer.headers().clone()));
        let chunks = stream::unfold(answer, |mut answer| async {
            let chunk = answer.chunk().await.transpose()?;
            Some((chunk, answer))
        });
        let mut response = Response::new(Body::from_stream(chunks));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

/// Without what concerns one connection only.
fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    for name in [header::HOST, header::CONNECTION, header::TRANSFER_ENCODING, header::CONTENT_LENGTH, header::UPGRADE] {
        headers.remove(name);
    }
    headers
}
