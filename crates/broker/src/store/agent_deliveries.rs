//! Deliveries that agents send. As those of brokers they are claimed under a lease and settled under a token; what differs is that each is
//! chosen before it is claimed, because an agent takes so many of all its webhooks together.

use brokkr_api::{AgentId, DeliveryId, Labels, Name, Timestamp, WebhookId};
use serde::Serialize;

use super::{
    Db, Error, Tx,
    deliveries::{ClaimedDelivery, delivery_columns, found},
    sql::{Row, id_set, set, statements, values},
    work_claims::Claimant,
};

statements! {
    /// Suspension holds changes back, and telling of them is none: it is not asked for.
    CLAIMANT_OF_DELIVERIES = Select agents
        "SELECT a.name, a.labels, (SELECT c.value FROM counters c WHERE c.name = 'webhooks') AS changes FROM agents a
         WHERE a.id = $1 AND a.abandoned_at IS NULL";
    DUE_OF_WEBHOOKS = Select outbox
        "SELECT o.id, o.destination, o.position FROM each($1) CROSS JOIN outbox o WHERE o.id IN /*those of*/ (SELECT n.id FROM outbox n
             WHERE n.destination = item.value->>'id' AND n.state = 'pending' AND n.next_attempt_at <= $2
             ORDER BY n.next_attempt_at, n.id LIMIT $3 /*those*/)";
    CLAIMABLE_AMONG = Select outbox
        concat!("SELECT ", delivery_columns!(), "
         FROM each($1) CROSS JOIN outbox o CROSS JOIN events e WHERE o.id IN /*those of*/ (SELECT n.id FROM outbox n
             WHERE n.id = item.value->>'id' AND n.state = 'pending' AND n.next_attempt_at <= $2 /*lock free*/ /*those*/) AND e.id = o.event_id");
    HELD_DELIVERIES = Select outbox
        concat!("SELECT ", delivery_columns!(), ", o.attempts, o.tries, o.token, o.log, o.last_traceparent
         FROM each($1) CROSS JOIN outbox o CROSS JOIN events e WHERE o.id = item.value->>'id' AND o.token = CAST(item.value->>'token' AS BIGINT)
           AND o.state = 'pending' AND o.lease_owner = $2 AND e.id = o.event_id");
    STILL_CLAIMED = Select outbox
        "SELECT o.id FROM each($1) CROSS JOIN outbox o WHERE o.id = item.value->>'id' AND o.token = CAST(item.value->>'token' AS BIGINT)
           AND o.state = 'pending' AND o.lease_owner IS NOT NULL";
    SENDING_AGENTS = Select agents
        "SELECT a.name, a.labels, a.capabilities, (SELECT p.last_seen_at FROM presence p WHERE p.agent_id = a.id) AS last_seen_at
         FROM agents a WHERE a.abandoned_at IS NULL AND a.deactivated_at IS NULL";
}

/// A delivery that could be claimed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DueDelivery {
    pub(crate) id: DeliveryId,
    pub(crate) webhook: WebhookId,
    pub(crate) position: Option<i64>,
}

/// A claim of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct DeliveryClaim {
    pub(crate) id: DeliveryId,
    pub(crate) token: u64,
}

/// An agent, as those see it who ask whether anybody sends.
#[derive(Debug, Clone)]
pub(crate) struct SendingAgent {
    pub(crate) name: Name,
    pub(crate) labels: Labels,
    pub(crate) capabilities: Vec<String>,
    pub(crate) last_seen_at: Option<Timestamp>,
}

/// Who holds what an agent has claimed.
fn holder(agent: AgentId) -> String {
    format!("agent:{agent}")
}

impl Tx {
    /// Claims those of these deliveries that are due still and that nobody else is claiming, until `until`.
    pub(crate) async fn claim_chosen_deliveries(
        &mut self,
        agent: AgentId,
        chosen: &[DeliveryId],
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<ClaimedDelivery>, Error> {
        let rows = self.all(&CLAIMABLE_AMONG, values![id_set(chosen)?, now]).await?;
        let found = rows.iter().map(found).collect::<Result<Vec<_>, _>>()?;
        self.mark_claimed(found, &holder(agent), until).await
    }

    /// Those of these claims that the agent has still.
    pub(crate) async fn held_deliveries(
        &mut self,
        agent: AgentId,
        claims: &[DeliveryClaim],
    ) -> Result<Vec<ClaimedDelivery>, Error> {
        let held = |row: &Row| {
            let mut delivery = found(row)?;
            delivery.take_claim(row)?;
            Ok(delivery)
        };
        self.all(&HELD_DELIVERIES, values![set(claims)?, holder(agent)]).await?.iter().map(held).collect()
    }
}

impl Db {
    /// The agent as claims see it, and a number that is another one when webhooks have changed.
    pub(crate) async fn claimant_of_deliveries(&self, agent: AgentId) -> Result<Option<(Claimant, u64)>, Error> {
        let row = self.optional(&CLAIMANT_OF_DELIVERIES, values![agent]).await?;
        let claimant = |row: &Row| Ok(Claimant { name: row.parse("name")?, labels: row.json("labels")?, suspended: false });
        row.map(|row| Ok((claimant(&row)?, row.count("changes")?))).transpose()
    }

    /// What is due of these webhooks, at most `each` of each.
    pub(crate) async fn due_deliveries(
        &self,
        webhooks: &[WebhookId],
        each: u32,
        now: Timestamp,
    ) -> Result<Vec<DueDelivery>, Error> {
        let due = |row: &Row| {
            Ok(DueDelivery { id: row.parse("id")?, webhook: row.parse("destination")?, position: row.opt_int("position")? })
        };
        self.all(&DUE_OF_WEBHOOKS, values![id_set(webhooks)?, now, each]).await?.iter().map(due).collect()
    }

    /// Those of these claims that were neither settled nor taken over.
    pub(crate) async fn still_claimed(&self, claims: &[DeliveryClaim]) -> Result<Vec<DeliveryId>, Error> {
        self.all(&STILL_CLAIMED, values![set(claims)?]).await?.iter().map(|row| row.parse("id")).collect()
    }

    /// Every agent whose key opens anything.
    pub(crate) async fn sending_agents(&self) -> Result<Vec<SendingAgent>, Error> {
        let agent = |row: &Row| {
            Ok(SendingAgent {
                name: row.parse("name")?,
                labels: row.json("labels")?,
                capabilities: row.opt_json("capabilities")?.unwrap_or_default(),
                last_seen_at: row.opt_time("last_seen_at")?,
            })
        };
        self.all(&SENDING_AGENTS, vec![]).await?.iter().map(agent).collect()
    }
}

#[cfg(test)]
pub(super) fn all_statements() -> &'static [&'static super::sql::Statement] {
    ALL
}
