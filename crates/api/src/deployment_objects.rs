//! Deployment objects: immutable versions of a stack's manifests.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{DeploymentObjectId, Timestamp};

/// Most Kubernetes objects in one deployment object.
pub const MAX_OBJECTS: usize = 5_000;

/// One immutable version of a stack's manifests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeploymentObject {
    /// Names it for ever.
    pub id: DeploymentObjectId,
    /// 1, 2, 3 … within its stack.
    pub generation: u64,
    /// SHA-256 of the canonical content, `sha256:<64 hex>`.
    pub digest: String,
    /// How many Kubernetes objects it holds.
    pub objects: u64,
    /// Size of the canonical content in bytes.
    pub bytes: u64,
    /// Whether its content holds Secrets, and is encrypted in the database.
    #[serde(default)]
    pub encrypted: bool,
    /// The generation whose content it brings back, if it is a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_to: Option<u64>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// Id of the trace of the request that brought it, if that was traced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
}

/// Brings old content back as a new generation: `POST /api/v1/stacks/{stack}/rollback`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// The generation whose content to bring back; it must be in the history. The one before the newest when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub generation: Option<u64>,
}

/// The answer to `PUT /api/v1/stacks/{stack}/deployment-objects`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AcceptedDeploymentObject {
    /// The deployment object that now is the stack's newest.
    #[serde(flatten)]
    pub deployment_object: DeploymentObject,
    /// False when the content equals that of the newest generation: nothing was stored and nothing rolls out.
    pub created: bool,
    /// How many agents the generation is for.
    pub agents: u64,
}
