//! Tracing at run time, as it is stored: one text for the installation, and what each agent told last.

use brokkr_api::{
    AgentId, Timestamp,
    tracing::{AgentTracing, ReportTracing, TraceRule, TraceSettings},
};
use serde::{Deserialize, Serialize};

use super::{
    Db, Error, Tx,
    sql::{Row, json, statements, values},
};

statements! {
    LOCK_TRACING = Select installation "SELECT tracing FROM installation WHERE singleton = 1 /*lock*/";
    SET_TRACING = Update installation "UPDATE installation SET tracing = $1 WHERE singleton = 1";
    PUT_AGENT_TRACING = Insert agent_tracing
        "INSERT INTO agent_tracing (agent_id, revision, status, reported_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (agent_id) DO UPDATE SET revision = excluded.revision, status = excluded.status, reported_at = excluded.reported_at";
    LIST_AGENT_TRACING = Select agents
        "SELECT a.name, t.revision, t.status, t.reported_at FROM agents a LEFT JOIN agent_tracing t ON t.agent_id = a.id
         WHERE a.abandoned_at IS NULL AND a.name > $1 ORDER BY a.name LIMIT $2";
}

/// What is set at run time, for the broker and for agents.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredTracing {
    pub(crate) revision: u64,
    pub(crate) by: String,
    /// Microseconds since the Unix epoch.
    pub(crate) at: i64,
    pub(crate) broker: Option<TraceSettings>,
    pub(crate) agents: Vec<TraceRule>,
}

fn agent_tracing(row: &Row) -> Result<AgentTracing, Error> {
    let reported_at = row.opt_int("reported_at")?.map(Timestamp::from_micros);
    Ok(AgentTracing {
        agent: row.parse("name")?,
        revision: u64::try_from(row.opt_int("revision")?.unwrap_or(0)).unwrap_or(0),
        reported_at,
        pipeline: row.opt_json("status")?,
    })
}

impl Tx {
    /// What is set, locked until the transaction ends.
    pub(crate) async fn lock_tracing(&mut self) -> Result<StoredTracing, Error> {
        let row = self.optional(&LOCK_TRACING, vec![]).await?;
        row.map_or(Ok(None), |row| row.opt_json("tracing")).map(Option::unwrap_or_default)
    }

    pub(crate) async fn set_tracing(&mut self, tracing: &StoredTracing) -> Result<(), Error> {
        self.execute(&SET_TRACING, values![json("tracing", tracing)?]).await.map(drop)
    }

    /// Keeps what an agent told.
    pub(crate) async fn put_agent_tracing(
        &mut self,
        agent: AgentId,
        report: &ReportTracing,
        now: Timestamp,
    ) -> Result<(), Error> {
        let status = json("status", &report.pipeline)?;
        self.execute(&PUT_AGENT_TRACING, values![agent, report.revision, status, now]).await.map(drop)
    }
}

impl Db {
    /// What agents told, by name.
    pub(crate) async fn list_agent_tracing(&self, after: &str, limit: u32) -> Result<Vec<AgentTracing>, Error> {
        self.all(&LIST_AGENT_TRACING, values![after, limit]).await?.iter().map(agent_tracing).collect()
    }
}

#[cfg(test)]
pub(super) fn all_statements() -> &'static [&'static super::sql::Statement] {
    ALL
}
