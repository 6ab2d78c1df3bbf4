//! Agents.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{AgentId, Labels, Name, Timestamp};

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
    /// When it was made.
    pub created_at: Timestamp,
    /// Last poll, to within the presence flush (15 s); absent before the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen_at: Option<Timestamp>,
    /// Whether it was seen recently enough to count as active.
    pub online: bool,
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
