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
    /// Stacks and agents of everybody, and no identities.
    Operator,
    /// Looks at everything but content and the audit log, and changes nothing.
    Viewer,
    /// Its own stacks, and nothing else.
    Generator,
    /// The desired state and the reports of one agent.
    Agent,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 5] = [Self::Admin, Self::Operator, Self::Viewer, Self::Generator, Self::Agent];

    /// The role as it is written in requests, keys and the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
            Self::Generator => "generator",
            Self::Agent => "agent",
        }
    }

    /// Whether a key of this role may have this permission at all; a key's scopes narrow it further.
    #[must_use]
    pub fn allows(self, permission: Permission) -> bool {
        use Permission as P;
        match self {
            Self::Admin => permission != P::AgentWork,
            Self::Operator => !matches!(permission, P::AuditRead | P::IdentitiesWrite | P::AgentWork),
            Self::Viewer => {
                matches!(permission, P::StacksRead | P::WorkOrdersRead | P::WebhooksRead | P::AgentsRead | P::EventsRead)
            }
            Self::Generator => matches!(
                permission,
                P::StacksRead
                    | P::StacksWrite
                    | P::WorkOrdersRead
                    | P::WorkOrdersWrite
                    | P::WebhooksRead
                    | P::WebhooksWrite
                    | P::ContentRead
                    | P::EventsRead
            ),
            Self::Agent => permission == P::AgentWork,
        }
    }
}

/// One thing that a key may be allowed to do: what a route asks for, and what a key's scopes name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
pub enum Permission {
    /// See stacks, generations, deployments and rollouts.
    #[serde(rename = "stacks:read")]
    StacksRead,
    /// Create, change, roll back, suspend and delete stacks.
    #[serde(rename = "stacks:write")]
    StacksWrite,
    /// See work orders.
    #[serde(rename = "work_orders:read")]
    WorkOrdersRead,
    /// Ask for work, cancel and retry it.
    #[serde(rename = "work_orders:write")]
    WorkOrdersWrite,
    /// See webhooks, their deliveries and the types of events.
    #[serde(rename = "webhooks:read")]
    WebhooksRead,
    /// Make, change, test and delete webhooks, replace their secrets and send again.
    #[serde(rename = "webhooks:write")]
    WebhooksWrite,
    /// Read manifests, which may hold Secrets, and logs of work orders.
    #[serde(rename = "content:read")]
    ContentRead,
    /// See agents and the state of the fleet.
    #[serde(rename = "agents:read")]
    AgentsRead,
    /// Create, change, suspend, deactivate and abandon agents, rotate their keys, issue registration tokens.
    #[serde(rename = "agents:write")]
    AgentsWrite,
    /// Suspend and resume the whole fleet, and set how everybody traces.
    #[serde(rename = "fleet:write")]
    FleetWrite,
    /// Read events.
    #[serde(rename = "events:read")]
    EventsRead,
    /// Read the audit log.
    #[serde(rename = "audit:read")]
    AuditRead,
    /// Make, list and revoke keys and generators.
    #[serde(rename = "identities:write")]
    IdentitiesWrite,
    /// Do an agent's work: its desired state, its content, its reports.
    #[serde(rename = "agent:work")]
    AgentWork,
}

impl Permission {
    /// Every permission.
    pub const ALL: [Self; 14] = [
        Self::StacksRead,
        Self::StacksWrite,
        Self::WorkOrdersRead,
        Self::WorkOrdersWrite,
        Self::WebhooksRead,
        Self::WebhooksWrite,
        Self::ContentRead,
        Self::AgentsRead,
        Self::AgentsWrite,
        Self::FleetWrite,
        Self::EventsRead,
        Self::AuditRead,
        Self::IdentitiesWrite,
        Self::AgentWork,
    ];
}

/// Most scopes that one key names.
pub const MAX_SCOPES: usize = 16;

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
    /// What it may do of what its role may; everything that its role may when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 16)]
    pub scopes: Vec<Permission>,
    /// When it ceases to open anything; never when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
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
    /// What it may do of what its role may; everything when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<Permission>,
    /// Whether it was given to an agent that has not used it yet; the first use makes it the agent's key.
    #[serde(default)]
    pub pending: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ceases to open anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
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
