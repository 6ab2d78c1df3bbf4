//! The desired state of one agent: level-triggered, never a stream of commands.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{Name, StackId, WorkTrace, policy::StackPolicy, suspension::Suspension, tracing::TraceOrder, wait::Wait};

/// Largest content that comes inside the index, in bytes; larger is fetched by digest.
pub const MAX_INLINE_BYTES: u64 = 64 * 1024;

/// Query of `GET /api/v1/agent/desired-state`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct DesiredStateQuery {
    /// How long to wait for a change when `If-None-Match` is current: `30s`; at once when absent.
    #[param(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<Wait>,
    /// How many work orders the agent could take now. A poll that names some ends early when there is one for it, and says so in the
    /// header `brokkr-work-orders`.
    #[param(minimum = 0, maximum = 1000)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub work_orders: Option<u32>,
    /// How many deliveries of webhooks the agent could send now. A poll that names some ends early when there is one for it, and says so
    /// in the header `brokkr-webhook-deliveries`.
    #[param(minimum = 0, maximum = 1000)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_deliveries: Option<u32>,
}

/// Everything that one agent has to do. What is not in it must be left alone: absence is never an order to delete.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DesiredState {
    /// The broker's protocol version.
    pub protocol: u32,
    /// The installation that the broker belongs to.
    pub installation: String,
    /// New after a restore from backup; reports must name it.
    pub epoch: String,
    /// Whether the agent should ask for a new key: `POST /api/v1/agent/key`.
    #[serde(default)]
    pub rotate_key: bool,
    /// How the agent should trace; absent when nothing is set at run time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracing: Option<TraceOrder>,
    /// One entry per stack that concerns the agent, sorted by stack id.
    pub deployments: Vec<DesiredDeployment>,
}

/// What an agent has to do with one stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DesiredDeployment {
    /// The stack.
    pub stack_id: StackId,
    /// The stack's name.
    pub stack: Name,
    /// Counts up with every change of this entry; reports must name it.
    pub revision: u64,
    /// Apply or delete.
    pub action: Action,
    /// Generation of the deployment object.
    pub generation: u64,
    /// Digest of the content, `sha256:<64 hex>`; absent for a tombstone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Present while somebody holds it back: then nothing of it is applied, deleted or repaired.
    ///
    /// An agent of protocol version 1 does not know suspension and is not told of suspended deployments at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<Suspension>,
    /// How it is delivered.
    #[serde(default, skip_serializing_if = "StackPolicy::is_default")]
    pub policy: StackPolicy,
    /// The held plan ([`crate::policy::HeldPlan::plan`]) of this revision whose deletions a person has approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved: Option<String>,
    /// The trace that the work belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<WorkTrace>,
    /// The scope that the agent acknowledged last, so that a lost `ApplySet` parent leaks nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// The content, when it is small and the agent has not acknowledged this revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
}

/// What to do with a stack's objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Make the cluster equal to the content.
    Apply,
    /// A tombstone: a person deleted the stack, which approves the deletion of everything in it.
    Delete,
    /// A tombstone: the agent is no longer targeted. Namespaces, CRDs and volumes still need an approval.
    Withdraw,
}

impl Action {
    /// The action as it is written on the wire and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Delete => "delete",
            Self::Withdraw => "withdraw",
        }
    }
}

/// The Kubernetes objects of one deployment object, as they were sent, in canonical form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Content {
    /// Every object has `apiVersion`, `kind` and `metadata.name`; identities are unique.
    #[schema(value_type = Vec<Object>)]
    pub objects: Vec<serde_json::Value>,
}

/// Where members of a stack's `ApplySet` may be: group-kinds and namespaces only, never object names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// `Kind` or `Kind.group`, sorted.
    pub group_kinds: Vec<String>,
    /// Namespaces, sorted.
    pub namespaces: Vec<String>,
}
