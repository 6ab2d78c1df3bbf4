//! What agents say of work orders, and what they are told.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{OnAgentLoss, SecretReference, Work, WorkKind, WorkState};
use crate::{Name, Timestamp, WorkOrderId, WorkTrace, reports::ObjectRef, words::words};

/// An agent asks for an order: `POST /api/v1/agent/work-orders:claim`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimWork {
    /// The kinds of work that this agent can do.
    pub kinds: Vec<WorkKind>,
    /// Instead of a new order, all that this agent has already, under new tokens: what an agent asks that has just started. Whoever
    /// worked for it before is a former holder from here on.
    #[serde(default)]
    pub resume: bool,
}

/// The answer to [`ClaimWork`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClaimedWork {
    /// One order or none; with `resume` as many as the agent has.
    pub orders: Vec<ClaimedOrder>,
    /// The lease ends so many seconds after the claim or the last renewal.
    pub lease_seconds: u64,
}

/// An order as its agent gets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClaimedOrder {
    /// The order.
    pub id: WorkOrderId,
    /// Its name.
    pub name: Name,
    /// Proves who has it: every renewal and report names it, and an older one changes nothing.
    pub token: u64,
    /// 1 for the first.
    pub attempt: u32,
    /// Whether it was started in the cluster: then it is looked for there, and not started again.
    pub started: bool,
    /// Whether it should be stopped.
    pub cancel: bool,
    /// What becomes of it when its agent is lost after the start.
    pub on_agent_loss: OnAgentLoss,
    /// What is to be done.
    pub work: Work,
    /// Environment variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// Environment variables from Secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretReference>,
    /// When it must be done; the agent stops it then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// Seconds that finished objects are kept.
    pub ttl_seconds: u32,
    /// Since when it could be claimed.
    pub queued_at: Timestamp,
    /// When this attempt was claimed, by the broker's clock.
    pub claimed_at: Timestamp,
    /// The trace that the work belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<WorkTrace>,
}

/// Renews leases: `POST /api/v1/agent/work-orders:renew`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenewWork {
    /// What the agent has, at most 200.
    pub orders: Vec<Renewal>,
}

/// One lease to be renewed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Renewal {
    /// The order.
    pub id: WorkOrderId,
    /// The token that the claim gave.
    pub token: u64,
    /// What the agent is doing, for people; the one before stays when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
}

/// The answer to [`RenewWork`], in the same order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Renewals {
    /// One for each.
    pub orders: Vec<Renewed>,
}

/// What became of one renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Renewed {
    /// The order.
    pub id: WorkOrderId,
    /// Whether the agent still has it. If not, nothing that it says of it counts any more.
    pub held: bool,
    /// Whether it should be stopped.
    pub cancel: bool,
}

/// An agent tells how an order goes: `POST /api/v1/agent/work-orders:report`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportWork {
    /// The order.
    pub id: WorkOrderId,
    /// The token that the claim gave.
    pub token: u64,
    /// What happened.
    pub outcome: WorkOutcome,
    /// Why it failed: a word of a closed set, at most 64 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same for people, at most 1024 characters; never values of Secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Whether another attempt may go better. What can never succeed is not tried again.
    #[serde(default)]
    pub retry: bool,
    /// What stands for it in the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectRef>,
    /// The end of its log, at most 65,536 characters, without the values of its Secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

words! {
    /// What an agent reports of an order.
    WorkOutcome {
        /// It is about to start it. Only when this was accepted may it touch the cluster.
        Started = "started",
        /// It is done.
        Succeeded = "succeeded",
        /// It failed, or its deadline is over.
        Failed = "failed",
        /// It was stopped, because somebody cancelled it.
        Cancelled = "cancelled",
    }
}

/// The answer to [`ReportWork`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReportedWork {
    /// Where the order stands now.
    pub state: WorkState,
}
