//! Agents.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{AgentId, Labels, Name, Timestamp, suspension::Suspension};

/// Asks for a new agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateAgent {
    /// Unique among agents.
    pub name: Name,
    /// The cluster it works in, for people.
    pub cluster: Name,
    /// Labels that stacks select by.
    #[serde(default)]
    pub labels: Labels,
}

/// Changes an agent; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpdateAgent {
    /// Replaces all labels; who is concerned by which stack is computed anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
}

/// An agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Agent {
    /// Names the agent for ever.
    pub id: AgentId,
    /// Unique among agents.
    pub name: Name,
    /// The cluster it works in, for people.
    pub cluster: Name,
    /// Labels that stacks select by.
    pub labels: Labels,
    /// UID of the namespace `kube-system` of its cluster, once it has said hello.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_uid: Option<String>,
    /// Version of the agent program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Version of the cluster's API server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes_version: Option<String>,
    /// Protocol version that it speaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u32>,
    /// What it can do, as it said itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// Why nothing is applied or deleted in its cluster: it or the whole fleet is suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<Suspension>,
    /// Since when its keys open nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deactivated_at: Option<Timestamp>,
    /// Since when it is missed: it was connected before, and has missed its polls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offline_since: Option<Timestamp>,
    /// Whether it was asked for a new key and has not used that yet.
    #[serde(default)]
    pub key_rotation_wanted: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// Last poll, to within the presence flush (15 s); absent before the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen_at: Option<Timestamp>,
    /// Whether it was seen recently enough to count as active.
    pub online: bool,
}

/// Query of `GET /api/v1/agents`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct AgentsQuery {
    /// Most items in the answer, 1 to 500; 100 when absent.
    #[param(minimum = 1, maximum = 500)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Only agents that carry this label: `key=value`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Only agents that were seen recently, or only those that were not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub online: Option<bool>,
}

/// An agent that was just made, with its key: the one time that the key is shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedAgent {
    /// The agent.
    #[serde(flatten)]
    pub agent: Agent,
    /// Its key, for `brokkr-agent`.
    pub secret: String,
}

impl std::fmt::Debug for CreatedAgent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreatedAgent").field("agent", &self.agent).finish_non_exhaustive()
    }
}

/// What an agent says of itself and its cluster when it starts: `PUT /api/v1/agent/cluster`.
///
/// The first one binds the agent to `cluster_uid`; another cluster is refused from then on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// UID of the namespace `kube-system`, 1 to 64 characters.
    pub cluster_uid: String,
    /// Version of the agent program, at most 64 characters.
    pub version: String,
    /// Version of the API server, at most 64 characters.
    pub kubernetes_version: String,
    /// What it can do: at most [`MAX_CAPABILITIES`] words of 1 to 64 characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 32)]
    pub capabilities: Vec<String>,
}

/// The capability of an agent that sends webhooks.
pub const SENDS_WEBHOOKS: &str = "webhooks";
/// Most capabilities that an agent names.
pub const MAX_CAPABILITIES: usize = 32;

/// A new key for an agent: the answer to `POST /api/v1/agent/key`, and the one time that it is shown.
///
/// It is pending: its first use makes it the agent's key, and the keys before it expire some minutes later.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewAgentKey {
    /// The key itself.
    pub secret: String,
}

impl std::fmt::Debug for NewAgentKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewAgentKey").finish_non_exhaustive()
    }
}

/// Says that an agent is gone for ever: `POST /api/v1/agents:abandon`.
///
/// Its deployments become orphaned, so that stacks can finish; its keys are revoked and its name is free again. What is in its
/// cluster stays there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AbandonAgent {
    /// The agent.
    pub agent: Name,
}

/// What `agents:abandon` did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AbandonedAgent {
    /// The agent.
    pub agent_id: AgentId,
    /// How many of its deployments became orphaned.
    pub orphaned: u64,
}

/// What the broker answers to [`Hello`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Welcome {
    /// The agent's id.
    pub agent_id: AgentId,
    /// The agent's name.
    pub agent: Name,
    /// The cluster's name.
    pub cluster: Name,
    /// The installation that the broker belongs to; stands in the `ApplySet` parents.
    pub installation: String,
    /// New after a restore from backup.
    pub epoch: String,
}
