//! What can go wrong with a call, and the log of what did.

use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

/// What becomes of a call instead of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Too many requests; `Retry-After` in seconds.
    TooMany(u32),
    /// The caller has no right to do this.
    Forbidden,
    /// The object changed in between.
    Conflict,
    /// The API server is in trouble.
    Internal,
    /// It is not available; `Retry-After` in seconds.
    Unavailable(u32),
    /// No answer, until the caller gives up.
    Silence,
    /// The connection is closed before the call reached the API server.
    CloseBefore,
    /// The connection is closed after the API server did what it was asked.
    CloseAfter,
}

impl Fault {
    /// The answer in the API server's own form. The other faults have none.
    pub(super) fn response(self) -> Response<Body> {
        let (status, reason, retry) = match self {
            Self::TooMany(seconds) => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", Some(seconds)),
            Self::Forbidden => (StatusCode::FORBIDDEN, "Forbidden", None),
            Self::Conflict => (StatusCode::CONFLICT, "Conflict", None),
            Self::Unavailable(seconds) => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", Some(seconds)),
            Self::Internal | Self::Silence | Self::CloseBefore | Self::CloseAfter => {
                (StatusCode::INTERNAL_SERVER_ERROR, "InternalError", None)
            }
        };
        let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": reason,
            "message": "a fault of the test", "code": status.as_u16(), "details": {"retryAfterSeconds": retry}});
        let mut answer = (status, axum::Json(body)).into_response();
        if let Some(seconds) = retry {
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        answer
    }
}

/// One call.
#[derive(Debug, Clone)]
pub struct Call {
    /// From 0, in the order of arrival.
    pub number: usize,
    /// `GET`, `PATCH`, …
    pub method: http::Method,
    /// Without the query.
    pub path: String,
    /// The query, empty when there is none.
    pub query: String,
    /// `traceparent`, where it has one.
    pub traceparent: Option<String>,
    /// `Audit-ID`, where it has one.
    pub audit_id: Option<String>,
    /// What became of it; absent while it is under way.
    pub outcome: Option<Outcome>,
}

impl Call {
    /// Whether it changes something; a trial run changes nothing.
    pub fn is_write(&self) -> bool {
        self.method != http::Method::GET && !self.query.contains("dryRun=")
    }

    /// Whether it is a watch.
    pub fn is_watch(&self) -> bool {
        self.query.contains("watch=")
    }
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The API server's status.
    Answered(u16),
    /// The plan's fault.
    Faulted(Fault),
    /// The API server did not answer.
    Failed(String),
}

/// Decides about a call before it is passed on; it may do something as well, such as kill the caller.
pub type Plan = Box<dyn FnMut(&Call) -> Option<Fault> + Send>;

/// The calls so far, and the plan for those to come.
#[derive(Default)]
pub(super) struct Log {
    pub(super) plan: Option<Plan>,
    pub(super) calls: Vec<Call>,
}

impl Log {
    pub(super) fn arrived(&mut self, request: &Request) -> (usize, Option<Fault>) {
        let uri = request.uri();
        let header = |name: &str| Some(request.headers().get(name)?.to_str().ok()?.to_owned());
        let call = Call {
            number: self.calls.len(),
            method: request.method().clone(),
            path: uri.path().to_owned(),
            query: uri.query().unwrap_or_default().to_owned(),
            traceparent: header("traceparent"),
            audit_id: header("audit-id"),
            outcome: None,
        };
        let fault = self.plan.as_mut().and_then(|plan| plan(&call));
        let number = call.number;
        self.calls.push(call);
        (number, fault)
    }

    pub(super) fn ended(&mut self, number: usize, outcome: Outcome) {
        if let Some(call) = self.calls.get_mut(number) {
            call.outcome = Some(outcome);
        }
    }
}
