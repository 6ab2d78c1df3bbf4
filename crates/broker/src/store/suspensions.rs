//! Suspension of the fleet, as it is stored, and which of several is told.

use brokkr_api::{
    Timestamp,
    suspension::{Suspension, SuspensionScope},
};
use serde::{Deserialize, Serialize};

use super::{
    Db, Error, Tx,
    sql::{json, statements, values},
};

statements! {
    SET_FLEET_SUSPENSION = Update installation "UPDATE installation SET suspension = $1 WHERE singleton = 1";
    LOCK_FLEET = Select installation "SELECT suspension FROM installation WHERE singleton = 1 /*lock*/";
    MARK_FLEET = Insert change_feed
        "INSERT INTO change_feed (agent_id, seq) SELECT id, CAST($1 AS BIGINT) FROM agents WHERE abandoned_at IS NULL
         ON CONFLICT (agent_id) DO UPDATE SET seq = excluded.seq";
    COUNT_FLEET = Select agents
        "SELECT (SELECT i.suspension FROM installation i WHERE i.singleton = 1) AS suspension,
                (SELECT count(*) FROM agents a WHERE a.abandoned_at IS NULL) AS agents,
                (SELECT count(*) FROM presence p WHERE p.last_seen_at >= $1) AS online,
                (SELECT count(*) FROM stacks s WHERE s.deleted_at IS NULL) AS stacks";
}

/// A suspension as it is stored; its scope follows from where it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredSuspension {
    pub(crate) reason: String,
    pub(crate) by: String,
    /// Microseconds since the Unix epoch.
    pub(crate) since: i64,
}

impl StoredSuspension {
    fn into_api(self, scope: SuspensionScope) -> Suspension {
        Suspension { scope, reason: self.reason, by: self.by, since: Timestamp::from_micros(self.since) }
    }
}

/// The first that there is; callers name the widest first.
pub(crate) fn widest<const N: usize>(suspensions: [(SuspensionScope, Option<StoredSuspension>); N]) -> Option<Suspension> {
    suspensions.into_iter().find_map(|(scope, stored)| stored.map(|stored| stored.into_api(scope)))
}

/// The fleet as a whole.
pub(crate) struct FleetRow {
    pub(crate) suspension: Option<StoredSuspension>,
    pub(crate) agents: u64,
    pub(crate) online: u64,
    pub(crate) stacks: u64,
}

impl Tx {
    /// What suspends the fleet, locked until the transaction ends.
    pub(crate) async fn lock_fleet(&mut self) -> Result<Option<StoredSuspension>, Error> {
        self.optional(&LOCK_FLEET, vec![]).await?.map_or(Ok(None), |row| row.opt_json("suspension"))
    }

    pub(crate) async fn suspend_fleet(&mut self, suspension: Option<&StoredSuspension>) -> Result<(), Error> {
        let text = suspension.map(|suspension| json("suspension", suspension)).transpose()?;
        self.execute(&SET_FLEET_SUSPENSION, values![text]).await.map(drop)
    }

    /// Makes this change the highest of every agent.
    pub(crate) async fn mark_fleet(&mut self, change_seq: u64) -> Result<(), Error> {
        self.execute(&MARK_FLEET, values![change_seq]).await?;
        self.notify(change_seq).await
    }
}

impl Db {
    pub(crate) async fn count_fleet(&self, active_since: Timestamp) -> Result<FleetRow, Error> {
        let row = self.optional(&COUNT_FLEET, values![active_since]).await?.ok_or_else(|| Error::absent("agents"))?;
        Ok(FleetRow {
            suspension: row.opt_json("suspension")?,
            agents: row.count("agents")?,
            online: row.count("online")?,
            stacks: row.count("stacks")?,
        })
    }
}

#[cfg(test)]
pub(super) fn all_statements() -> &'static [&'static super::sql::Statement] {
    ALL
}
