//! Stacks.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{GeneratorId, Labels, Name, StackId, TargetSelector, Timestamp, policy::StackPolicy, suspension::Suspension};

/// Creates a stack or replaces its settings: `PUT /api/v1/stacks/{stack}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PutStack {
    /// Labels for people and filters.
    pub labels: Labels,
    /// Which agents it is for; nobody when empty.
    pub targets: TargetSelector,
    /// How it is delivered.
    #[serde(skip_serializing_if = "StackPolicy::is_default")]
    pub policy: StackPolicy,
    /// The token of `targets:preview`, where the change would take the stack from many agents.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 128)]
    pub preview_token: Option<String>,
}

/// Longest token of a preview.
pub const MAX_PREVIEW_TOKEN: usize = 128;

/// A change that takes a stack from more than so many percent of its agents needs the token of a preview …
pub const PREVIEW_PERCENT: u64 = 30;
/// … if these are at least so many.
pub const PREVIEW_AGENTS: u64 = 3;
/// Most names of agents in one [`TargetsPreview`].
pub const MAX_PREVIEW_NAMES: usize = 500;

/// Asks who would gain and lose a stack: `POST /api/v1/stacks/{stack}/targets:preview`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewTargets {
    /// The selector to be tried.
    pub targets: TargetSelector,
}

/// Who would gain and lose a stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TargetsPreview {
    /// Agents that would get it, by name; at most [`MAX_PREVIEW_NAMES`].
    pub gains: Vec<Name>,
    /// How many would get it.
    pub gained: u64,
    /// Agents from which it would be withdrawn, by name; at most [`MAX_PREVIEW_NAMES`].
    pub loses: Vec<Name>,
    /// How many would lose it.
    pub lost: u64,
    /// How many would keep it.
    pub kept: u64,
    /// Whether the change is refused without the token.
    pub needs_token: bool,
    /// Confirms exactly this change: it ceases to be valid when the stack or the agents that would lose it change.
    pub token: String,
}

/// Query of `GET /api/v1/stacks`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct StacksQuery {
    /// Most items in the answer, 1 to 500; 100 when absent.
    #[param(minimum = 1, maximum = 500)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Only stacks that carry this label: `key=value`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Only stacks of this generator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator: Option<Name>,
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
    /// How it is delivered.
    #[serde(default)]
    pub policy: StackPolicy,
    /// Generation of its newest deployment object; 0 before the first one.
    pub generation: u64,
    /// How many agents it is for now.
    pub agents: u64,
    /// Why nothing of it is applied or deleted: it or the whole fleet is suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<Suspension>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// When its deletion was asked for; it goes when every agent has acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleting_since: Option<Timestamp>,
}
