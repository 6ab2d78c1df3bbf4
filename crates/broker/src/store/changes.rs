//! The change feed: a number for every change of desired state, in commit order, and each agent's highest.

use brokkr_api::AgentId;
use sqlx::postgres::PgListener;

use super::{
    Db, Error, Installation, StoredTracing, Tx,
    sql::{CHANNEL, id_set, statements, values},
};

statements! {
    NEXT_CHANGE = Update counters "UPDATE counters SET value = value + 1 WHERE name = 'change_seq' RETURNING value";
    READ_CHANGE = Select counters
        "SELECT c.value, i.installation_id, i.epoch, i.tracing FROM counters c JOIN installation i ON i.singleton = 1 WHERE c.name = 'change_seq'";
    MARK_AGENTS = Insert change_feed
        "INSERT INTO change_feed (agent_id, seq) SELECT DISTINCT agent_id, CAST($1 AS BIGINT) FROM deployments WHERE change_seq = $1
         ON CONFLICT (agent_id) DO UPDATE SET seq = excluded.seq";
    MARK_SET = Insert change_feed
        "INSERT INTO change_feed (agent_id, seq) SELECT item.value->>'id', CAST($2 AS BIGINT) FROM each($1) WHERE TRUE
         ON CONFLICT (agent_id) DO UPDATE SET seq = excluded.seq";
    CHANGES_SINCE = Select change_feed "SELECT agent_id, seq FROM change_feed WHERE seq > $1 ORDER BY seq";
}

/// How the installation stands.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    /// The highest number that is committed.
    pub(crate) newest: u64,
    /// Which installation and epoch it belongs to.
    pub(crate) installation: Installation,
    /// What is set of tracing; none before the first change.
    pub(crate) tracing: Option<StoredTracing>,
}

impl Tx {
    /// Takes the next number. The counter's row stays locked until commit, so that numbers become visible in their order.
    pub(crate) async fn next_change(&mut self) -> Result<u64, Error> {
        self.optional(&NEXT_CHANGE, vec![]).await?.ok_or_else(|| Error::absent("value"))?.count("value")
    }

    /// Makes this change the highest of every agent whose deployments it wrote, and tells the other brokers.
    pub(crate) async fn publish_change(&mut self, change_seq: u64) -> Result<(), Error> {
        self.execute(&MARK_AGENTS, values![change_seq]).await?;
        self.notify(change_seq).await
    }

    /// Makes this change the highest of these agents, and tells the other brokers.
    pub(crate) async fn mark_agents(&mut self, agents: &[AgentId], change_seq: u64) -> Result<(), Error> {
        self.execute(&MARK_SET, values![id_set(agents)?, change_seq]).await?;
        self.notify(change_seq).await
    }
}

impl Db {
    /// How the installation stands.
    pub(crate) async fn standing(&self) -> Result<Standing, Error> {
        let row = self.optional(&READ_CHANGE, vec![]).await?.ok_or_else(|| Error::absent("value"))?;
        let installation = Installation { id: row.text("installation_id")?, epoch: row.text("epoch")? };
        Ok(Standing { newest: row.count("value")?, installation, tracing: row.opt_json("tracing")? })
    }

    /// The highest number that is committed.
    pub(crate) async fn last_change(&self) -> Result<u64, Error> {
        Ok(self.standing().await?.newest)
    }

    /// Agents whose desired state changed after this number, with their highest.
    pub(crate) async fn changes_since(&self, change_seq: u64) -> Result<Vec<(AgentId, u64)>, Error> {
        let rows = self.all(&CHANGES_SINCE, values![change_seq]).await?;
        rows.iter().map(|row| Ok((row.parse("agent_id")?, row.count("seq")?))).collect()
    }

    /// Listens to the other brokers' hints; `None` on SQLite, where there are no others.
    pub(crate) async fn listen(&self) -> Result<Option<ChangeListener>, Error> {
        let Some(pool) = &self.listen else { return Ok(None) };
        let connect = async {
            let mut listener = PgListener::connect_with(pool).await?;
            listener.listen(CHANNEL).await?;
            Ok(listener)
        };
        connect.await.map(|listener| Some(ChangeListener(listener))).map_err(|source| Error::of_statement("LISTEN", source))
    }
}

/// A session that listens.
pub(crate) struct ChangeListener(PgListener);

impl ChangeListener {
    /// Waits for the next hint.
    pub(crate) async fn next(&mut self) -> Result<(), Error> {
        self.0.recv().await.map(drop).map_err(|source| Error::of_statement("LISTEN", source))
    }
}

#[cfg(test)]
pub(super) fn all_statements() -> &'static [&'static super::sql::Statement] {
    ALL
}
