//! Events: what happened, in the past tense.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{AgentId, EventId, Name, StackId, Timestamp};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Names the event for ever.
    pub id: EventId,
    /// Counts up without holes; a reader goes on after the last that it saw. Given some moments after the event.
    pub position: u64,
    /// `deployment.applied`, `stack.created`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// The stack that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack_id: Option<StackId>,
    /// The agent that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentId>,
    /// The generation that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// What else belongs to it; depends on the type, and never holds values of manifests.
    #[schema(value_type = Object)]
    pub data: serde_json::Value,
    /// Id of the trace that it happened in, if that was traced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Its place in that trace, `00-<trace id>-<span id>-<flags>`: whoever does something because of the event links to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// When it happened.
    pub created_at: Timestamp,
}

/// Query of `GET /api/v1/events`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// Most items in the answer, 1 to 500; 100 when absent.
    #[param(minimum = 1, maximum = 500)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Only events after this position; all that are kept when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Only events of this type; `deployment.` at the end of a prefix means all that begin so.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Only events of this stack, by name or id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack: Option<Name>,
    /// Only events of this agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<Name>,
}

/// A page of events, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Events {
    /// The events.
    pub items: Vec<Event>,
    /// Send it as `after` to go on; equals the one that was sent when there is nothing new.
    pub next_after: u64,
    /// Whether there are more already.
    pub more: bool,
}
