//! Work orders. Whatever happens to one is saved under the version that it was read in, so that of two who change it at once one is
//! told to look again; a claim and a renewal are one guarded statement each.

use std::collections::BTreeMap;

use brokkr_api::{
    AgentId, GeneratorId, KeyId, Name, TargetSelector, Timestamp, WorkOrderId,
    reports::ObjectRef,
    work_orders::{SecretReference, Work, WorkKind, WorkState},
};
use brokkr_telemetry::TraceContext;
use serde::{Deserialize, Serialize};

use super::{
    Db, Error, Queue, Scope, Tx,
    rollouts::{causes, trace},
    sql::{Row, json, set, statements, values},
};
use crate::domain::work_order::{Standing, Terms};

/// What every reading of an order selects.
macro_rules! columns {
    () => {
        "o.id, o.name, o.generator_id, o.kind, o.terms, o.priority, o.state, o.row_version, o.attempts, o.attempts_left, o.ready_at,
         o.deadline_at, o.agent_id, o.token, o.lease_until, o.cancel_wanted_at, o.claimed_at, o.started_at, o.finished_at, o.outcome,
         o.progress, o.object, o.traceparent, o.tracestate, o.created_at,
         (SELECT a.name FROM agents a WHERE a.id = o.agent_id) AS agent_name,
         (SELECT q.targets FROM work_order_queues q WHERE q.id = o.queue_id) AS targets"
    };
}

// In `scope`, $2 is the owner's id or * for everybody's.
statements! {
    INSERT_QUEUE = Insert work_order_queues
        "INSERT INTO work_order_queues (id, kind, targets, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING";
    INSERT_ORDER = Insert work_orders
        "INSERT INTO work_orders (id, name, generator_id, kind, queue_id, terms, work, digest, idempotency_key, priority, state, row_version,
             attempts, attempts_left, ready_at, deadline_at, token, traceparent, tracestate, created_by, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 1, 0, $12, $13, $14, 0, $15, $16, $17, $18)";
    FIND_IDEMPOTENT_ORDER = Select work_orders
        "SELECT id, digest FROM work_orders WHERE COALESCE(generator_id, '') = $1 AND idempotency_key = $2";
    FIND_ORDER = Select work_orders
        concat!("SELECT ", columns!(), " FROM work_orders o WHERE o.id = $1 AND ($2 = '*' OR COALESCE(o.generator_id, '') = $2)");
    LOCK_ORDER = Select work_orders
        concat!("SELECT ", columns!(), " FROM work_orders o WHERE o.id = $1 AND ($2 = '*' OR COALESCE(o.generator_id, '') = $2) /*lock*/");
    LIST_ORDERS = Select work_orders
        concat!("SELECT ", columns!(), " FROM work_orders o WHERE ($1 = '*' OR COALESCE(o.generator_id, '') = $1)
           AND ($2 = '' OR o.state = $2) AND ($3 = '' OR o.name = $3) AND ($4 = '' OR o.id < $4) ORDER BY o.id DESC LIMIT $5");
    READ_ORDER_LOG = Select work_orders
        "SELECT o.log FROM work_orders o WHERE o.id = $1 AND ($2 = '*' OR COALESCE(o.generator_id, '') = $2)";
    SAVE_ORDERS = Update work_orders
        "UPDATE work_orders SET state = item.value->>'state', row_version = row_version + 1,
             attempts = CAST(item.value->>'attempts' AS BIGINT), attempts_left = CAST(item.value->>'attempts_left' AS BIGINT),
             ready_at = CAST(item.value->>'ready_at' AS BIGINT), deadline_at = CAST(item.value->>'deadline_at' AS BIGINT),
             agent_id = item.value->>'agent', token = CAST(item.value->>'token' AS BIGINT),
             lease_until = CAST(item.value->>'lease_until' AS BIGINT), cancel_wanted_at = CAST(item.value->>'cancel_wanted_at' AS BIGINT),
             claimed_at = CAST(item.value->>'claimed_at' AS BIGINT), started_at = CAST(item.value->>'started_at' AS BIGINT),
             finished_at = CAST(item.value->>'finished_at' AS BIGINT), outcome = item.value->>'outcome',
             object = COALESCE(item.value->>'object', object)
         FROM each($1) WHERE work_orders.id = item.value->>'id' AND row_version = CAST(item.value->>'version' AS BIGINT)";
    SAVE_ORDER_LOG = Update work_orders "UPDATE work_orders SET log = $2 WHERE id = $1";
    /// What time alone changes: whose turn comes, whose lease has ended, whose deadline is over.
    DUE_ORDERS = Select work_orders
        concat!("SELECT ", columns!(), " FROM work_orders o WHERE o.id IN
             (SELECT w.id FROM (SELECT id FROM work_orders WHERE state = 'waiting' AND ready_at <= $1 ORDER BY ready_at LIMIT $2) w
              UNION ALL SELECT l.id FROM (SELECT id FROM work_orders WHERE lease_until IS NOT NULL AND lease_until <= $1 ORDER BY lease_until LIMIT $2) l
              UNION ALL SELECT d.id FROM (SELECT id FROM work_orders WHERE deadline_at IS NOT NULL AND finished_at IS NULL AND deadline_at <= $1
                  AND state <> 'running' ORDER BY deadline_at LIMIT $2) d) /*lock free*/");
    CAUSES_OF_DUE_ORDERS = Select work_orders
        "SELECT o.traceparent, o.tracestate FROM work_orders o WHERE o.id IN
             (SELECT w.id FROM (SELECT id FROM work_orders WHERE state = 'waiting' AND ready_at <= $1 ORDER BY ready_at LIMIT 16) w
              UNION ALL SELECT l.id FROM (SELECT id FROM work_orders WHERE lease_until IS NOT NULL AND lease_until <= $1 ORDER BY lease_until LIMIT 16) l
              UNION ALL SELECT d.id FROM (SELECT id FROM work_orders WHERE deadline_at IS NOT NULL AND finished_at IS NULL AND deadline_at <= $1
                  AND state <> 'running' ORDER BY deadline_at LIMIT 16) d) LIMIT 16";
    COUNT_ORDERS = Select work_orders
        "SELECT (SELECT count(*) FROM work_orders WHERE state = 'queued') AS queued, (SELECT MIN(ready_at) FROM work_orders WHERE state = 'queued') AS oldest,
             (SELECT count(*) FROM work_orders WHERE state = 'waiting') AS waiting, (SELECT count(*) FROM work_orders WHERE state = 'claimed') AS claimed,
             (SELECT count(*) FROM work_orders WHERE state = 'running') AS running";
    PRUNE_ORDERS = Delete work_orders
        "DELETE FROM work_orders WHERE id IN (SELECT o.id FROM work_orders o WHERE o.finished_at IS NOT NULL AND o.finished_at < $1
             ORDER BY o.finished_at LIMIT $2)";
}

/// What an agent needs to carry an order out, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Payload {
    pub(crate) work: Work,
    pub(crate) parameters: BTreeMap<String, String>,
    pub(crate) secrets: Vec<SecretReference>,
    pub(crate) ttl_seconds: u32,
}

/// An order to be stored.
pub(crate) struct NewWorkOrder<'a> {
    pub(crate) id: WorkOrderId,
    pub(crate) name: &'a Name,
    pub(crate) generator: Option<GeneratorId>,
    pub(crate) queue: &'a Queue,
    pub(crate) terms: &'a Terms,
    pub(crate) payload: &'a Payload,
    pub(crate) digest: &'a str,
    pub(crate) idempotency_key: Option<&'a str>,
    pub(crate) priority: i32,
    pub(crate) standing: &'a Standing,
    pub(crate) trace: Option<&'a TraceContext>,
    pub(crate) created_by: KeyId,
    pub(crate) now: Timestamp,
}

/// An order as it is read.
#[derive(Debug, Clone)]
pub(crate) struct WorkOrderRow {
    pub(crate) id: WorkOrderId,
    pub(crate) name: Name,
    pub(crate) generator: Option<GeneratorId>,
    pub(crate) kind: WorkKind,
    pub(crate) targets: TargetSelector,
    pub(crate) priority: i32,
    pub(crate) terms: Terms,
    pub(crate) version: u64,
    pub(crate) standing: Standing,
    pub(crate) agent_name: Option<Name>,
    pub(crate) progress: Option<String>,
    pub(crate) object: Option<ObjectRef>,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) created_at: Timestamp,
}

/// What becomes of an order, under the version that was read.
pub(crate) struct Saved<'a> {
    pub(crate) id: WorkOrderId,
    pub(crate) version: u64,
    pub(crate) standing: &'a Standing,
    /// What stands for it in the cluster; what was known stays when absent.
    pub(crate) object: Option<&'a ObjectRef>,
}

/// How many orders stand where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct OrderCounts {
    pub(crate) waiting: i64,
    pub(crate) queued: i64,
    pub(crate) claimed: i64,
    pub(crate) running: i64,
    pub(crate) oldest: Option<Timestamp>,
}

/// One item of the bound set. What is JSON in its column is a text in the set.
#[derive(Serialize)]
struct SavedItem {
    id: WorkOrderId,
    version: u64,
    state: WorkState,
    attempts: u32,
    attempts_left: u32,
    ready_at: i64,
    deadline_at: Option<i64>,
    agent: Option<AgentId>,
    token: u64,
    lease_until: Option<i64>,
    cancel_wanted_at: Option<i64>,
    claimed_at: Option<i64>,
    started_at: Option<i64>,
    finished_at: Option<i64>,
    outcome: Option<String>,
    object: Option<String>,
}

fn saved(saved: &Saved<'_>) -> Result<SavedItem, Error> {
    let standing = saved.standing;
    let micros = |at: Option<Timestamp>| at.map(Timestamp::as_micros);
    Ok(SavedItem {
        id: saved.id,
        version: saved.version,
        state: standing.state,
        attempts: standing.attempts,
        attempts_left: standing.attempts_left,
        ready_at: standing.ready_at.as_micros(),
        deadline_at: micros(standing.deadline_at),
        agent: standing.agent,
        token: standing.token,
        lease_until: micros(standing.lease_until),
        cancel_wanted_at: micros(standing.cancel_wanted_at),
        claimed_at: micros(standing.claimed_at),
        started_at: micros(standing.started_at),
        finished_at: micros(standing.finished_at),
        outcome: standing.outcome.as_ref().map(|outcome| json("outcome", outcome)).transpose()?,
        object: saved.object.map(|object| json("object", object)).transpose()?,
    })
}

fn order(row: &Row) -> Result<WorkOrderRow, Error> {
    let priority =
        i32::try_from(row.int("priority")?).map_err(|source| Error::Corrupt { column: "priority", source: source.into() })?;
    Ok(WorkOrderRow {
        id: row.parse("id")?,
        name: row.parse("name")?,
        generator: row.opt_parse("generator_id")?,
        kind: row.word("kind", WorkKind::from_word)?,
        targets: row.json("targets")?,
        priority,
        terms: row.json("terms")?,
        version: row.count("row_version")?,
        standing: Standing {
            state: row.word("state", WorkState::from_word)?,
            attempts: row.number("attempts")?,
            attempts_left: row.number("attempts_left")?,
            ready_at: row.time("ready_at")?,
            deadline_at: row.opt_time("deadline_at")?,
            agent: row.opt_parse("agent_id")?,
            token: row.count("token")?,
            lease_until: row.opt_time("lease_until")?,
            cancel_wanted_at: row.opt_time("cancel_wanted_at")?,
            claimed_at: row.opt_time("claimed_at")?,
            started_at: row.opt_time("started_at")?,
            finished_at: row.opt_time("finished_at")?,
            outcome: row.opt_json("outcome")?,
        },
        agent_name: row.opt_parse("agent_name")?,
        progress: row.opt_json("progress")?,
        object: row.opt_json("object")?,
        trace: trace(row)?,
        created_at: row.time("created_at")?,
    })
}

impl Tx {
    /// Stores an order, and its queue where it is new.
    pub(crate) async fn insert_work_order(&mut self, new: &NewWorkOrder<'_>) -> Result<(), Error> {
        let queue = new.queue;
        let targets = json("targets", &queue.targets)?;
        self.execute(&INSERT_QUEUE, values![queue.id.as_str(), queue.kind.as_str(), targets, new.now]).await?;
        let values = values![
            new.id,
            new.name.as_str(),
            new.generator,
            queue.kind.as_str(),
            queue.id.as_str(),
            json("terms", new.terms)?,
            json("work", new.payload)?,
            new.digest,
            new.idempotency_key,
            i64::from(new.priority),
            new.standing.state.as_str(),
            new.standing.attempts_left,
            new.standing.ready_at,
            new.standing.deadline_at.map(Timestamp::as_micros),
            new.trace.map(|trace| trace.traceparent.as_str()),
            new.trace.and_then(|trace| trace.tracestate.as_deref()),
            new.created_by,
            new.now
        ];
        self.execute(&INSERT_ORDER, values).await.map(drop)
    }

    /// An order in this scope, locked until the transaction ends.
    pub(crate) async fn lock_work_order(&mut self, scope: Scope, id: WorkOrderId) -> Result<Option<WorkOrderRow>, Error> {
        self.optional(&LOCK_ORDER, values![id, scope.owner_or_all()]).await?.as_ref().map(order).transpose()
    }

    /// Saves what became of orders; tells how many still were in the version that was read.
    pub(crate) async fn save_work_orders(&mut self, orders: &[Saved<'_>]) -> Result<u64, Error> {
        let items = orders.iter().map(saved).collect::<Result<Vec<_>, _>>()?;
        self.execute(&SAVE_ORDERS, values![set(&items)?]).await
    }

    /// Keeps the end of the log of the last attempt.
    pub(crate) async fn save_work_log(&mut self, id: WorkOrderId, log: &str) -> Result<(), Error> {
        self.execute(&SAVE_ORDER_LOG, values![id, log.as_bytes().to_vec()]).await.map(drop)
    }

    /// Orders that time alone changes, at most so many of each kind; those that somebody is changing now are left out.
    pub(crate) async fn due_work_orders(&mut self, now: Timestamp, limit: u32) -> Result<Vec<WorkOrderRow>, Error> {
        self.all(&DUE_ORDERS, values![now, limit]).await?.iter().map(order).collect()
    }
}

impl Db {
    /// The order that this idempotency key made, and the digest of its request.
    pub(crate) async fn find_idempotent_order(&self, scope: Scope, key: &str) -> Result<Option<(WorkOrderId, String)>, Error> {
        let owner = scope.generator().map(|id| id.to_string()).unwrap_or_default();
        let row = self.optional(&FIND_IDEMPOTENT_ORDER, values![owner, key]).await?;
        row.map(|row| Ok((row.parse("id")?, row.text("digest")?))).transpose()
    }

    pub(crate) async fn find_work_order(&self, scope: Scope, id: WorkOrderId) -> Result<Option<WorkOrderRow>, Error> {
        self.optional(&FIND_ORDER, values![id, scope.owner_or_all()]).await?.as_ref().map(order).transpose()
    }

    /// Orders after a cursor, the newest first.
    pub(crate) async fn list_work_orders(
        &self,
        scope: Scope,
        state: Option<WorkState>,
        name: Option<&Name>,
        cursor: &str,
        limit: u32,
    ) -> Result<Vec<WorkOrderRow>, Error> {
        let (state, name) = (state.map_or("", WorkState::as_str), name.map_or("", Name::as_str));
        self.all(&LIST_ORDERS, values![scope.owner_or_all(), state, name, cursor, limit]).await?.iter().map(order).collect()
    }

    /// The end of an order's log; nothing where there is no such order.
    pub(crate) async fn read_work_log(&self, scope: Scope, id: WorkOrderId) -> Result<Option<String>, Error> {
        let row = self.optional(&READ_ORDER_LOG, values![id, scope.owner_or_all()]).await?;
        row.map(|row| Ok(String::from_utf8_lossy(&row.opt_bytes("log")?.unwrap_or_default()).into_owned())).transpose()
    }

    /// Where the orders come from that time alone changes now; nothing when there are none, which is the one question that an idle broker asks.
    pub(crate) async fn due_work_order_causes(&self, now: Timestamp) -> Result<Option<Vec<TraceContext>>, Error> {
        causes(&self.all(&CAUSES_OF_DUE_ORDERS, values![now]).await?)
    }

    pub(crate) async fn count_work_orders(&self) -> Result<OrderCounts, Error> {
        let row = self.optional(&COUNT_ORDERS, vec![]).await?.ok_or_else(|| Error::absent("queued"))?;
        Ok(OrderCounts {
            waiting: row.int("waiting")?,
            queued: row.int("queued")?,
            claimed: row.int("claimed")?,
            running: row.int("running")?,
            oldest: row.opt_time("oldest")?,
        })
    }

    /// Removes orders that were finished before this time, at most so many. Tells how many.
    pub(crate) async fn prune_work_orders(&self, before: Timestamp, limit: u32) -> Result<u64, Error> {
        let mut tx = self.begin().await?;
        let pruned = tx.execute(&PRUNE_ORDERS, values![before, limit]).await?;
        tx.commit().await?;
        Ok(pruned)
    }
}

#[cfg(test)]
pub(super) fn all_statements() -> &'static [&'static super::sql::Statement] {
    ALL
}
