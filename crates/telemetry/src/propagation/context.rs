//! What travels beside a span inside the process, because the SDK's own types cannot hold it.

use std::sync::Arc;

use opentelemetry::trace::TraceId;

/// What the caller sent and must be passed on unchanged within its trace.
///
/// The SDK forgets the random flag of an unsampled trace, and refuses keys that the second version of the recommendation allows.
#[derive(Debug, Clone)]
pub(crate) struct Inbound {
    pub(crate) trace_id: TraceId,
    pub(crate) random: bool,
    pub(crate) tracestate: Option<Arc<str>>,
}

/// Marks a remote parent whose sampled flag does not decide.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Untrusted;

/// Marks the place of a caller who is not authenticated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stranger;
