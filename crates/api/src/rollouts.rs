//! Rollouts: one generation of a stack on its way to all its agents.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    Name, StackId, Timestamp,
    desired_state::Action,
    policy::HeldPlan,
    reports::{Failure, Health, HealthStatus, ObjectReport},
    suspension::Suspension,
    wait::Wait,
};

/// Where one deployment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The agent has not reported on the desired revision.
    Pending,
    /// The agent is at work.
    Progressing,
    /// Every object is applied.
    Applied,
    /// Every object is applied and healthy.
    Healthy,
    /// Applied, and something in it is not healthy.
    Degraded,
    /// An object could not be applied or deleted; the agent tries again.
    Failed,
    /// Held back by a person.
    Suspended,
    /// A tombstone that is not acknowledged.
    Deleting,
    /// A tombstone that is acknowledged.
    Deleted,
    /// The agent was abandoned.
    Orphaned,
}

impl Phase {
    /// Every phase, in the order in which people read them.
    pub const ALL: [Self; 10] = [
        Self::Pending,
        Self::Progressing,
        Self::Applied,
        Self::Healthy,
        Self::Degraded,
        Self::Failed,
        Self::Suspended,
        Self::Deleting,
        Self::Deleted,
        Self::Orphaned,
    ];

    /// The phase as it is written on the wire and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Progressing => "progressing",
            Self::Applied => "applied",
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
            Self::Suspended => "suspended",
            Self::Deleting => "deleting",
            Self::Deleted => "deleted",
            Self::Orphaned => "orphaned",
        }
    }

    /// The phase with what is known of the health: how applied objects are is told by their health.
    #[must_use]
    pub fn settled(self, health: Option<&Health>) -> Self {
        match (self, health.map(|health| health.status)) {
            (Self::Applied, Some(HealthStatus::Healthy)) => Self::Healthy,
            (Self::Applied, Some(HealthStatus::Degraded)) => Self::Degraded,
            _ => self,
        }
    }

    /// The phase of a text that [`Phase::as_str`] wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == text)
    }
}

/// Query of `GET /api/v1/stacks/{stack}/rollout`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct RolloutQuery {
    /// Wait so long for the rollout to be done or to fail: `30s`; answers at once when absent.
    #[param(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<Wait>,
}

/// How far a stack's newest generation, or its deletion, has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rollout {
    /// The stack.
    pub stack_id: StackId,
    /// The stack's name.
    pub stack: Name,
    /// The newest generation; 0 before the first one.
    pub generation: u64,
    /// Whether the stack is being deleted.
    pub deleting: bool,
    /// Whether every deployment is applied, deleted or orphaned.
    pub done: bool,
    /// How many deployments there are.
    pub total: u64,
    /// How many are applied, deleted or orphaned.
    pub finished: u64,
    /// How many have failed (the agents keep trying).
    pub failed: u64,
    /// How many are held back by a suspension.
    #[serde(default)]
    pub suspended: u64,
    /// How many are in each phase.
    #[serde(default)]
    pub phases: BTreeMap<Phase, u64>,
    /// The agent that took longest among those that are finished, or else has waited longest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slowest: Option<Slowest>,
    /// When the newest generation was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_at: Option<Timestamp>,
    /// Id of the trace that the rollout started in, if that was traced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The deployments: failed first, then unfinished, then the slowest; at most 100, and at most 20 objects of each: those that
    /// failed or were held first.
    pub deployments: Vec<Deployment>,
}

/// Who holds a rollout up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Slowest {
    /// The agent.
    pub agent: Name,
    /// Milliseconds from the acceptance of its revision until it was finished, or until now.
    pub milliseconds: u64,
    /// Whether it is finished.
    pub finished: bool,
}

/// Query of `GET /api/v1/stacks/{stack}/deployments`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct DeploymentsQuery {
    /// Most items in the answer, 1 to 500; 100 when absent.
    #[param(minimum = 1, maximum = 500)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Only deployments in this phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
}

/// What one agent has to do with one stack, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Deployment {
    /// The stack.
    pub stack_id: StackId,
    /// The stack's name.
    pub stack: Name,
    /// The agent.
    pub agent: Name,
    /// Its cluster.
    pub cluster: Name,
    /// Where it stands.
    pub phase: Phase,
    /// What it has to do.
    pub action: Action,
    /// The revision that is wanted.
    pub revision: u64,
    /// The newest revision that the agent acknowledged.
    pub observed_revision: u64,
    /// The generation that is wanted.
    pub generation: u64,
    /// The newest generation that the agent acknowledged; 0 before the first one.
    pub observed_generation: u64,
    /// What it waits for, for people; absent when it is finished and no deletion waits for an approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// Why it is held back: the fleet, the agent or the stack is suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<Suspension>,
    /// The deletions that wait for an approval, as the agent reported last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<HeldPlan>,
    /// Whether exactly these deletions are approved: then the agent is about to carry them out.
    #[serde(default)]
    pub approved: bool,
    /// How many changes that others made to its objects were reported.
    #[serde(default)]
    pub drifts: u64,
    /// When the last of them was reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_drift_at: Option<Timestamp>,
    /// How its objects are, as the agent reported last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Attempts at this revision that were reported.
    #[serde(default)]
    pub attempts: u64,
    /// Why the last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// What happened to each object in the last attempt; absent in lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<ObjectReport>,
    /// When the revision was written.
    pub desired_at: Timestamp,
    /// When the revision was first handed to the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picked_up_at: Option<Timestamp>,
    /// When the agent reported last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported_at: Option<Timestamp>,
    /// When the revision was acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// When it became healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_at: Option<Timestamp>,
    /// Id of the trace of the change that wrote the revision, if that was traced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Id of the trace of the last report: the agent's own where it is not the change's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report_trace_id: Option<String>,
}
