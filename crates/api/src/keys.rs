//! API keys.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{GeneratorId, KeyId, Name, Timestamp};

/// What the bearer of a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything.
    Admin,
    /// Its own stacks, and nothing else.
    Generator,
    /// The desired state and the reports of one agent.
    Agent,
}

impl Role {
    /// The role as it is written in requests, keys and the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Generator => "generator",
            Self::Agent => "agent",
        }
    }
}

/// Asks for a new key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateKey {
    /// What the key is for, for people.
    pub name: Name,
    /// What its bearer may do.
    pub role: Role,
    /// The generator that a key of role `generator` speaks for; it must exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generator: Option<Name>,
    /// The agent that a key of role `agent` speaks for; it must exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Name>,
}

/// A key as it is listed: never the key itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Key {
    /// Names the key in the API.
    pub id: KeyId,
    /// What the key is for, for people.
    pub name: Name,
    /// What its bearer may do.
    pub role: Role,
    /// The generator it speaks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generator: Option<GeneratorId>,
    /// The agent it speaks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Name>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used, to within the presence flush (15 s).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked; a revoked key opens nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

/// A key that was just made. The broker keeps only a digest: this answer is the one time that the key is shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedKey {
    /// The key as it will be listed.
    #[serde(flatten)]
    pub key: Key,
    /// The key itself, for the header `Authorization: Bearer …`.
    pub secret: String,
}

impl std::fmt::Debug for CreatedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreatedKey").field("key", &self.key).finish_non_exhaustive()
    }
}
