//! The audit log: who did what, written in the transaction of the change.

use brokkr_api::{
    AuditId, GeneratorId, KeyId, Timestamp,
    audit::{AuditEntry, AuditOutcome, AuditQuery},
    keys::Role,
};

use super::{
    Db, Error, Tx,
    keys::role_of,
    sql::{Row, Value, statements, values},
};

/// Takes the fourteen values of an entry.
macro_rules! insert_audit {
    () => {
        "INSERT INTO audit (id, actor_key, actor_name, actor_role, generator_id, action, resource_kind, resource_id, resource_name, outcome,
             data, trace_id, request_id, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
    };
}
pub(super) use insert_audit;

statements! {
    INSERT_AUDIT = Insert audit insert_audit!();
    LIST_AUDIT = Select audit
        "SELECT id, actor_key, actor_name, actor_role, generator_id, action, resource_kind, resource_id, resource_name, outcome, data, trace_id,
                request_id, created_at
         FROM audit WHERE id < $1 AND ($3 = '' OR actor_key = $3) AND ($4 = '' OR action = $4) AND ($5 = '' OR resource_kind = $5)
           AND ($6 = '' OR resource_name = $6) ORDER BY id DESC LIMIT $2";
    PRUNE_AUDIT = Delete audit
        "DELETE FROM audit WHERE id IN (SELECT a.id FROM audit a WHERE a.created_at < $1 ORDER BY a.created_at LIMIT $2)";
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

impl NewAuditEntry<'_> {
    /// In the order of the statement.
    pub(super) fn values(&self) -> Vec<Value> {
        values![
            self.id,
            self.actor_key,
            self.actor_name,
            self.actor_role.as_str(),
            self.generator,
            self.action,
            self.resource_kind,
            self.resource_id.clone(),
            self.resource_name,
            self.outcome.as_str(),
            self.data.as_str(),
            self.trace_id.clone(),
            self.request_id,
            self.now
        ]
    }
}

impl Tx {
    /// Writes the entry of something that is no event.
    pub(crate) async fn insert_audit(&mut self, entry: &NewAuditEntry<'_>) -> Result<(), Error> {
        self.execute(&INSERT_AUDIT, entry.values()).await.map(drop)
    }
}

/// Above every id.
const NEWEST: &str = "g";

fn entry(row: &Row) -> Result<AuditEntry, Error> {
    let outcome = row.text("outcome")?;
    let outcomes = [AuditOutcome::Success, AuditOutcome::Denied];
    Ok(AuditEntry {
        id: row.parse("id")?,
        actor_key: row.parse("actor_key")?,
        actor: row.text("actor_name")?,
        role: role_of(row, "actor_role")?,
        generator: row.opt_parse("generator_id")?,
        action: row.text("action")?,
        resource_kind: row.text("resource_kind")?,
        resource_id: row.opt_text("resource_id")?,
        resource_name: row.opt_text("resource_name")?,
        outcome: outcomes
            .into_iter()
            .find(|known| known.as_str() == outcome)
            .ok_or_else(|| Error::Corrupt { column: "outcome", source: outcome.into() })?,
        data: row.json("data")?,
        trace_id: row.opt_text("trace_id")?,
        request_id: row.opt_text("request_id")?,
        created_at: row.time("created_at")?,
    })
}

impl Db {
    /// A page of entries before this id, the newest first.
    pub(crate) async fn list_audit(&self, query: &AuditQuery, before: &str, limit: u32) -> Result<Vec<AuditEntry>, Error> {
        let text = |filter: &Option<String>| filter.clone().unwrap_or_default();
        let values = values![
            if before.is_empty() { NEWEST } else { before },
            limit,
            query.actor_key.map(|key| key.to_string()).unwrap_or_default(),
            text(&query.action),
            text(&query.resource_kind),
            text(&query.resource_name)
        ];
        self.all(&LIST_AUDIT, values).await?.iter().map(entry).collect()
    }

    /// Removes the oldest entries from before this time, at most so many. Tells how many.
    pub(crate) async fn prune_audit(&self, before: Timestamp, limit: u32) -> Result<u64, Error> {
        let mut tx = self.begin().await?;
        let pruned = tx.execute(&PRUNE_AUDIT, values![before, limit]).await?;
        tx.commit().await?;
        Ok(pruned)
    }
}

#[cfg(test)]
pub(super) fn all_statements() -> &'static [&'static super::sql::Statement] {
    ALL
}
