//! Suspension: nothing is applied, deleted or repaired until somebody resumes it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;

/// Longest reason in characters.
pub const MAX_SUSPENSION_REASON: usize = 256;

/// Holds a stack, an agent or the whole fleet back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Suspend {
    /// Why, for everybody who waits: 1 to [`MAX_SUSPENSION_REASON`] printable characters.
    #[schema(min_length = 1, max_length = 256)]
    pub reason: String,
}

/// Why something is held back. Where several apply, the widest is told: fleet, then agent, then stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Suspension {
    /// What was suspended.
    pub scope: SuspensionScope,
    /// Why.
    pub reason: String,
    /// Name of the key that ordered it.
    pub by: String,
    /// Since when.
    pub since: Timestamp,
}

/// What a suspension holds back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SuspensionScope {
    /// Every agent and every stack.
    Fleet,
    /// Everything of one agent.
    Agent,
    /// One stack on all its agents.
    Stack,
}

impl SuspensionScope {
    /// What is held back, in a sentence: `the fleet`, `the agent`, `the stack`.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Fleet => "the fleet",
            Self::Agent => "the agent",
            Self::Stack => "the stack",
        }
    }
}

/// The fleet as a whole: `GET /api/v1/fleet`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fleet {
    /// The installation that the broker belongs to.
    pub installation: String,
    /// New after a restore from backup.
    pub epoch: String,
    /// Why everything is held back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<Suspension>,
    /// How many agents there are.
    pub agents: u64,
    /// How many of them were seen recently.
    pub online: u64,
    /// How many stacks there are.
    pub stacks: u64,
}
