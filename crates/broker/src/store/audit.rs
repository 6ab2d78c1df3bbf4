//! The audit log: who did what, written in the transaction of the change.

use brokkr_api::{AuditId, GeneratorId, KeyId, Timestamp, audit::AuditOutcome, keys::Role};

use super::{
    Error, Tx,
    sql::{statements, values},
};

statements! {
    INSERT_AUDIT = Insert audit
        "INSERT INTO audit (id, actor_key, actor_name, actor_role, generator_id, action, resource_kind, resource_id, resource_name, outcome,
             data, trace_id, request_id, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
}

/// An entry to be stored.
pub(crate) struct NewAuditEntry<'a> {
    pub(crate) id: AuditId,
    pub(crate) actor_key: KeyId,
    pub(crate) actor_name: &'a str,
    pub(crate) actor_role: Role,
    pub(crate) generator: Option<GeneratorId>,
    pub(crate) action: &'a str,
    pub(crate) resource_kind: &'static str,
    pub(crate) resource_id: Option<String>,
    pub(crate) resource_name: Option<&'a str>,
    pub(crate) outcome: AuditOutcome,
    pub(crate) data: String,
    pub(crate) trace_id: Option<String>,
    pub(crate) request_id: Option<&'a str>,
    pub(crate) now: Timestamp,
}

impl Tx {
    pub(crate) async fn insert_audit(&mut self, entry: &NewAuditEntry<'_>) -> Result<(), Error> {
        let values = values![
            entry.id,
            entry.actor_key,
            entry.actor_name,
            entry.actor_role.as_str(),
            entry.generator,
            entry.action,
            entry.resource_kind,
            entry.resource_id.clone(),
            entry.resource_name,
            entry.outcome.as_str(),
            entry.data.as_str(),
            entry.trace_id.clone(),
            entry.request_id,
            entry.now
        ];
        self.execute(&INSERT_AUDIT, values).await.map(drop)
    }
}

#[cfg(test)]
pub(super) fn all_statements() -> &'static [&'static super::sql::Statement] {
    ALL
}
