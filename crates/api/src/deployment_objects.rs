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
    /// When it was accepted.
    pub created_at: Timestamp,
    /// Id of the trace of the request that brought it, if that was traced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
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
