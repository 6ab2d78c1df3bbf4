//! Failures of handlers, and how they become problems.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use brokkr_api::{ErrorCode, Problem};
use brokkr_telemetry::spans;
use http::StatusCode;
use tracing::Span;

use crate::store;

/// Why a handler has no result: what the caller is told, and the cause that only the log sees.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) problem: Problem,
    cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
    retry_after: Option<u64>,
}

/// A problem on its way out; the envelope gives it its ids and writes its body.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    pub(super) problem: Problem,
    pub(super) cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
    /// Seconds after which the same request may work; the envelope knows what is usual for the status.
    pub(super) retry_after: Option<u64>,
}

impl Failure {
    pub(crate) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Problem::new(code, detail).into()
    }

    pub(crate) fn at(mut self, place: impl Into<String>) -> Self {
        self.problem = self.problem.at(place);
        self
    }

    /// Says on the span of a step that it has failed, and with which code.
    pub(crate) fn record_on(&self, span: &Span) {
        spans::record_failure(span, self.problem.code.as_str());
    }

    /// Says after how many seconds the same request may work.
    pub(super) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// A failure of ours: the caller is told the problem, and the log the cause.
    pub(crate) fn with_cause(problem: Problem, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { problem, cause: Some(Arc::new(cause)), retry_after: None }
    }

    /// There is no such thing in the caller's scope; what is not the caller's is not told from what does not exist.
    pub(crate) fn not_found(what: &str, name: impl std::fmt::Display) -> Self {
        Self::new(ErrorCode::NotFound, format!("there is no {what} {name}"))
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self { problem, cause: None, retry_after: None }
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        let problem = match &error {
            store::Error::Unavailable { .. } => {
                Problem::new(ErrorCode::DatabaseUnavailable, "the database does not answer; try again in a few seconds")
            }
            store::Error::Duplicate { .. } => Problem::new(ErrorCode::NameTaken, "it exists already"),
            store::Error::Corrupt { .. } | store::Error::Statement { .. } => {
                Problem::new(ErrorCode::Internal, "a defect of the broker; its log has the cause under the ids given here")
            }
        };
        // A duplicate is an answer to the caller, not a trouble of ours.
        let cause = (!matches!(error, store::Error::Duplicate { .. })).then(|| Arc::new(error) as _);
        Self { problem, cause, retry_after: None }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        response.extensions_mut().insert(Outgoing { problem: self.problem, cause: self.cause, retry_after: self.retry_after });
        response
    }
}

/// Turns a duplicate into "this name is taken".
pub(crate) fn name_taken(what: &'static str, name: impl std::fmt::Display) -> impl FnOnce(store::Error) -> Failure {
    move |error| match error {
        store::Error::Duplicate { .. } => Failure::new(ErrorCode::NameTaken, format!("there is a {what} {name} already")),
        other => other.into(),
    }
}
