//! Deliveries as people look at them, and those that are sent again.

use brokkr_api::{
    DeliveryId, EventId, Timestamp, WebhookId,
    webhooks::{DeliveryAttempt, DeliveryState},
};
use brokkr_telemetry::TraceContext;

use super::{
    Db, Error, Tx,
    deliveries::Line,
    rollouts::trace,
    sql::{Row, statements, values},
};

statements! {
    LIST_DELIVERIES = Select outbox
        "SELECT o.id, o.event_id, o.state, o.attempts, o.next_attempt_at, o.created_at, o.finished_at, o.traceparent, o.tracestate, e.type
         FROM outbox o JOIN events e ON e.id = o.event_id WHERE o.destination = $1 AND ($2 = '' OR o.id < $2) AND ($3 = '' OR o.state = $3)
         ORDER BY o.id DESC LIMIT $4";
    FIND_DELIVERY = Select outbox
        "SELECT o.id, o.event_id, o.state, o.attempts, o.next_attempt_at, o.created_at, o.finished_at, o.traceparent, o.tracestate, o.log, e.type
         FROM outbox o JOIN events e ON e.id = o.event_id WHERE o.destination = $1 AND o.id = $2";
    REPLAY_ONE = Update outbox
        "UPDATE outbox SET state = CASE WHEN ordering_key IS NULL THEN 'pending' ELSE 'held' END, tries = 0, next_attempt_at = $3, finished_at = NULL
         WHERE destination = $1 AND id = $2 AND finished_at IS NOT NULL RETURNING ordering_key, created_at";
    REPLAY_RANGE = Update outbox
        "UPDATE outbox SET state = CASE WHEN ordering_key IS NULL THEN 'pending' ELSE 'held' END, tries = 0, next_attempt_at = $4, finished_at = NULL
         WHERE id IN (SELECT r.id FROM outbox r WHERE r.destination = $1 AND r.created_at >= $2 AND r.created_at < $3 AND r.finished_at IS NOT NULL
             ORDER BY r.created_at, r.id LIMIT $5) RETURNING ordering_key, created_at";
    REPLAY_DEAD = Update outbox
        "UPDATE outbox SET state = CASE WHEN ordering_key IS NULL THEN 'pending' ELSE 'held' END, tries = 0, next_attempt_at = $2, finished_at = NULL
         WHERE id IN (SELECT r.id FROM outbox r WHERE r.destination = $1 AND r.state = 'dead' ORDER BY r.id LIMIT $3) RETURNING ordering_key, created_at";
}

/// How many deliveries are sent again, and when the newest of them was made.
type Replays = (u64, Option<Timestamp>);

/// A delivery as it is listed.
#[derive(Debug)]
pub(crate) struct DeliveryRow {
    pub(crate) id: DeliveryId,
    pub(crate) event: EventId,
    pub(crate) kind: String,
    pub(crate) state: DeliveryState,
    pub(crate) attempts: u32,
    pub(crate) next_attempt_at: Timestamp,
    pub(crate) created_at: Timestamp,
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) log: Vec<DeliveryAttempt>,
}

fn delivery(row: &Row, with_log: bool) -> Result<DeliveryRow, Error> {
    Ok(DeliveryRow {
        id: row.parse("id")?,
        event: row.parse("event_id")?,
        kind: row.text("type")?,
        state: row.word("state", DeliveryState::from_word)?,
        attempts: row.number("attempts")?,
        next_attempt_at: row.time("next_attempt_at")?,
        created_at: row.time("created_at")?,
        finished_at: row.opt_time("finished_at")?,
        trace: trace(row)?,
        log: if with_log { row.opt_json("log")?.unwrap_or_default() } else { Vec::new() },
    })
}

impl Tx {
    /// Makes a finished delivery due again; tells how many it were.
    pub(crate) async fn replay_one(&mut self, webhook: WebhookId, id: DeliveryId, now: Timestamp) -> Result<Replays, Error> {
        self.lock_webhooks(&[webhook]).await?;
        let rows = self.all(&REPLAY_ONE, values![webhook, id, now]).await?;
        self.replayed(webhook, &rows, now).await
    }

    /// Makes finished deliveries of a time due again, at most `limit`.
    pub(crate) async fn replay_range(
        &mut self,
        webhook: WebhookId,
        since: Timestamp,
        until: Timestamp,
        limit: u32,
        now: Timestamp,
    ) -> Result<Replays, Error> {
        self.lock_webhooks(&[webhook]).await?;
        let rows = self.all(&REPLAY_RANGE, values![webhook, since, until, now, limit]).await?;
        self.replayed(webhook, &rows, now).await
    }

    /// Makes deliveries due again that were given up, at most `limit`.
    pub(crate) async fn replay_dead(&mut self, webhook: WebhookId, limit: u32, now: Timestamp) -> Result<Replays, Error> {
        self.lock_webhooks(&[webhook]).await?;
        let rows = self.all(&REPLAY_DEAD, values![webhook, now, limit]).await?;
        self.replayed(webhook, &rows, now).await
    }

    async fn replayed(&mut self, webhook: WebhookId, rows: &[Row], now: Timestamp) -> Result<Replays, Error> {
        let keys = rows.iter().map(|row| row.opt_text("ordering_key")).collect::<Result<Vec<_>, _>>()?;
        let mut lines: Vec<_> = keys.into_iter().flatten().map(|key| Line { webhook, key }).collect();
        lines.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        lines.dedup();
        self.promote(&lines, now).await?;
        let times = rows.iter().map(|row| row.time("created_at")).collect::<Result<Vec<_>, _>>()?;
        Ok((rows.len() as u64, times.into_iter().max()))
    }
}

impl Db {
    /// A page of a webhook's deliveries, the newest first.
    pub(crate) async fn list_deliveries(
        &self,
        webhook: WebhookId,
        state: Option<DeliveryState>,
        cursor: &str,
        limit: u32,
    ) -> Result<Vec<DeliveryRow>, Error> {
        let state = state.map_or("", DeliveryState::as_str);
        let rows = self.all(&LIST_DELIVERIES, values![webhook, cursor, state, limit]).await?;
        rows.iter().map(|row| delivery(row, false)).collect()
    }

    /// One delivery of a webhook, with its attempts.
    pub(crate) async fn find_delivery(&self, webhook: WebhookId, id: DeliveryId) -> Result<Option<DeliveryRow>, Error> {
        let row = self.optional(&FIND_DELIVERY, values![webhook, id]).await?;
        row.map(|row| delivery(&row, true)).transpose()
    }
}

#[cfg(test)]
pub(super) fn all_statements() -> &'static [&'static super::sql::Statement] {
    ALL
}
