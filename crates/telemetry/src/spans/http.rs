//! HTTP, by <https://opentelemetry.io/docs/specs/semconv/http/http-spans/>.

use tracing::{Span, field::Empty};

use crate::metrics::HttpMethod;

/// In place of a path that nobody serves: it may hold anything.
const REDACTED: &str = "/REDACTED";

/// `{method} {route}`, SERVER. `route` is the template that matched; without one the name is the method alone. `scheme` is `http` or `https`.
///
/// `url.path` is required, and to be scrubbed: it has the names of parameters in place of their values.
#[must_use]
pub fn http_server(method: HttpMethod, route: Option<&str>, scheme: &'static str) -> Span {
    tracing::info_span!(
        "http.server",
        otel.name = %name(method, route),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method.as_str(),
        http.route = route,
        http.response.status_code = Empty,
        url.scheme = scheme,
        url.path = route.unwrap_or(REDACTED),
        brokkr.reason = Empty,
        error.type = Empty,
    )
}

/// What an outgoing request is, in words that do not vary with ids.
#[derive(Debug, Clone, Copy)]
pub struct HttpClientSpan<'a> {
    /// The method.
    pub method: HttpMethod,
    /// Host of the server.
    pub server_address: &'a str,
    /// Its port.
    pub server_port: u16,
    /// The path as a template, `/api/v1/stacks/{stack}`. Without one the name is the method alone.
    pub url_template: Option<&'a str>,
}

/// `{method} {url template}`, CLIENT: one attempt of a request.
#[must_use]
pub fn http_client(request: HttpClientSpan<'_>) -> Span {
    child_span!(
        "http.client",
        otel.name = %name(request.method, request.url_template),
        otel.kind = "client",
        otel.status_code = Empty,
        http.request.method = request.method.as_str(),
        http.request.resend_count = Empty,
        http.response.status_code = Empty,
        server.address = request.server_address,
        server.port = i64::from(request.server_port),
        url.template = request.url_template,
        error.type = Empty,
    )
}

/// How often the request was sent before; nothing for the first time.
pub fn record_resend_count(span: &Span, times: u32) {
    if times > 0 {
        span.record("http.request.resend_count", i64::from(times));
    }
}

/// The answer of a server span. Only 5xx is an error: a 4xx is the caller's.
pub fn record_http_status_server(span: &Span, status: u16) {
    record_status(span, status, 500);
}

/// The answer of a client span. 4xx and 5xx are errors.
pub fn record_http_status_client(span: &Span, status: u16) {
    record_status(span, status, 400);
}

/// An answer that is as good as any whatever its status: a 404 to a question whether there is one.
pub fn record_http_status_expected(span: &Span, status: u16) {
    record_status(span, status, u16::MAX);
}

/// The caller went away before it was answered. No error of ours, and there is no status.
pub fn record_client_disconnect(span: &Span) {
    span.record("error.type", "client_disconnected");
}

fn record_status(span: &Span, status: u16, error_from: u16) {
    span.record("http.response.status_code", i64::from(status));
    if status >= error_from {
        super::record_error(span, &status.to_string());
    }
}

fn name(method: HttpMethod, route: Option<&str>) -> String {
    // The conventions: an unknown method is `HTTP` in a name.
    let method = if method == HttpMethod::Other { "HTTP" } else { method.as_str() };
    match route {
        Some(route) => format!("{method} {route}"),
        None => method.to_owned(),
    }
}
