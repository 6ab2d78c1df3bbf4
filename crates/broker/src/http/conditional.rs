//! Conditional requests: a resource's version is its `ETag`, and `If-Match` guards a change by it.

use axum::response::{IntoResponse, Response};
use brokkr_api::ErrorCode;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;

use super::{body::Json, error::Failure};

/// The version that a change is conditional on; nothing when the request is not conditional, or is content with any version.
///
/// # Errors
/// When `If-Match` is no tag of this API.
pub(crate) fn if_match(headers: &HeaderMap) -> Result<Option<u64>, Failure> {
    let mut values = headers.get_all(header::IF_MATCH).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return if headers.contains_key(header::IF_MATCH) { Err(malformed()) } else { Ok(None) };
    };
    let tag = value.to_str().map_err(|_| malformed())?.trim();
    if tag == "*" {
        return Ok(None);
    }
    let version = tag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).and_then(|text| text.parse().ok());
    version.map(Some).ok_or_else(malformed)
}

/// Refuses when the version is another than the one that the change is conditional on.
pub(crate) fn check(wanted: Option<u64>, is: u64) -> Result<(), Failure> {
    match wanted {
        Some(wanted) if wanted != is => Err(changed()),
        _ => Ok(()),
    }
}

pub(crate) fn changed() -> Failure {
    let detail = "it has changed since it was read: read it again, and send the ETag of that answer";
    Failure::new(ErrorCode::PreconditionFailed, detail).at("header If-Match")
}

fn malformed() -> Failure {
    Failure::new(ErrorCode::InvalidHeader, "If-Match is one ETag of an answer of this API, as \"7\"").at("header If-Match")
}

/// An answer with the version of what it shows.
pub(crate) struct Versioned<T>(pub(crate) StatusCode, pub(crate) u64, pub(crate) T);

impl<T: Serialize> IntoResponse for Versioned<T> {
    fn into_response(self) -> Response {
        let mut response = (self.0, Json(self.2)).into_response();
        if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", self.1)) {
            response.headers_mut().insert(header::ETAG, tag);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(values: &[&str]) -> Result<Option<u64>, ErrorCode> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::IF_MATCH, value.parse().unwrap());
        }
        if_match(&headers).map_err(|failure| failure.problem.code)
    }

    #[test]
    fn one_tag_is_a_condition_and_a_star_or_nothing_is_none() {
        assert_eq!(parse(&["\"7\""]), Ok(Some(7)));
        assert_eq!(parse(&["*"]), Ok(None));
        assert_eq!(parse(&[]), Ok(None));
        for wrong in [&["7"][..], &["\"x\""], &["W/\"7\""], &["\"1\", \"2\""], &["\"1\"", "\"2\""], &["\"-1\""]] {
            assert_eq!(parse(wrong), Err(ErrorCode::InvalidHeader), "{wrong:?}");
        }
    }
}
