//! Deliveries on their way. A claim is a few statements for all webhooks together, and costs the same whatever waits: what is due of each is
//! found in an index that holds nothing else.

use std::collections::{HashMap, HashSet};

use brokkr_api::{
    AgentId, DeliveryId, EventId, StackId, Timestamp, WebhookId,
    webhooks::{DeliveryAttempt, DeliveryState},
};
use brokkr_telemetry::TraceContext;
use serde::Serialize;
use serde_json::Value as Json;

use super::{
    Db, Error, Mark, Tx,
    rollouts::trace,
    sql::{Row, id_set, json, set, statements, values},
};

/// What is read of a delivery with its event, before it is claimed.
macro_rules! delivery_columns {
    () => {
        "o.id, o.destination, o.event_id, o.position, o.fan_out, o.ordering_key, o.created_at, o.traceparent, o.tracestate, e.type, e.stack_id,
                e.agent_id, e.generation, e.data, (SELECT s.name FROM stacks s WHERE s.id = e.stack_id) AS stack,
                (SELECT COALESCE(a.former_name, a.name) FROM agents a WHERE a.id = e.agent_id) AS agent"
    };
}
pub(super) use delivery_columns;

statements! {
    /// When the next delivery of anybody is due, and how often webhooks have changed: all that an idle broker asks.
    NEXT_DUE = Select outbox
        "SELECT (SELECT o.next_attempt_at FROM outbox o WHERE o.state = 'pending' ORDER BY o.next_attempt_at LIMIT 1) AS due,
                (SELECT c.value FROM counters c WHERE c.name = 'webhooks') AS changes";
    CLAIMABLE = Select outbox
        concat!("SELECT ", delivery_columns!(), "
         FROM each($1) CROSS JOIN outbox o CROSS JOIN events e WHERE o.id IN /*those of*/ (SELECT n.id FROM outbox n
             WHERE n.destination = item.value->>'id' AND n.state = 'pending' AND n.next_attempt_at <= $2
             ORDER BY n.next_attempt_at, n.id LIMIT $3 /*lock free*/ /*those*/) AND e.id = o.event_id");
    /// What is read before a row is locked may be older than the row: what counts is answered by the claim itself.
    MARK_CLAIMED = Update outbox
        "UPDATE outbox SET attempts = attempts + 1, tries = tries + 1, token = token + 1, next_attempt_at = $2, lease_until = $2, lease_owner = $3
         FROM each($1) WHERE outbox.id = item.value->>'id' AND outbox.state = 'pending'
         RETURNING outbox.id AS id, outbox.attempts AS attempts, outbox.tries AS tries, outbox.token AS token, outbox.log AS log,
             outbox.last_traceparent AS last_traceparent";
    /// Which receiver works again is not failing, which fails has done so since the first time.
    MARK_AND_SETTLE = Update outbox
        "/*first*/ UPDATE webhooks SET failing_since = CASE WHEN item.value->>'ok' = 'y' THEN NULL ELSE CAST($3 AS BIGINT) END
         FROM each($2) WHERE webhooks.id = item.value->>'id' AND (item.value->>'ok' = 'y') = (failing_since IS NOT NULL)
         /*then*/ UPDATE outbox SET state = item.value->>'state', attempts = CAST(item.value->>'attempts' AS BIGINT), tries = CAST(item.value->>'tries' AS BIGINT),
             next_attempt_at = CAST(item.value->>'next' AS BIGINT), finished_at = CAST(item.value->>'finished' AS BIGINT),
             log = item.value->>'log', last_traceparent = item.value->>'trace', lease_until = NULL, lease_owner = NULL
         FROM each($1) WHERE outbox.id = item.value->>'id' AND token = CAST(item.value->>'token' AS BIGINT) AND state = 'pending'";
    /// The next of each line, where nobody is before it.
    PROMOTE = Update outbox
        "UPDATE outbox SET state = 'pending', next_attempt_at = $2
         WHERE state = 'held' AND id IN (SELECT (SELECT h.id FROM outbox h WHERE h.destination = item.value->>'webhook' AND h.ordering_key = item.value->>'key'
                  AND h.finished_at IS NULL AND h.position IS NOT NULL ORDER BY h.position LIMIT 1) FROM each($1) WHERE NOT EXISTS (SELECT 1 FROM outbox p
                  WHERE p.destination = item.value->>'webhook' AND p.ordering_key = item.value->>'key' AND p.state = 'pending'))";
    PLACE = Update outbox
        "UPDATE outbox SET position = (SELECT e.position FROM events e WHERE e.id = outbox.event_id),
             state = CASE WHEN ordering_key IS NULL THEN 'pending' ELSE 'held' END
         WHERE event_id IN /*those of*/ (SELECT e.id FROM events e WHERE e.position BETWEEN $1 AND $2 /*those*/) AND state = 'held' AND position IS NULL
         RETURNING destination, ordering_key";
    INSERT_DELIVERY = Insert outbox
        "INSERT INTO outbox (id, event_id, destination, state, attempts, next_attempt_at, traceparent, tracestate, created_at)
         VALUES ($1, $2, $3, 'pending', 0, $4, $5, $6, $4)";
    PRUNE_DELIVERIES = Delete outbox
        "DELETE FROM outbox WHERE id IN (SELECT o.id FROM outbox o WHERE o.finished_at IS NOT NULL AND o.finished_at < $1 ORDER BY o.finished_at LIMIT $2)";
    PRUNE_DELIVERIES_OF_DELETED = Delete outbox
        "DELETE FROM outbox WHERE id IN (SELECT o.id FROM outbox o WHERE o.destination IN
             (SELECT w.id FROM webhooks w WHERE w.deleted_at IS NOT NULL) AND (o.state <> 'held' OR o.position IS NOT NULL) LIMIT $1)";
}

/// A delivery that somebody has under a lease, with its event.
#[derive(Debug, Clone)]
pub(crate) struct ClaimedDelivery {
    pub(crate) id: DeliveryId,
    pub(crate) webhook: WebhookId,
    pub(crate) event: EventId,
    pub(crate) position: Option<u64>,
    pub(crate) fan_out: u64,
    pub(crate) ordering_key: Option<String>,
    /// Attempts with this one.
    pub(crate) attempts: u32,
    /// Of them those since it was due first or was replayed.
    pub(crate) tries: u32,
    pub(crate) token: u64,
    pub(crate) created_at: Timestamp,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) last_trace: Option<TraceContext>,
    pub(crate) log: DeliveryLog,
    pub(crate) kind: String,
    pub(crate) stack: Option<(StackId, Option<String>)>,
    pub(crate) agent: Option<(AgentId, Option<String>)>,
    pub(crate) generation: Option<u64>,
    pub(crate) data: Json,
}

impl ClaimedDelivery {
    /// Reads what belongs to the claim.
    pub(super) fn take_claim(&mut self, row: &Row) -> Result<(), Error> {
        (self.attempts, self.tries, self.token) = (row.number("attempts")?, row.number("tries")?, row.count("token")?);
        self.log = DeliveryLog(row.opt_json("log")?.unwrap_or_default());
        let last = row.opt_text("last_traceparent")?;
        self.last_trace = last.and_then(|last| TraceContext::from_parts(&last, None));
        Ok(())
    }
}

/// Most attempts that are remembered of a delivery: all of its schedule, and of its replays for a long time.
const MOST_LOGGED: usize = 100;

/// The last attempts, the oldest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeliveryLog(pub(crate) Vec<DeliveryAttempt>);

impl DeliveryLog {
    /// One more.
    pub(crate) fn push(&mut self, attempt: DeliveryAttempt) {
        if self.0.len() >= MOST_LOGGED {
            self.0.remove(0);
        }
        self.0.push(attempt);
    }
}

/// What becomes of a claimed delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judged {
    Delivered,
    Dead,
    /// Due again then.
    Again(Timestamp),
    /// Not tried at all: as it was before the claim, due again then.
    Released(Timestamp),
}

/// A delivery with what becomes of it.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) delivery: Box<ClaimedDelivery>,
    pub(crate) judged: Judged,
}

#[derive(Serialize)]
struct SettledItem {
    id: DeliveryId,
    token: u64,
    state: DeliveryState,
    attempts: u32,
    tries: u32,
    next: i64,
    finished: Option<i64>,
    log: String,
    trace: Option<String>,
}

#[derive(Serialize, PartialEq, Eq, Hash, Clone)]
pub(super) struct Line {
    pub(super) webhook: WebhookId,
    pub(super) key: String,
}

/// A delivery as it is found, before it is claimed.
pub(super) fn found(row: &Row) -> Result<ClaimedDelivery, Error> {
    Ok(ClaimedDelivery {
        id: row.parse("id")?,
        webhook: row.parse("destination")?,
        event: row.parse("event_id")?,
        position: row.opt_int("position")?.and_then(|position| u64::try_from(position).ok()),
        fan_out: row.count("fan_out")?,
        ordering_key: row.opt_text("ordering_key")?,
        attempts: 0,
        tries: 0,
        token: 0,
        created_at: row.time("created_at")?,
        trace: trace(row)?,
        last_trace: None,
        log: DeliveryLog::default(),
        kind: row.text("type")?,
        stack: row.opt_parse("stack_id")?.zip(Some(row.opt_text("stack")?)),
        agent: row.opt_parse("agent_id")?.zip(Some(row.opt_text("agent")?)),
        generation: row.opt_int("generation")?.and_then(|generation| u64::try_from(generation).ok()),
        data: row.json("data")?,
    })
}

fn settled(settled: &Settled, now: Timestamp) -> Result<SettledItem, Error> {
    let delivery = &settled.delivery;
    let tried = !matches!(settled.judged, Judged::Released(_));
    let (state, next, finished) = match settled.judged {
        Judged::Delivered => (DeliveryState::Delivered, now, Some(now)),
        Judged::Dead => (DeliveryState::Dead, now, Some(now)),
        Judged::Again(at) | Judged::Released(at) => (DeliveryState::Pending, at, None),
    };
    Ok(SettledItem {
        id: delivery.id,
        token: delivery.token,
        state,
        attempts: delivery.attempts - u32::from(!tried),
        tries: delivery.tries - u32::from(!tried),
        next: next.as_micros(),
        finished: finished.map(Timestamp::as_micros),
        log: json("log", &delivery.log.0)?,
        trace: delivery.last_trace.as_ref().map(|trace| trace.traceparent.clone()),
    })
}

impl Tx {
    /// Claims up to `each` deliveries that are due of each of these webhooks, until `until`.
    pub(crate) async fn claim_deliveries(
        &mut self,
        webhooks: &[WebhookId],
        each: u32,
        holder: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<ClaimedDelivery>, Error> {
        let rows = self.all(&CLAIMABLE, values![id_set(webhooks)?, now, each]).await?;
        let found = rows.iter().map(found).collect::<Result<Vec<_>, _>>()?;
        self.mark_claimed(found, holder, until).await
    }

    /// Claims what was found and is locked.
    pub(super) async fn mark_claimed(
        &mut self,
        found: Vec<ClaimedDelivery>,
        holder: &str,
        until: Timestamp,
    ) -> Result<Vec<ClaimedDelivery>, Error> {
        if found.is_empty() {
            return Ok(found);
        }
        let ids: Vec<_> = found.iter().map(|delivery| delivery.id).collect();
        let marked = self.all(&MARK_CLAIMED, values![id_set(&ids)?, until, holder]).await?;
        let mut found: HashMap<_, _> = found.into_iter().map(|delivery| (delivery.id, delivery)).collect();
        let mut claimed = Vec::with_capacity(marked.len());
        for row in &marked {
            let Some(mut delivery) = found.remove(&row.parse("id")?) else { continue };
            delivery.take_claim(row)?;
            claimed.push(delivery);
        }
        Ok(claimed)
    }

    /// Writes what became of deliveries, and how their receivers are. Those that somebody else has claimed since stay as they are.
    pub(crate) async fn settle_deliveries(&mut self, all: &[&Settled], marks: &[Mark], now: Timestamp) -> Result<(), Error> {
        let is_over = |settled: &&&Settled| matches!(settled.judged, Judged::Delivered | Judged::Dead);
        let line =
            |settled: &Settled| settled.delivery.ordering_key.clone().map(|key| Line { webhook: settled.delivery.webhook, key });
        let lines: Vec<_> = all.iter().filter(is_over).filter_map(|settled| line(settled)).collect();
        let failing = marks.iter().filter(|mark| !mark.ok).map(|mark| mark.id);
        let locked: HashSet<_> = lines.iter().map(|line| line.webhook).chain(failing).collect();
        self.lock_webhooks(&Vec::from_iter(locked)).await?;
        let items = all.iter().map(|one| settled(one, now)).collect::<Result<Vec<_>, _>>()?;
        self.execute(&MARK_AND_SETTLE, values![set(&items)?, set(marks)?, now]).await?;
        self.promote(&lines, now).await
    }

    /// Puts the deliveries of the events with these positions where they belong, and tells which webhooks have some. Those without order
    /// are due, those of a line are behind whatever is in it.
    pub(super) async fn place_deliveries(&mut self, first: i64, last: i64, now: Timestamp) -> Result<Vec<WebhookId>, Error> {
        let rows = self.all(&PLACE, values![first, last]).await?;
        let (mut webhooks, mut lines) = (HashSet::new(), HashSet::new());
        for row in &rows {
            let webhook = row.parse("destination")?;
            webhooks.insert(webhook);
            if let Some(key) = row.opt_text("ordering_key")? {
                lines.insert(Line { webhook, key });
            }
        }
        // Whoever finishes the first of a line lets the next one go: not while another is put behind it.
        let ordered: HashSet<_> = lines.iter().map(|line| line.webhook).collect();
        self.lock_webhooks(&Vec::from_iter(ordered)).await?;
        self.promote(&Vec::from_iter(lines), now).await?;
        Ok(Vec::from_iter(webhooks))
    }

    /// Lets the next of each line go.
    pub(super) async fn promote(&mut self, lines: &[Line], now: Timestamp) -> Result<(), Error> {
        if !lines.is_empty() {
            self.execute(&PROMOTE, values![set(lines)?, now]).await?;
        }
        Ok(())
    }

    /// Writes a delivery of an event that this transaction has written, for one webhook whatever it wants.
    pub(crate) async fn insert_delivery(
        &mut self,
        id: DeliveryId,
        event: EventId,
        webhook: WebhookId,
        trace: Option<&TraceContext>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let (parent, state) =
            (trace.map(|trace| trace.traceparent.as_str()), trace.and_then(|trace| trace.tracestate.as_deref()));
        self.execute(&INSERT_DELIVERY, values![id, event, webhook, now, parent, state]).await.map(drop)
    }
}

impl Db {
    /// When the next delivery of anybody is due, and a number that is another one when webhooks have changed.
    pub(crate) async fn next_delivery(&self) -> Result<(Option<Timestamp>, u64), Error> {
        let row = self.optional(&NEXT_DUE, vec![]).await?.ok_or_else(|| Error::absent("changes"))?;
        Ok((row.opt_time("due")?, row.count("changes")?))
    }

    /// Removes deliveries that were finished before this time and those of deleted webhooks, at most so many of each. Tells how many.
    pub(crate) async fn prune_deliveries(&self, before: Timestamp, limit: u32) -> Result<u64, Error> {
        let mut tx = self.begin().await?;
        let old = tx.execute(&PRUNE_DELIVERIES, values![before, limit]).await?;
        let deleted = tx.execute(&PRUNE_DELIVERIES_OF_DELETED, values![limit]).await?;
        tx.commit().await?;
        Ok(old.max(deleted))
    }
}

#[cfg(test)]
pub(super) fn all_statements() -> &'static [&'static super::sql::Statement] {
    ALL
}
