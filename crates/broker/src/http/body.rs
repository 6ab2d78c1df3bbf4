//! Extractors whose refusals are problems that name the place.

mod strict;

use axum::{
    extract::{FromRequest, FromRequestParts, Request, rejection::PathRejection},
    response::{IntoResponse, Response},
};
use brokkr_api::{ErrorCode, Problem};
use bytes::{Bytes, BytesMut};
use http::{header, request::Parts};
use http_body_util::BodyExt;
use serde::{Serialize, de::DeserializeOwned};

use super::{RequestLimits, error::Failure};
use strict::Strict;

/// So many times the limit is still read and thrown away, because a client that is cut off while it sends never reads the answer.
const DISCARDED: usize = 6;

/// A JSON body, and a JSON answer.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_json = content_type
            .is_some_and(|text| text.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json"));
        if !is_json {
            return Err(Failure::new(ErrorCode::UnsupportedMediaType, "send application/json").at("header Content-Type"));
        }
        parse(&read(request).await?).map(Json).map_err(Failure::from)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(Strict(&mut deserializer)).map_err(|error| {
        let path = error.path().to_string();
        let error = error.into_inner();
        let place = format!("line {}, column {}", error.line(), error.column());
        if error.is_data() {
            let place = if path == "." { place } else { path };
            Problem::new(ErrorCode::InvalidField, format!("{place}: {}", without_position(&error))).at(place)
        } else {
            Problem::new(ErrorCode::MalformedBody, format!("the body is not JSON: {place}")).at(place)
        }
    })?;
    deserializer.end().map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        Problem::new(ErrorCode::MalformedBody, format!("after the JSON document there is more: {place}")).at(place)
    })?;
    Ok(value)
}

fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let cut = text.rfind(" at line ").unwrap_or(text.len());
    text[..cut].chars().take(300).collect()
}

/// The raw body, up to the limit.
pub(crate) struct Raw(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        read(request).await.map(Raw)
    }
}

async fn read(request: Request) -> Result<Bytes, Failure> {
    let max = request.extensions().get::<RequestLimits>().copied().unwrap_or_default().body;
    let mut body = request.into_body();
    let mut kept = BytesMut::new();
    let mut total = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Failure::new(ErrorCode::MalformedBody, "the body ended before its announced length"))?;
        let Ok(data) = frame.into_data() else { continue };
        total += data.len();
        if total <= max {
            kept.extend_from_slice(&data);
        } else if total > DISCARDED * max {
            break;
        } else {
            kept = BytesMut::new();
        }
    }
    if total > max {
        let detail = format!("the body has more than {max} bytes: split it into several stacks");
        return Err(Failure::new(ErrorCode::BodyTooLarge, detail));
    }
    Ok(kept.freeze())
}

/// The query string.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        if !is_text(parts.uri.query().unwrap_or_default()) {
            return Err(Failure::new(ErrorCode::InvalidQuery, "the query is not UTF-8").at("query"));
        }
        let query = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        query.map(|axum::extract::Query(query)| Self(query)).map_err(|rejection| {
            let detail: String = rejection.body_text().chars().take(300).collect();
            Failure::new(ErrorCode::InvalidQuery, detail).at("query")
        })
    }
}

/// Whether a query is UTF-8 once its percent signs are read. The parser behind [`Query`] would put a replacement character where it is not.
fn is_text(query: &str) -> bool {
    let mut bytes = Vec::with_capacity(query.len());
    let mut rest = query.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    std::str::from_utf8(&bytes).is_ok()
}

/// Segments of the path. A malformed one names nothing, so that the answer is "not found".
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        path.map(|axum::extract::Path(path)| Self(path)).map_err(|rejection: PathRejection| {
            let detail: String = rejection.body_text().chars().take(300).collect();
            Failure::new(ErrorCode::NotFound, format!("there is no such thing: {detail}")).at("path")
        })
    }
}

#[cfg(test)]
mod tests {
    use brokkr_api::stacks::PutStack;

    use super::*;

    #[test]
    fn an_unknown_key_and_a_wrong_type_are_named_with_their_path() {
        let problem = parse::<PutStack>(br#"{"targets": {"lables": {}}}"#).unwrap_err();
        assert_eq!((problem.code, problem.place.as_deref()), (ErrorCode::InvalidField, Some("targets.lables")));
        let problem = parse::<PutStack>(br#"{"targets": {"names": [7]}}"#).unwrap_err();
        assert_eq!((problem.code, problem.place.as_deref()), (ErrorCode::InvalidField, Some("targets.names[0]")));
    }

    #[test]
    fn a_struct_is_an_object_and_never_an_array_of_its_fields() {
        for (body, place) in [
            ("[{}, {}]", "line 1, column 0"),
            (r#"{"targets": [null, []]}"#, "targets"),
            (r#"{"targets": {"labels": [{}, []]}}"#, "targets.labels"),
        ] {
            let problem = parse::<PutStack>(body.as_bytes()).unwrap_err();
            assert_eq!((problem.code, problem.place.as_deref()), (ErrorCode::InvalidField, Some(place)), "{}", problem.detail);
        }
        parse::<PutStack>(br#"{"labels": {"a": "b"}, "targets": {"labels": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}, "names": ["x"]}}"#).unwrap();
    }

    #[test]
    fn a_query_is_text_once_it_is_decoded() {
        for text in ["", "a=b", "a=%F0%9F%92%A9", "a=%zz", "a=%", "a=%4", "%00"] {
            assert!(is_text(text), "{text}");
        }
        for wrong in ["a=%ff", "%c3%28=1", "a=%F0%9F%92", "a=%80"] {
            assert!(!is_text(wrong), "{wrong}");
        }
    }

    #[test]
    fn malformed_json_is_named_with_line_and_column() {
        for body in [&b"{\"labels\": "[..], b"", b"{} {}", b"\xff"] {
            let problem = parse::<PutStack>(body).unwrap_err();
            assert_eq!(problem.code, ErrorCode::MalformedBody);
            assert!(problem.place.unwrap().starts_with("line "));
        }
    }
}
