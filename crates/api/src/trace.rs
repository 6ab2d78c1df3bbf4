//! Trace context on the wire between broker and agent.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;

/// The W3C trace context that work carries, and how a span of that work relates to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkTrace {
    /// The context of the broker's PRODUCER span: `00-<trace id>-<span id>-<flags>`.
    pub traceparent: String,
    /// Vendor state, at most 512 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracestate: Option<String>,
    /// Decided by the broker; the agent follows it.
    pub relation: Relation,
    /// When the change was accepted: from then on the work has waited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_at: Option<Timestamp>,
    /// When the broker put the work into this answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<Timestamp>,
}

/// How a CONSUMER span relates to the context that came with the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// The context is the parent, and a link as well.
    Parent,
    /// The span is the root of a new trace and links to the context.
    Link,
}
