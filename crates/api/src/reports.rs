//! What an agent reports.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    StackId,
    desired_state::Scope,
    policy::{Drift, HeldPlan},
    rollouts::Phase,
};

/// Most deployments in one request.
pub const MAX_REPORTS: usize = 100;
/// Longest reason in characters.
pub const MAX_REASON: usize = 64;
/// Longest message in characters; longer ones are cut by the agent.
pub const MAX_MESSAGE: usize = 1_024;

/// `POST /api/v1/agent/reports`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reports {
    /// The epoch of the desired state that was acted on.
    pub epoch: String,
    /// One report per deployment.
    pub reports: Vec<Report>,
}

/// The outcome of one attempt at one revision of one deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The stack.
    pub stack_id: StackId,
    /// The revision acted on; a report for an older one changes nothing.
    pub revision: u64,
    /// Where the deployment stands; `applied` and `deleted` acknowledge the revision.
    pub phase: Phase,
    /// 1 for the first attempt at this revision since the agent started.
    pub attempt: u32,
    /// One entry per object.
    #[serde(default)]
    pub objects: Vec<ObjectReport>,
    /// Why it failed, or what it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// How the objects are, where the agent knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Where members of the `ApplySet` may be after this attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// The deletions that wait for an approval, if some do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<HeldPlan>,
    /// What others changed since the last report, at most [`crate::policy::MAX_DRIFT`] entries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100)]
    pub drift: Vec<Drift>,
}

/// How the objects of a deployment are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// The worst of its objects.
    pub status: HealthStatus,
    /// A word for the class of trouble, at most [`MAX_REASON`] characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// For people, at most [`MAX_MESSAGE`] characters; never contains values of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The object that is in the worst state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectRef>,
}

/// How an object or a deployment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// It does what it should.
    Healthy,
    /// It is on its way there.
    Progressing,
    /// It does not get there by itself.
    Degraded,
    /// Nothing is known.
    Unknown,
}

impl HealthStatus {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Progressing => "progressing",
            Self::Degraded => "degraded",
            Self::Unknown => "unknown",
        }
    }
}

/// What happened to one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ObjectReport {
    /// Which object.
    #[serde(flatten)]
    pub object: ObjectRef,
    /// What was done.
    pub outcome: ObjectOutcome,
    /// Why, when it failed or was held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// For people; never contains values of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Names one Kubernetes object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
pub struct ObjectRef {
    /// `v1`, `apps/v1`, …
    #[serde(rename = "apiVersion")]
    pub api_version: String,
    /// `ConfigMap`, `Deployment`, …
    pub kind: String,
    /// Absent for cluster-scoped objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The object's name.
    pub name: String,
}

impl std::fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ", self.kind)?;
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(&self.name)
    }
}

/// What was done with one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ObjectOutcome {
    /// It was created.
    Created,
    /// It was changed.
    Configured,
    /// It was already as desired.
    Unchanged,
    /// It is gone.
    Deleted,
    /// It should go, and waits for an approval.
    Held,
    /// It was not reached, because something before it failed.
    Skipped,
    /// It failed.
    Failed,
}

/// Why a deployment failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// A closed set of the agent's failure classes and of Kubernetes' reasons, at most [`MAX_REASON`] characters.
    pub reason: String,
    /// For people, at most [`MAX_MESSAGE`] characters; never contains values of the object.
    pub message: String,
    /// The object that failed first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectRef>,
}

/// The answer to [`Reports`], in the same order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReportResults {
    /// One result per report.
    pub results: Vec<ReportResult>,
}

/// What became of one report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReportResult {
    /// It was stored.
    Accepted,
    /// The deployment is at a newer revision: poll again.
    Stale,
    /// The agent has no such deployment.
    Unknown,
}
