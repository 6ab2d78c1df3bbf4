//! Who may claim which work orders, and claims: of many who claim at once each gets another one, and a lease ends by time alone.

use brokkr_api::{
    AgentId, Labels, Name, TargetSelector, Timestamp, WorkOrderId,
    work_orders::{Renewal, WorkKind, WorkState},
};
use brokkr_telemetry::TraceContext;
use serde::Serialize;

use super::{
    Db, Error, Payload,
    rollouts::trace,
    sql::{Row, json, set, statements, values},
    suspensions::StoredSuspension,
};
use crate::domain::work_order::Terms;

statements! {
    AGENT_AND_QUEUES = Select agents
        "SELECT a.name, a.labels, a.suspension AS agent_suspension, i.suspension AS fleet_suspension, q.id AS queue_id, q.kind, q.targets,
                q.created_at
         FROM agents a JOIN installation i ON i.singleton = 1 LEFT JOIN work_order_queues q ON q.created_at >= $2 WHERE a.id = $1";
    /// Of each queue the head that nobody else is claiming, and of these the first.
    CLAIM_ORDER = Update work_orders
        "UPDATE work_orders SET state = 'claimed', agent_id = $2, token = token + 1, attempts = attempts + 1,
             attempts_left = attempts_left - 1, claimed_at = $3, started_at = NULL, lease_until = $4, progress = NULL, row_version = row_version + 1
         WHERE state = 'queued' AND id =
             (SELECT h.id FROM (SELECT (SELECT n.id FROM work_orders n WHERE n.queue_id = item.value->>'id' AND n.state = 'queued'
                  ORDER BY n.priority DESC, n.id LIMIT 1 /*lock free*/) AS id FROM each($1)) h
              JOIN work_orders o ON o.id = h.id ORDER BY o.priority DESC, o.id LIMIT 1)
         RETURNING id, name, token, attempts, state, cancel_wanted_at, work, terms, deadline_at, ready_at, claimed_at, queue_id, kind,
             traceparent, tracestate, created_at";
    HOLDS_ORDERS = Select work_orders
        "SELECT 1 AS one FROM work_orders o WHERE o.agent_id = $1 AND o.lease_until IS NOT NULL LIMIT 1";
    RESUME_ORDERS = Update work_orders
        "UPDATE work_orders SET token = token + 1, lease_until = $2, row_version = row_version + 1
         WHERE agent_id = $1 AND lease_until IS NOT NULL
         RETURNING id, name, token, attempts, state, cancel_wanted_at, work, terms, deadline_at, ready_at, claimed_at, queue_id, kind,
             traceparent, tracestate, created_at";
    /// `COALESCE` keeps SQLite from reading the set once for each order that the agent has.
    RENEW_LEASES = Update work_orders
        "UPDATE work_orders SET lease_until = $3, progress = COALESCE(item.value->>'progress', progress), row_version = row_version + 1
         FROM each($1) WHERE work_orders.id = item.value->>'id' AND COALESCE(agent_id, '') = $2 AND token = CAST(item.value->>'token' AS BIGINT)
           AND lease_until IS NOT NULL RETURNING work_orders.id AS id, work_orders.cancel_wanted_at AS cancel_wanted_at";
    /// None while the fleet is suspended. A scalar subquery, not EXISTS: PostgreSQL would make a join of that, and read every order that waits.
    READY_QUEUES = Select work_order_queues
        "SELECT q.id AS queue_id, q.kind, q.targets, q.created_at, (SELECT count(*) FROM
             (SELECT 1 AS one FROM work_orders o WHERE o.queue_id = q.id AND o.state = 'queued' LIMIT $1) r) AS ready
         FROM work_order_queues q WHERE (SELECT o.id FROM work_orders o WHERE o.queue_id = q.id AND o.state = 'queued' LIMIT 1) IS NOT NULL
           AND NOT EXISTS (SELECT 1 FROM installation i WHERE i.suspension IS NOT NULL)";
    AGENTS_CHANGED_SINCE = Select agents
        "SELECT a.id, a.name, a.labels, a.updated_at, a.suspension FROM agents a WHERE a.updated_at >= $1 AND a.abandoned_at IS NULL";
}

/// Where orders of one kind for the same targets wait.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    pub(crate) id: String,
    pub(crate) kind: WorkKind,
    pub(crate) targets: TargetSelector,
    pub(crate) created_at: Timestamp,
}

/// An order as its holder gets it.
pub(crate) struct ClaimedRow {
    pub(crate) id: WorkOrderId,
    pub(crate) name: Name,
    pub(crate) token: u64,
    pub(crate) attempt: u32,
    pub(crate) state: WorkState,
    pub(crate) cancel: bool,
    pub(crate) terms: Terms,
    pub(crate) payload: Payload,
    pub(crate) deadline_at: Option<Timestamp>,
    pub(crate) ready_at: Timestamp,
    pub(crate) claimed_at: Timestamp,
    pub(crate) queue: String,
    pub(crate) kind: WorkKind,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) created_at: Timestamp,
}

/// An agent as claims see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claimant {
    pub(crate) name: Name,
    pub(crate) labels: Labels,
    pub(crate) suspended: bool,
}

#[derive(Serialize)]
struct RenewedItem {
    id: WorkOrderId,
    token: u64,
    progress: Option<String>,
}

#[derive(Serialize)]
struct QueueItem<'a> {
    id: &'a str,
}

fn claimed(row: &Row) -> Result<ClaimedRow, Error> {
    Ok(ClaimedRow {
        id: row.parse("id")?,
        name: row.parse("name")?,
        token: row.count("token")?,
        attempt: row.number("attempts")?,
        state: row.word("state", WorkState::from_word)?,
        cancel: row.opt_int("cancel_wanted_at")?.is_some(),
        terms: row.json("terms")?,
        payload: row.json("work")?,
        deadline_at: row.opt_time("deadline_at")?,
        ready_at: row.time("ready_at")?,
        claimed_at: row.time("claimed_at")?,
        queue: row.text("queue_id")?,
        kind: row.word("kind", WorkKind::from_word)?,
        trace: trace(row)?,
        created_at: row.time("created_at")?,
    })
}

fn queue(row: &Row) -> Result<Queue, Error> {
    Ok(Queue {
        id: row.text("queue_id")?,
        kind: row.word("kind", WorkKind::from_word)?,
        targets: row.json("targets")?,
        created_at: row.time("created_at")?,
    })
}

impl Db {
    /// An agent, and the queues that were made since then.
    pub(crate) async fn agent_and_queues(
        &self,
        agent: AgentId,
        since: Timestamp,
    ) -> Result<Option<(Claimant, Vec<Queue>)>, Error> {
        let rows = self.all(&AGENT_AND_QUEUES, values![agent, since]).await?;
        let Some(first) = rows.first() else { return Ok(None) };
        let suspended = first.opt_text("agent_suspension")?.is_some() || first.opt_text("fleet_suspension")?.is_some();
        let claimant = Claimant { name: first.parse("name")?, labels: first.json("labels")?, suspended };
        let mut queues = Vec::new();
        for row in &rows {
            if row.opt_text("queue_id")?.is_some() {
                queues.push(queue(row)?);
            }
        }
        Ok(Some((claimant, queues)))
    }

    /// Gives the agent the first order of these queues; two never get the same.
    pub(crate) async fn claim_work_order(
        &self,
        agent: AgentId,
        queues: &[&str],
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<ClaimedRow>, Error> {
        let items: Vec<_> = queues.iter().map(|id| QueueItem { id }).collect();
        let mut tx = self.begin().await?;
        let row = tx.optional(&CLAIM_ORDER, values![set(&items)?, agent, now, until]).await?;
        tx.commit().await?;
        row.as_ref().map(claimed).transpose()
    }

    /// Gives the agent everything that it has, under new tokens.
    pub(crate) async fn resume_work_orders(&self, agent: AgentId, until: Timestamp) -> Result<Vec<ClaimedRow>, Error> {
        // Agents that start all at once do not wait for the one writer, because nearly none of them has anything.
        if self.optional(&HOLDS_ORDERS, values![agent]).await?.is_none() {
            return Ok(Vec::new());
        }
        let mut tx = self.begin().await?;
        let rows = tx.all(&RESUME_ORDERS, values![agent, until]).await?;
        tx.commit().await?;
        rows.iter().map(claimed).collect()
    }

    /// Renews those leases that the agent has; tells which, and whether they should be stopped.
    pub(crate) async fn renew_leases(
        &self,
        agent: AgentId,
        renewals: &[Renewal],
        until: Timestamp,
    ) -> Result<Vec<(WorkOrderId, bool)>, Error> {
        let item = |renewal: &Renewal| {
            let progress = renewal.progress.as_ref().map(|progress| json("progress", progress)).transpose()?;
            Ok(RenewedItem { id: renewal.id, token: renewal.token, progress })
        };
        let items = renewals.iter().map(item).collect::<Result<Vec<_>, Error>>()?;
        let mut tx = self.begin().await?;
        let rows = tx.all(&RENEW_LEASES, values![set(&items)?, agent, until]).await?;
        tx.commit().await?;
        rows.iter().map(|row| Ok((row.parse("id")?, row.opt_int("cancel_wanted_at")?.is_some()))).collect()
    }

    /// Queues with orders in them that can be claimed now, and how many; counted up to a limit.
    pub(crate) async fn ready_queues(&self, limit: u32) -> Result<Vec<(Queue, u64)>, Error> {
        self.all(&READY_QUEUES, values![limit]).await?.iter().map(|row| Ok((queue(row)?, row.count("ready")?))).collect()
    }

    /// Agents that were changed since then, as claims see them, and when that was.
    pub(crate) async fn agents_changed_since(&self, since: Timestamp) -> Result<Vec<(AgentId, Claimant, Timestamp)>, Error> {
        let agent = |row: &Row| {
            let suspended = row.opt_json::<StoredSuspension>("suspension")?.is_some();
            let claimant = Claimant { name: row.parse("name")?, labels: row.json("labels")?, suspended };
            Ok((row.parse("id")?, claimant, row.time("updated_at")?))
        };
        self.all(&AGENTS_CHANGED_SINCE, values![since]).await?.iter().map(agent).collect()
    }
}

#[cfg(test)]
pub(super) fn all_statements() -> &'static [&'static super::sql::Statement] {
    ALL
}
