//! Around every request: its id, its time limit, and the one place where a failure is logged and a problem gets its body.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use brokkr_api::{ErrorCode, Problem, REQUEST_ID_HEADER, error::PROBLEM_CONTENT_TYPE, wait::MAX_WAIT_SECONDS};
use brokkr_runtime::{Clock, Ids};
use brokkr_telemetry::{TraceContext, spans};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use tracing::{Span, error, warn};

use super::{
    RequestLimits,
    error::{Failure, Outgoing},
};

/// What the envelope needs.
#[derive(Clone)]
pub(super) struct Envelope {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Arc<dyn Ids>,
    pub(super) limits: RequestLimits,
}

/// The id of a request, among its extensions.
#[derive(Debug, Clone)]
pub(super) struct RequestId(pub(super) String);

pub(super) async fn envelope(State(envelope): State<Envelope>, mut request: Request, next: Next) -> Response {
    let request_id = envelope.ids.uuid(envelope.clock.now()).hyphenated().to_string();
    request.extensions_mut().insert(RequestId(request_id.clone()));
    request.extensions_mut().insert(envelope.limits);
    let limit = envelope.limits.time + Duration::from_secs(MAX_WAIT_SECONDS);
    let (is_head, is_options) = (request.method() == Method::HEAD, request.method() == Method::OPTIONS);
    let mut response = match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Failure::new(ErrorCode::Timeout, "the request took longer than the broker allows").into_response(),
    };
    if is_options {
        say_what_is_allowed(&mut response);
    }
    if let Some(problem) = problem_of(&mut response, envelope.limits) {
        response = finish(problem, response, &request_id, is_head);
    }
    set_unless_set(&mut response, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set_unless_set(&mut response, header::CACHE_CONTROL, "no-store");
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(HeaderName::from_static(REQUEST_ID_HEADER), value);
    }
    response
}

fn set_unless_set(response: &mut Response, name: HeaderName, value: &'static str) {
    response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
}

/// Asking what is possible here is no mistake: the answer is the header `Allow` alone, which the router adds further out.
fn say_what_is_allowed(response: &mut Response) {
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        *response.status_mut() = StatusCode::NO_CONTENT;
    }
}

/// The problem that a handler left, or one for what axum answers by itself.
fn problem_of(response: &mut Response, limits: RequestLimits) -> Option<Outgoing> {
    if let Some(outgoing) = response.extensions_mut().remove::<Outgoing>() {
        return Some(outgoing);
    }
    let plain = |code, detail: &str| Some(Outgoing { problem: Problem::new(code, detail), cause: None, retry_after: None });
    match response.status() {
        StatusCode::METHOD_NOT_ALLOWED => {
            plain(ErrorCode::MethodNotAllowed, "this path exists, and not for this method; see the header Allow")
        }
        StatusCode::PAYLOAD_TOO_LARGE => plain(ErrorCode::BodyTooLarge, &format!("a body has at most {} bytes", limits.body)),
        _ => None,
    }
}

fn finish(outgoing: Outgoing, response: Response, request_id: &str, is_head: bool) -> Response {
    let Outgoing { mut problem, cause, retry_after } = outgoing;
    problem.request_id = Some(request_id.to_owned());
    problem.trace_id = TraceContext::current().map(|trace| trace.trace_id().to_string());
    let code = problem.code.as_str();
    spans::record_reason(&Span::current(), code);
    if let Some(cause) = cause {
        let cause: &(dyn std::error::Error + 'static) = &*cause;
        if problem.code == ErrorCode::Internal {
            error!(request_id, code, error = cause, "a request failed");
        } else {
            warn!(request_id, code, error = cause, "a request failed");
        }
    }
    let (parts, _) = response.into_parts();
    let body = if is_head { Vec::new() } else { serde_json::to_vec(&problem).unwrap_or_default() };
    let mut out = (parts.status, body).into_response();
    *out.headers_mut() = parts.headers;
    *out.extensions_mut() = parts.extensions;
    out.headers_mut().remove(header::CONTENT_LENGTH);
    out.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_CONTENT_TYPE));
    match problem.status {
        401 => drop(out.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
        // Two seconds are short enough that a recovered broker is used soon, and long enough that a sick one is left alone.
        429 | 503 => drop(out.headers_mut().insert(header::RETRY_AFTER, retry_after.unwrap_or(2).into())),
        _ => {}
    }
    out
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, middleware, routing::get};
    use brokkr_api::Timestamp;
    use brokkr_runtime::{ManualClock, SeededIds};
    use tower::ServiceExt;
    use tower_http::catch_panic::CatchPanicLayer;

    use super::*;

    fn wrapped(router: Router) -> Router {
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(0)));
        let state = Envelope {
            clock,
            ids: Arc::new(SeededIds::new(1)),
            limits: RequestLimits { body: 1_024, time: Duration::from_secs(30) },
        };
        router
            .layer(CatchPanicLayer::custom(super::super::router::panicked))
            .layer(middleware::from_fn_with_state(state, envelope))
    }

    async fn ask(router: Router) -> Response {
        wrapped(router).oneshot(Request::builder().uri("/").body(Body::empty()).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_with_an_id_that_says_nothing_of_its_cause() {
        async fn panics() -> Response {
            panic!("hunter2")
        }
        let response = ask(Router::new().route("/", get(panics))).await;
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers()[header::CONTENT_TYPE], PROBLEM_CONTENT_TYPE);
        let id = response.headers()[REQUEST_ID_HEADER].to_str().unwrap().to_owned();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let problem: Problem = serde_json::from_slice(&body).unwrap();
        assert_eq!((problem.code, problem.request_id), (ErrorCode::Internal, Some(id)));
        assert!(!String::from_utf8_lossy(&body).contains("hunter2"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_too_long_is_answered_503_with_the_time_to_try_again() {
        let response = ask(Router::new().route("/", get(std::future::pending::<Response>))).await;
        assert_eq!((response.status().as_u16(), &response.headers()[header::RETRY_AFTER]), (503, &HeaderValue::from_static("2")));
        assert!(response.headers().contains_key(REQUEST_ID_HEADER));
    }
}
