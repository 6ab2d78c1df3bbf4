//! The audit log: who did what to which resource, with what outcome.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{AuditId, GeneratorId, KeyId, Timestamp, keys::Role};

/// One entry. It was written in the transaction of the change that it tells of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// Names the entry; sorts by time.
    pub id: AuditId,
    /// The key that was used.
    pub actor_key: KeyId,
    /// The key's name then.
    pub actor: String,
    /// The key's role.
    pub role: Role,
    /// The generator that the key spoke for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generator: Option<GeneratorId>,
    /// What was done: `stack.updated`, `key.revoked`, …
    pub action: String,
    /// Of what kind the resource is: `stack`, `agent`, `key`, `generator`, `registration_token`, `fleet`.
    pub resource_kind: String,
    /// The resource's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_id: Option<String>,
    /// The resource's name then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_name: Option<String>,
    /// What came of it.
    pub outcome: AuditOutcome,
    /// What else belongs to it; never secrets, never manifests.
    #[schema(value_type = Object)]
    pub data: serde_json::Value,
    /// Id of the trace of the request, if it was traced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Id of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// When it happened.
    pub created_at: Timestamp,
}

/// What came of an audited action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuditOutcome {
    /// It was done.
    Success,
    /// The key was not allowed to.
    Denied,
}

impl AuditOutcome {
    /// The outcome as it is written on the wire and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Denied => "denied",
        }
    }
}

/// Query of `GET /api/v1/audit`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// Most items in the answer, 1 to 500; 100 when absent.
    #[param(minimum = 1, maximum = 500)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before; the newest entries come first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Only entries of this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor_key: Option<KeyId>,
    /// Only entries of this action.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Only entries about resources of this kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_kind: Option<String>,
    /// Only entries about the resource of this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_name: Option<String>,
}
