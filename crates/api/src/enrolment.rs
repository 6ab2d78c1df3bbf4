//! Enrolment: how an agent gets its identity and its key without a key of an admin reaching its cluster.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{AgentId, Labels, Name, RegistrationTokenId, Timestamp};

/// Seconds that a registration token is valid unless the request says otherwise.
pub const DEFAULT_TOKEN_SECONDS: u32 = 3_600;
/// Longest validity of a registration token in seconds: 30 days.
pub const MAX_TOKEN_SECONDS: u32 = 30 * 24 * 3_600;
/// Most agents that one registration token enrols.
pub const MAX_TOKEN_USES: u32 = 10_000;

/// Asks for a registration token: `POST /api/v1/registration-tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateRegistrationToken {
    /// What it is for, for people.
    pub name: Name,
    /// Labels of the agents that enrol with it. An agent cannot choose its own: stacks are targeted by them.
    #[serde(default)]
    pub labels: Labels,
    /// How many agents may enrol with it; 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 10_000)]
    pub max_uses: Option<u32>,
    /// Seconds until it expires, at most 30 days; one hour when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 2_592_000)]
    pub expires_in_seconds: Option<u32>,
}

/// A registration token as it is listed: never the token itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RegistrationToken {
    /// Names the token in the API.
    pub id: RegistrationTokenId,
    /// What it is for, for people.
    pub name: Name,
    /// Labels of the agents that enrol with it.
    pub labels: Labels,
    /// How many agents may enrol with it.
    pub max_uses: u32,
    /// How many have.
    pub uses: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ceases to enrol.
    pub expires_at: Timestamp,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

/// A registration token that was just made: this answer is the one time that it is shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedRegistrationToken {
    /// The token as it will be listed.
    #[serde(flatten)]
    pub token: RegistrationToken,
    /// The token itself, for `Authorization: Bearer …` of the enrolment.
    pub secret: String,
}

impl std::fmt::Debug for CreatedRegistrationToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreatedRegistrationToken").field("token", &self.token).finish_non_exhaustive()
    }
}

/// An agent asks for its identity: `POST /api/v1/enrolments`, with a registration token instead of a key.
///
/// An agent that lost the answer may ask again with the same token, name and cluster until it has used its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Enrol {
    /// The agent's name; unique among agents.
    pub name: Name,
    /// The cluster it works in, for people.
    pub cluster: Name,
    /// UID of the namespace `kube-system`, 1 to 64 characters; the key is bound to it.
    #[schema(min_length = 1, max_length = 64)]
    pub cluster_uid: String,
}

/// The agent's identity: the one time that its key is shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Enrolled {
    /// The agent.
    pub agent_id: AgentId,
    /// Its name.
    pub agent: Name,
    /// Its key.
    pub secret: String,
}

impl std::fmt::Debug for Enrolled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Enrolled").field("agent_id", &self.agent_id).field("agent", &self.agent).finish_non_exhaustive()
    }
}
