//! The table.

use crate::fleet::Engine;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A statement waits for a lock until its time is over.
    DatabaseSlow(Engine),
    /// Nobody listens where the database was.
    DatabaseDown,
    /// The API server answers 500.
    ApiServerFails,
    /// It answers 403.
    ApiServerForbids,
    /// It answers 409.
    ApiServerConflicts,
    /// It does not answer.
    ApiServerSilent,
    /// The cluster does not serve the kind.
    UnknownKind,
    /// The namespace's quota is used up.
    QuotaExceeded,
    /// The API server refuses a value.
    InvalidManifest,
    /// The broker cannot read the manifests.
    BrokenManifest,
    /// An agent is gone.
    AgentOffline,
    /// The broker dies while an agent works for it, and comes back.
    BrokerRestarted,
    /// The receiver of a webhook answers 500.
    WebhookRefused,
    /// It does not answer.
    WebhookSilent,
    /// Its name leads where nobody may go.
    WebhookBlocked,
    /// A container of a work order ends with an error.
    WorkContainerFails,
    /// The API server refuses the Job of a work order.
    WorkRefused,
    /// The namespace's quota has no room for the Job of a work order.
    WorkOverQuota,
    /// The image of a work order cannot be had.
    WorkWithoutImage,
    /// The deadline of a work order is over while it runs.
    WorkTooLong,
    /// A step of a build ends with an error.
    BuildFails,
    /// Nobody listens where spans are sent.
    CollectorDead,
    /// Spans are taken, and nothing is answered in time.
    CollectorSlow,
}

/// A fault, and the span that names component, operation and reason.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// What goes wrong.
    pub fault: Fault,
    /// The component: `service.name` of the span at which it went wrong.
    pub service: &'static str,
    /// The operation: its name.
    pub span: &'static str,
    /// Its `error.type`.
    pub error_type: &'static str,
    /// `brokkr.reason` of that span, or of the nearest one above it that has one.
    pub reason: &'static str,
}

const BROKER: &str = "brokkr-broker";
const AGENT: &str = "brokkr-agent";

/// Every fault.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row(Fault::DatabaseSlow(Engine::Postgres), BROKER, "UPDATE stacks", "timeout", "database_unavailable"),
    row(Fault::DatabaseSlow(Engine::Sqlite), BROKER, "BEGIN", "timeout", "database_unavailable"),
    row(Fault::DatabaseDown, BROKER, "BEGIN", "database_unavailable", "database_unavailable"),
    row(Fault::ApiServerFails, AGENT, "apply configmaps", "500", "transient"),
    row(Fault::ApiServerForbids, AGENT, "apply configmaps", "403", "forbidden"),
    row(Fault::ApiServerConflicts, AGENT, "apply configmaps", "409", "conflict"),
    row(Fault::ApiServerSilent, AGENT, "apply configmaps", "timeout", "timeout"),
    row(Fault::UnknownKind, AGENT, "apply object", "missing_kind", "missing_kind"),
    row(Fault::QuotaExceeded, AGENT, "apply configmaps", "403", "quota_exceeded"),
    row(Fault::InvalidManifest, AGENT, "apply services", "422", "invalid"),
    row(Fault::BrokenManifest, BROKER, "validate", "malformed_body", "malformed_body"),
    row(Fault::AgentOffline, BROKER, "agent offline", "agent_offline", "polls_missed"),
    row(Fault::BrokerRestarted, AGENT, "POST /api/v1/agent/reports", "connect", "unreachable"),
    row(Fault::WebhookRefused, BROKER, "POST", "500", "server_error"),
    row(Fault::WebhookSilent, BROKER, "POST", "timeout", "timeout"),
    row(Fault::WebhookBlocked, BROKER, "POST", "blocked", "blocked"),
    row(Fault::WorkContainerFails, AGENT, "run main", "exit_code", "container_failed"),
    row(Fault::WorkRefused, AGENT, "create jobs.batch", "422", "invalid"),
    row(Fault::WorkOverQuota, AGENT, "create jobs.batch", "403", "quota_exceeded"),
    row(Fault::WorkWithoutImage, AGENT, "process work_order", "image_pull_failed", "image_pull_failed"),
    row(Fault::WorkTooLong, AGENT, "process work_order", "deadline_exceeded", "deadline_exceeded"),
    row(Fault::BuildFails, AGENT, "run build", "exit_code", "container_failed"),
    row(Fault::CollectorDead, BROKER, "export spans", "unreachable", "collector_unavailable"),
    row(Fault::CollectorSlow, BROKER, "export spans", "timeout", "collector_unavailable"),
];

const fn row(fault: Fault, service: &'static str, span: &'static str, error_type: &'static str, reason: &'static str) -> Row {
    Row { fault, service, span, error_type, reason }
}
