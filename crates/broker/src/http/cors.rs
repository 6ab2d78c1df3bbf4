//! Pages of other origins: nobody's unless configured, and then exactly those.

use std::time::Duration;

use brokkr_api::{CLUSTER_HEADER, IDEMPOTENCY_HEADER, PROTOCOL_HEADER, REQUEST_ID_HEADER};
use brokkr_telemetry::http::TRACE_ID_HEADER;
use http::{HeaderName, HeaderValue, Method, header};
use serde::{Deserialize, Serialize};
use tower_http::cors::CorsLayer;

/// For so long a browser need not ask again.
const MAX_AGE: Duration = Duration::from_secs(600);

/// An origin as browsers write it: `https://console.example.com`, with the port where it is not the usual one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Origin(String);

/// Why a text is not an [`Origin`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no origin: write scheme, host and port as browsers do, https://console.example.com; a star is not allowed")]
pub(crate) struct InvalidOrigin(String);

impl TryFrom<String> for Origin {
    type Error = InvalidOrigin;

    fn try_from(text: String) -> Result<Self, InvalidOrigin> {
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b':' | b'[' | b']');
        if host.is_some_and(|host| !host.is_empty() && host.bytes().all(is_plain)) {
            Ok(Self(text))
        } else {
            Err(InvalidOrigin(text))
        }
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.0
    }
}

/// Answers preflights, which come without a key, and marks the answers that a page may read. Nothing where no origin is allowed.
///
/// Credentials that a browser adds by itself are never allowed: keys come in the header `Authorization`, which a page sets.
pub(super) fn layer(allowed: &[Origin]) -> Option<CorsLayer> {
    if allowed.is_empty() {
        return None;
    }
    let origins: Vec<_> = allowed.iter().filter_map(|origin| HeaderValue::from_str(&origin.0).ok()).collect();
    let layer = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            HeaderName::from_static(IDEMPOTENCY_HEADER),
            HeaderName::from_static("traceparent"),
            HeaderName::from_static("tracestate"),
            HeaderName::from_static(PROTOCOL_HEADER),
            HeaderName::from_static(CLUSTER_HEADER),
        ])
        .expose_headers([header::ETAG, header::RETRY_AFTER, HeaderName::from_static(REQUEST_ID_HEADER), TRACE_ID_HEADER])
        .max_age(MAX_AGE);
    Some(layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_as_browsers_send_it() {
        for text in ["https://console.example.com", "http://localhost:5173", "http://[::1]:8080"] {
            assert!(Origin::try_from(text.to_owned()).is_ok(), "{text}");
        }
        for text in [
            "*",
            "",
            "null",
            "console.example.com",
            "https://",
            "https://a/",
            "https://a/b",
            "https://*.a",
            "HTTPS://A",
            "https://a, https://b",
        ] {
            assert!(Origin::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
