//! Work orders: one-off work that exactly one matching agent carries out, under a lease.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    GeneratorId, Name, TargetSelector, Timestamp, WorkOrderId, builds::BuildWork, desired_state::Content, reports::ObjectRef,
    words::words,
};

mod agents;

pub use agents::{
    ClaimWork, ClaimedOrder, ClaimedWork, RenewWork, Renewal, Renewals, Renewed, ReportWork, ReportedWork, WorkOutcome,
};

/// Most attempts that an order may ask for.
pub const MAX_ATTEMPTS: u32 = 20;
/// Longest backoff before the second attempt, in seconds.
pub const MAX_BACKOFF_SECONDS: u32 = 3_600;
/// Longest time that an order may take, in seconds: 30 days.
pub const MAX_DEADLINE_SECONDS: u32 = 30 * 24 * 3_600;
/// Longest time that finished objects are kept in the cluster, in seconds: 7 days.
pub const MAX_TTL_SECONDS: u32 = 7 * 24 * 3_600;
/// Highest priority; the lowest is its negative.
pub const MAX_PRIORITY: i32 = 1_000;
/// Most parameters of an order, and most secret references.
pub const MAX_PARAMETERS: usize = 64;
/// Longest value of a parameter in characters.
pub const MAX_PARAMETER: usize = 4_096;
/// Most Kubernetes objects of one order.
pub const MAX_WORK_OBJECTS: usize = 100;
/// Longest condition in characters.
pub const MAX_CONDITION: usize = 4_096;
/// What is kept of a log: its last so many characters.
pub const MAX_LOG: usize = 64 * 1_024;
/// Longest word of progress in characters.
pub const MAX_PROGRESS: usize = 256;
/// Most orders in one renewal.
pub const MAX_RENEWALS: usize = 200;

/// Asks for work: `POST /api/v1/work-orders`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateWorkOrder {
    /// What it is, for people; several orders may have the same name.
    pub name: Name,
    /// What is to be done.
    pub work: Work,
    /// Which agents may do it; one of them will.
    pub targets: TargetSelector,
    /// Orders of a higher priority are claimed first, -1000 to 1000.
    #[serde(default)]
    #[schema(minimum = -1000, maximum = 1000)]
    pub priority: i32,
    /// Nobody claims it earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Within so many seconds of being accepted it has succeeded, or it has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 2_592_000)]
    pub deadline_seconds: Option<u32>,
    /// How often it is tried: 1 to 20.
    #[serde(default = "default_attempts")]
    #[schema(minimum = 1, maximum = 20)]
    pub max_attempts: u32,
    /// Seconds before the second attempt; each further wait is twice as long, up to an hour.
    #[serde(default = "default_backoff")]
    #[schema(minimum = 0, maximum = 3_600)]
    pub backoff_seconds: u32,
    /// What becomes of it when its agent is lost after the start.
    #[serde(default)]
    pub on_agent_loss: OnAgentLoss,
    /// Environment variables of every container; of a build, of every step of its strategy.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// Environment variables whose values are in Secrets of the cluster; the broker never sees them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretReference>,
    /// Seconds that finished objects are kept in the cluster.
    #[serde(default = "default_ttl")]
    #[schema(minimum = 0, maximum = 604_800)]
    pub ttl_seconds: u32,
}

fn default_attempts() -> u32 {
    3
}

fn default_backoff() -> u32 {
    10
}

fn default_ttl() -> u32 {
    3_600
}

/// What is to be done in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// A Job; each attempt is an object of its own.
    Job(JobWork),
    /// Objects, and how to see that they have done what they are for.
    Apply(ApplyWork),
    /// A build of an image.
    Build(Box<BuildWork>),
}

/// A Job to be run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobWork {
    /// A manifest of `batch/v1` `Job`. Its name is the beginning of the name of each attempt's object.
    #[schema(value_type = Object)]
    pub manifest: serde_json::Value,
}

/// Objects to be applied, and conditions on them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyWork {
    /// Up to [`MAX_WORK_OBJECTS`] objects, no Secrets among them.
    pub objects: Content,
    /// A condition in CEL: true is success. `object.items` is the list of the objects as they are in the cluster.
    pub success: String,
    /// A condition in CEL, on the same: true is failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// Names a value in a Secret of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretReference {
    /// The environment variable that gets it.
    pub name: String,
    /// The Secret, in the namespace of the work.
    pub secret: String,
    /// Its key.
    pub key: String,
}

words! {
    /// What becomes of an order whose agent is lost after the start.
    #[derive(Default)]
    OnAgentLoss {
        /// It becomes `unknown`: it is never started in a second cluster.
        #[default]
        Unknown = "unknown",
        /// It is tried again, so that it may be done more than once.
        Retry = "retry",
    }
}

words! {
    /// The kinds of work.
    #[derive(PartialOrd, Ord)]
    WorkKind {
        /// A Job.
        Job = "job",
        /// Objects with conditions.
        Apply = "apply",
        /// A build of an image.
        Build = "build",
    }
}

words! {
    /// Where an order stands.
    #[derive(PartialOrd, Ord)]
    WorkState {
        /// Its time has not come: `not_before`, or the backoff after an attempt.
        Waiting = "waiting",
        /// It waits for an agent.
        Queued = "queued",
        /// An agent has it, and has not started it.
        Claimed = "claimed",
        /// It was started in a cluster.
        Running = "running",
        /// It is done.
        Succeeded = "succeeded",
        /// It failed, and is not tried again.
        Failed = "failed",
        /// Somebody cancelled it.
        Cancelled = "cancelled",
        /// Its agent was lost after the start: nobody knows how it ended.
        Unknown = "unknown",
    }
}

/// A work order as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkOrder {
    /// Names it for ever.
    pub id: WorkOrderId,
    /// What it is, for people.
    pub name: Name,
    /// What kind of work.
    pub kind: WorkKind,
    /// Where it stands.
    pub state: WorkState,
    /// Its owner; nobody where it belongs to the operators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generator: Option<GeneratorId>,
    /// Which agents may do it.
    pub targets: TargetSelector,
    /// Higher is earlier.
    pub priority: i32,
    /// How often an agent has claimed it.
    pub attempts: u32,
    /// How often it is tried at most.
    pub max_attempts: u32,
    /// What becomes of it when its agent is lost after the start.
    pub on_agent_loss: OnAgentLoss,
    /// The agent that has it, or had it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Name>,
    /// Whether somebody wants it to stop, and its agent has not said that it did.
    pub cancelling: bool,
    /// What its agent says that it is doing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// What it waits for, in words; absent when it is finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// Why it failed, or is tried again: a word of a closed set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What stands for it in the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectRef>,
    /// Nobody claims it earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// When it must be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When the present attempt was claimed, or the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_at: Option<Timestamp>,
    /// When it was started in the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Id of the trace of the request that asked for it, if that was traced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
}

/// The end of the log of an order's last attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkLog {
    /// At most [`MAX_LOG`] characters; empty when the agent sent none.
    pub log: String,
}

/// Query of `GET /api/v1/work-orders`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct WorkOrdersQuery {
    /// Most items in the answer, 1 to 500; 100 when absent.
    #[param(minimum = 1, maximum = 500)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Only orders in this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<WorkState>,
    /// Only orders of this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
}

impl WorkState {
    /// Whether nothing more happens to it, unless somebody retries it.
    #[must_use]
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::Unknown)
    }

    /// Whether an agent has it.
    #[must_use]
    pub fn is_held(self) -> bool {
        matches!(self, Self::Claimed | Self::Running)
    }
}

impl Work {
    /// What kind of work it is.
    #[must_use]
    pub fn kind(&self) -> WorkKind {
        match self {
            Self::Job(_) => WorkKind::Job,
            Self::Apply(_) => WorkKind::Apply,
            Self::Build(_) => WorkKind::Build,
        }
    }
}

/// Variables that change what a program runs or loads, and those in which the trace comes.
const REFUSED: &[&str] = &[
    "BASH_ENV",
    "BASHOPTS",
    "ENV",
    "IFS",
    "JAVA_TOOL_OPTIONS",
    "NODE_OPTIONS",
    "PATH",
    "PERL5OPT",
    "PROMPT_COMMAND",
    "PS4",
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "RUBYOPT",
    "SHELLOPTS",
    "TRACEPARENT",
    "TRACESTATE",
];
const REFUSED_PREFIXES: &[&str] = &["LD_", "DYLD_", "BASH_FUNC_"];

/// Names that no parameter may have, and beginnings of such names.
pub(crate) fn refused() -> (&'static [&'static str], &'static [&'static str]) {
    (REFUSED, REFUSED_PREFIXES)
}

/// What a parameter may be called, as a pattern of JSON Schema.
#[must_use]
pub fn parameter_pattern() -> String {
    format!("^(?!({})$)(?!({}))[A-Za-z_][A-Za-z0-9_]{{0,127}}$", REFUSED.join("|"), REFUSED_PREFIXES.join("|"))
}

/// Whether a parameter may be called so: a name of an environment variable that neither changes what a program loads nor carries the trace.
#[must_use]
pub fn is_parameter_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    let begins = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    let goes_on = name.len() <= 128 && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_');
    begins && goes_on && !REFUSED.contains(&name) && !REFUSED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_what_a_program_loads_is_no_parameter() {
        for name in ["REGION", "_x", "a1", "PATHS", "LDAP_URL", "MY_LD_X"] {
            assert!(is_parameter_name(name), "{name}");
        }
        let long = "a".repeat(129);
        for name in ["", "1a", "a-b", "a b", "LD_PRELOAD", "DYLD_INSERT_LIBRARIES", "BASH_ENV", "PATH", "TRACEPARENT", "ü", &long]
        {
            assert!(!is_parameter_name(name), "{name}");
        }
    }

    #[test]
    fn words_are_those_of_the_wire() {
        for state in WorkState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
            assert_eq!(WorkState::from_word(state.as_str()), Some(*state));
        }
        for kind in WorkKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
