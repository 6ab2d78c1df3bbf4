//! The client's side.

use std::sync::atomic::{AtomicU32, Ordering};

use http::Extensions;
use reqwest::{Request, Response};
use reqwest_middleware::{Error, Middleware, Next, Result};
use tracing::Instrument;

use crate::{
    metrics::HttpMethod,
    propagation::TraceContext,
    spans::{self, HttpClientSpan},
};

/// Gives every attempt of a request its CLIENT span, and sends the trace context along.
///
/// The path as a template is an extension of the request, of type `&'static str`: it names the span; the path itself never does. Put this inside of
/// whatever retries. Where there is no span, the [`TraceContext`] in the extensions of the request is sent, if there is one.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClientTelemetry;

/// How often this request was sent before.
#[derive(Debug, Default)]
struct Sent(AtomicU32);

#[async_trait::async_trait]
impl Middleware for ClientTelemetry {
    async fn handle(&self, mut request: Request, extensions: &mut Extensions, next: Next<'_>) -> Result<Response> {
        let span = spans::http_client(HttpClientSpan {
            method: HttpMethod::from(request.method()),
            server_address: request.url().host_str().unwrap_or_default(),
            server_port: request.url().port_or_known_default().unwrap_or_default(),
            url_template: extensions.get::<&'static str>().copied(),
        });
        // Off means off: nobody counts what nobody is told.
        if !span.is_disabled() {
            let sent = extensions.get_or_insert_with(|| std::sync::Arc::new(Sent::default()));
            spans::record_resend_count(&span, sent.0.fetch_add(1, Ordering::Relaxed));
        }
        let place = TraceContext::of(&span).or_else(TraceContext::current).or_else(|| extensions.get::<TraceContext>().cloned());
        if let Some(place) = place {
            place.inject(request.headers_mut());
        }
        let answer = next.run(request, extensions).instrument(span.clone()).await;
        match &answer {
            Ok(response) => spans::record_http_status_client(&span, response.status().as_u16()),
            Err(error) => spans::record_error(&span, error_type(error)),
        }
        answer
    }
}

fn error_type(error: &Error) -> &'static str {
    match error {
        Error::Middleware(_) => "middleware",
        Error::Reqwest(error) if error.is_timeout() => "timeout",
        Error::Reqwest(error) if error.is_connect() => "connect",
        Error::Reqwest(error) if error.is_body() || error.is_decode() => "body",
        Error::Reqwest(_) => "request",
    }
}
