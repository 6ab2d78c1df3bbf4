//! How a stack is delivered: what the agent may take over, delete and ignore.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Name, reports::ObjectRef};

/// Most entries of [`StackPolicy::ignore_fields`] and of [`StackPolicy::health`].
pub const MAX_RULES: usize = 100;
/// Most paths of one [`IgnoreFields`].
pub const MAX_PATHS: usize = 50;
/// Longest path, in characters.
pub const MAX_PATH: usize = 512;
/// Longest expression of a [`HealthRule`], in characters.
pub const MAX_EXPRESSION: usize = 4_096;
/// Longest [`StackPolicy::wave_timeout_seconds`]: a day.
pub const MAX_WAVE_TIMEOUT_SECONDS: u32 = 86_400;

/// Most entries of [`Drift::fields`].
pub const MAX_DRIFT_FIELDS: usize = 20;
/// Longest entry of [`Drift::fields`], in characters.
pub const MAX_DRIFT_FIELD: usize = 512;
/// Most entries of [`Drift::managers`].
pub const MAX_DRIFT_MANAGERS: usize = 5;
/// Most [`HeldPlan::objects`]: no cluster has so many.
pub const MAX_HELD: u64 = 1 << 32;
/// Longest name of a field manager, in characters: Kubernetes' own limit.
pub const MAX_MANAGER: usize = 128;

/// Label of a stack that says what becomes of its objects: with `orphan` they stay, whatever its policy says; `delete` says nothing more.
pub const DELETE_POLICY_LABEL: &str = "brokkr.io/delete-policy";

/// How a stack is delivered. The default is careful: nothing of somebody else is touched, and what leaves the stack is deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StackPolicy {
    /// What to do when another manager owns a field that the stack sets to another value.
    pub conflicts: Conflicts,
    /// What to do with an object that exists and that no stack owns.
    pub adoption: Adoption,
    /// What becomes of the objects when the stack is deleted or withdrawn, or when they leave its manifests.
    pub delete_policy: DeletePolicy,
    /// Fields that others set: they get the manifest's value when the object is created, and are left alone afterwards.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100)]
    pub ignore_fields: Vec<IgnoreFields>,
    /// When custom resources are healthy, one rule per kind.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100)]
    pub health: Vec<HealthRule>,
    /// The service account that the stack's objects are applied and deleted as, `namespace/name`; the agent's own when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 317)]
    pub service_account: Option<String>,
    /// Seconds that a wave may take to become healthy before the deployment counts as failed (the agent keeps waiting), 1 to 86,400.
    #[schema(minimum = 1, maximum = 86_400)]
    pub wave_timeout_seconds: u32,
}

impl Default for StackPolicy {
    fn default() -> Self {
        Self {
            conflicts: Conflicts::default(),
            adoption: Adoption::default(),
            delete_policy: DeletePolicy::default(),
            ignore_fields: Vec::new(),
            health: Vec::new(),
            service_account: None,
            wave_timeout_seconds: 600,
        }
    }
}

impl StackPolicy {
    /// Whether nothing in it differs from the default.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What to do when another manager owns a field that the stack sets to another value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Conflicts {
    /// Leave the object as it is, and say who owns which field.
    #[default]
    Report,
    /// Take the field.
    Force,
}

/// What to do with an object that exists and that no stack owns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Adoption {
    /// Leave it as it is, and say who manages it.
    #[default]
    Report,
    /// Take it over: the fields of the manifest become the stack's, everything else stays whose it is.
    Adopt,
}

/// What becomes of objects that are no longer wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeletePolicy {
    /// They are deleted.
    #[default]
    Delete,
    /// They stay in the cluster and no longer belong to the stack.
    Orphan,
}

/// Fields of some objects that are left to others, for example the replicas under an autoscaler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IgnoreFields {
    /// `Kind` or `Kind.group`; every kind when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 317)]
    pub kind: Option<String>,
    /// Every namespace when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 63)]
    pub namespace: Option<String>,
    /// Every name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 253)]
    pub name: Option<String>,
    /// JSON pointers (RFC 6901) below the object, for example `/spec/replicas`; not below `/metadata` but for labels and annotations.
    #[schema(min_items = 1, max_items = 50)]
    pub paths: Vec<String>,
}

/// When objects of a kind are healthy, in CEL over `object`, for kinds that say it in their own way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthRule {
    /// `Kind.group`.
    #[schema(max_length = 317)]
    pub kind: String,
    /// True when the object is healthy: `object.status.phase == "Ready"`. What cannot be evaluated (a field is missing) is not true.
    #[schema(max_length = 4096)]
    pub healthy: String,
    /// True when the object does not get there by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4096)]
    pub degraded: Option<String>,
    /// A text that says why it is not healthy: `object.status.message`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4096)]
    pub message: Option<String>,
}

/// Deletions that wait for an approval: exactly these objects at exactly this revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HeldPlan {
    /// Digest of revision, action and the held objects with their UIDs, `sha256:<64 hex>`.
    #[schema(max_length = 71)]
    pub plan: String,
    /// How many objects would be deleted.
    pub objects: u64,
}

/// Approves held deletions: `POST /api/v1/stacks/{stack}/approvals`. They must be exactly the ones that the deployment holds now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Approve {
    /// The agent that holds them.
    pub agent: Name,
    /// The revision that holds them.
    pub revision: u64,
    /// [`HeldPlan::plan`].
    #[schema(max_length = 71)]
    pub plan: String,
}

/// A change to an object of the stack that somebody else made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Drift {
    /// Which object.
    #[serde(flatten)]
    pub object: ObjectRef,
    /// The fields that were changed, `.spec.replicas`, at most 20; never their values. Empty when the object was deleted.
    #[schema(max_items = 20)]
    pub fields: Vec<String>,
    /// The field managers that changed them, where the object says so; at most 5.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 5)]
    pub managers: Vec<String>,
    /// What the agent did.
    pub outcome: DriftOutcome,
}

/// What the agent did about a foreign change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DriftOutcome {
    /// The object is as desired again.
    Repaired,
    /// Somebody changes it again and again; the agent repairs it more and more seldom.
    Contested,
    /// It could not be repaired; the agent tries again.
    Failed,
}

/// Most entries of drift in one report.
pub const MAX_DRIFT: usize = 100;
