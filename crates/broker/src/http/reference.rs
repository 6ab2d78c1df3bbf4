//! The `OpenAPI` document and a page for people made from it, both made once and served to anybody. The page needs no script and no other host.

mod page;

use axum::{Router, body::Bytes, response::IntoResponse, routing::get};
use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::Value;
use sha2::{Digest, Sha256};

use brokkr_api::routes::{DOCS, OPENAPI};

use brokkr_runtime::hex;

/// Something that stays the same while the broker runs.
#[derive(Clone)]
struct Fixed {
    body: Bytes,
    headers: HeaderMap,
    etag: HeaderValue,
}

impl Fixed {
    fn new(body: String, content_type: &'static str) -> Self {
        let digest = hex(&Sha256::digest(&body)[..16]);
        // Hexadecimal digits in quotes are a header value.
        let etag = HeaderValue::from_str(&format!("\"{digest}\"")).unwrap_or(HeaderValue::from_static("\"\""));
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(header::ETAG, etag.clone());
        Self { body: body.into(), headers, etag }
    }

    fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    fn answer(&self, request: &HeaderMap) -> axum::response::Response {
        let tags = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let mut tags = tags.flat_map(|value| value.split(',')).map(|tag| tag.trim().trim_start_matches("W/"));
        if tags.any(|tag| tag == "*" || tag.as_bytes() == self.etag.as_bytes()) {
            return (StatusCode::NOT_MODIFIED, self.headers.clone()).into_response();
        }
        (self.headers.clone(), self.body.clone()).into_response()
    }
}

/// The routes. They are no part of the document, which describes what needs a key.
pub(super) fn reference(document: &Value) -> Router {
    let json = Fixed::new(serde_json::to_string(document).unwrap_or_default(), "application/json");
    let style = BASE64_STANDARD.encode(Sha256::digest(page::STYLE));
    let policy =
        format!("default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
    let policy = HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"));
    let page = Fixed::new(page::render(document), "text/html; charset=utf-8").with(header::CONTENT_SECURITY_POLICY, policy);
    let serve = |fixed: Fixed| get(move |headers: HeaderMap| std::future::ready(fixed.answer(&headers)));
    Router::new().route(OPENAPI, serve(json)).route(DOCS, serve(page))
}
