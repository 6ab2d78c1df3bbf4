//! Stacks.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{GeneratorId, Labels, Name, StackId, TargetSelector, Timestamp};

/// Creates a stack or replaces its settings: `PUT /api/v1/stacks/{stack}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PutStack {
    /// Labels for people and filters.
    pub labels: Labels,
    /// Which agents it is for; nobody when empty.
    pub targets: TargetSelector,
}

/// A stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stack {
    /// Names the stack for ever; a stack created again under the same name has another.
    pub id: StackId,
    /// Unique among the stacks of its owner.
    pub name: Name,
    /// The generator that owns it; absent when an admin does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generator: Option<GeneratorId>,
    /// Labels for people and filters.
    pub labels: Labels,
    /// Which agents it is for.
    pub targets: TargetSelector,
    /// Generation of its newest deployment object; 0 before the first one.
    pub generation: u64,
    /// How many agents it is for now.
    pub agents: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// When its deletion was asked for; it goes when every agent has acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleting_since: Option<Timestamp>,
}
