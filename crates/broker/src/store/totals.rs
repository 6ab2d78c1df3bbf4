//! Totals for the gauges: counted in the database, so that every replica tells the same, also after a restart.
//!
//! Every broker runs these now and then, whatever the size of the fleet: each is answered from indexes, or reads rows of which
//! there is one for each agent or stack. What is not finished is read row by row, and is little in a fleet that is well.

use std::collections::HashMap;

use brokkr_api::Timestamp;

use super::{
    Db, Error,
    sql::{Row, statements, values},
};

statements! {
    COUNT_TOTALS = Select stacks
        "SELECT (SELECT count(*) FROM stacks WHERE deleted_at IS NULL) AS stacks,
                (SELECT count(*) FROM deployment_objects) AS deployment_objects";
    COUNT_AGENTS = Select presence
        "WITH fleet AS (SELECT p.last_seen_at FROM agents a LEFT JOIN presence p ON p.agent_id = a.id
                        WHERE a.abandoned_at IS NULL AND a.deactivated_at IS NULL),
              seen AS (SELECT f.last_seen_at FROM fleet f WHERE f.last_seen_at IS NOT NULL)
         SELECT (SELECT count(*) FROM fleet) AS agents, (SELECT count(*) FROM seen WHERE last_seen_at >= $1) AS online,
                (SELECT min(last_seen_at) FROM seen) AS oldest,
                (SELECT last_seen_at FROM seen ORDER BY last_seen_at LIMIT 1 OFFSET (SELECT count(*) / 2 FROM seen)) AS median";
    COUNT_FINISHED = Select deployments
        "SELECT phase, count(*) AS n FROM deployments WHERE phase IN ('applied', 'healthy', 'degraded', 'deleted', 'orphaned') GROUP BY phase";
    /// The phase that is shown, as in every reading of deployments. What has no content yet, and a deletion that waits for an
    /// approval, wait for a person: they count, and are not late. Cross joins, so that SQLite begins with the deployments that are
    /// not finished, whatever its statistics say.
    COUNT_UNFINISHED = Select deployments
        "SELECT shown.phase, count(*) AS n, min(shown.since) AS oldest FROM
             (SELECT CASE WHEN s.suspension IS NOT NULL OR a.suspension IS NOT NULL
                      OR (SELECT i.suspension FROM installation i WHERE i.singleton = 1) IS NOT NULL THEN 'suspended' ELSE d.phase END AS phase,
                     CASE WHEN d.phase <> 'failed' AND d.generation > 0 AND p.last_seen_at >= $1
                      AND (d.held_plan IS NULL OR d.held_plan = d.approved_plan) THEN d.desired_at END AS since
              FROM deployments d CROSS JOIN agents a CROSS JOIN stacks s
              LEFT JOIN presence p ON p.agent_id = a.id
              WHERE d.phase IN ('pending', 'progressing', 'failed', 'deleting') AND a.id = d.agent_id AND s.id = d.stack_id) shown
         GROUP BY shown.phase";
    COUNT_DELIVERIES = Select outbox "SELECT count(*) AS n, min(o.next_attempt_at) AS oldest FROM outbox o JOIN webhooks w ON w.id = o.destination
         WHERE o.state = 'pending' AND w.state = 'enabled' AND w.deleted_at IS NULL";
    /// A key that waits for its first use or that a newer one has replaced is followed by another.
    NEXT_KEY_EXPIRY = Select api_keys
        "SELECT min(expires_at) AS at FROM api_keys WHERE revoked_at IS NULL AND expires_at > $1 AND pending = 0";
}

/// What there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) stacks: i64,
    pub(crate) deployment_objects: i64,
}

/// The agents that are neither abandoned nor deactivated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FleetTotals {
    pub(crate) agents: i64,
    /// Of them those that were seen lately.
    pub(crate) online: i64,
    /// When the agent was last seen that was not seen for the longest time.
    pub(crate) oldest: Option<Timestamp>,
    pub(crate) median: Option<Timestamp>,
}

/// Deployments by the phase that is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DeploymentTotals {
    pub(crate) phases: HashMap<String, i64>,
    /// When the oldest change was accepted that is not carried out though it could be.
    pub(crate) oldest_unsettled: Option<Timestamp>,
}

/// What waits, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueueTotals {
    pub(crate) depth: i64,
    pub(crate) oldest: Option<Timestamp>,
}

fn opt_time(row: &Row, column: &'static str) -> Result<Option<Timestamp>, Error> {
    Ok(row.opt_int(column)?.map(Timestamp::from_micros))
}

impl Db {
    /// Counts stacks and deployment objects.
    pub(crate) async fn totals(&self) -> Result<Totals, Error> {
        let row = self.optional(&COUNT_TOTALS, vec![]).await?.ok_or_else(|| Error::absent("stacks"))?;
        Ok(Totals { stacks: row.int("stacks")?, deployment_objects: row.int("deployment_objects")? })
    }

    /// Counts agents; one is online when it was seen at `active_since` or later.
    pub(crate) async fn fleet_totals(&self, active_since: Timestamp) -> Result<FleetTotals, Error> {
        let row = self.optional(&COUNT_AGENTS, values![active_since]).await?.ok_or_else(|| Error::absent("agents"))?;
        Ok(FleetTotals {
            agents: row.int("agents")?,
            online: row.int("online")?,
            oldest: opt_time(&row, "oldest")?,
            median: opt_time(&row, "median")?,
        })
    }

    /// Counts deployments. What an agent should do that was not seen since `active_since` is not late.
    pub(crate) async fn deployment_totals(&self, active_since: Timestamp) -> Result<DeploymentTotals, Error> {
        let mut totals = DeploymentTotals::default();
        for row in self.all(&COUNT_FINISHED, vec![]).await? {
            totals.phases.insert(row.text("phase")?, row.int("n")?);
        }
        for row in self.all(&COUNT_UNFINISHED, values![active_since]).await? {
            let phase = row.text("phase")?;
            let oldest = opt_time(&row, "oldest")?.filter(|_| phase != "suspended");
            totals.oldest_unsettled = [totals.oldest_unsettled, oldest].into_iter().flatten().min();
            totals.phases.insert(phase, row.int("n")?);
        }
        Ok(totals)
    }

    /// Counts deliveries that are due or will be, of webhooks that are enabled; the oldest is the one that is overdue for the longest time.
    pub(crate) async fn delivery_totals(&self) -> Result<QueueTotals, Error> {
        let row = self.optional(&COUNT_DELIVERIES, vec![]).await?.ok_or_else(|| Error::absent("outbox"))?;
        Ok(QueueTotals { depth: row.int("n")?, oldest: opt_time(&row, "oldest")? })
    }

    /// When the next key expires that is in use and that no other one follows.
    pub(crate) async fn next_key_expiry(&self, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        let row = self.optional(&NEXT_KEY_EXPIRY, values![now]).await?;
        row.map_or(Ok(None), |row| opt_time(&row, "at"))
    }
}

#[cfg(test)]
pub(super) fn all_statements() -> &'static [&'static super::sql::Statement] {
    ALL
}
