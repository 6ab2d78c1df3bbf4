//! Events: written with the change that they tell of, given their stream position after commit.

use brokkr_api::{AgentId, EventId, StackId, Timestamp, WebhookId, events::Event};
use brokkr_telemetry::TraceContext;
use serde::Serialize;

use super::{
    Db, Error, NewAuditEntry, Scope, Tx,
    audit::insert_audit,
    fan_out::returning,
    rollouts::causes,
    sql::{Row, Value, set, statements, values},
};

/// Writes events, and answers what their deliveries need.
macro_rules! insert_events {
    ($events:literal, $first:literal, $known:literal) => {
        concat!(
            "INSERT INTO events (id, type, stack_id, agent_id, generation, data, traceparent, tracestate, created_at)
             SELECT item.value->>'id', item.value->>'type', item.value->>'stack', item.value->>'agent',
                 CAST(item.value->>'generation' AS BIGINT), item.value->>'data', item.value->>'traceparent', item.value->>'tracestate',
                 CAST(item.value->>'at' AS BIGINT) FROM each(",
            $events,
            ") WHERE TRUE ",
            returning!($first, $known)
        )
    };
}

statements! {
    INSERT_EVENTS = Insert events insert_events!("$1", "$2", "$3");
    INSERT_EVENTS_AND_AUDIT = Insert events
        concat!("/*first*/ ", insert_audit!(), " /*then*/ ", insert_events!("$15", "$16", "$17"));
    TAKE_LEASE = Insert leases
        "INSERT INTO leases (name, holder, token, expires_at) VALUES ($1, $2, 1, $3)
         ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at,
             token = CASE WHEN leases.holder = excluded.holder THEN leases.token ELSE leases.token + 1 END
         WHERE leases.holder = excluded.holder OR leases.expires_at < $4
         RETURNING token";
    UNSEQUENCED = Select events "SELECT id, created_at FROM events WHERE position IS NULL ORDER BY created_at, id LIMIT 500";
    LOCK_POSITIONS = Select counters "SELECT value FROM counters WHERE name = 'event_position' /*lock*/";
    NEXT_POSITIONS = Update counters "UPDATE counters SET value = value + $1 WHERE name = 'event_position' RETURNING value";
    GIVE_POSITIONS = Update events
        "UPDATE events SET position = given.position
         FROM (SELECT e.id, CAST(item.value->>'position' AS BIGINT) AS position FROM each($1) CROSS JOIN events e
               WHERE e.id = item.value->>'id' AND e.position IS NULL) given
         WHERE events.id = given.id";
    LIST_EVENTS = Select events
        "SELECT e.id, e.position, e.type, e.stack_id, e.agent_id, e.generation, e.data, e.traceparent, e.created_at FROM events e
         WHERE e.position > $1 AND ($3 = '*' OR e.stack_id IN (SELECT s.id FROM stacks s WHERE COALESCE(s.generator_id, '') = $3))
           AND ($4 = '' OR e.type = $4) AND ($5 = '' OR SUBSTR(e.type, 1, LENGTH($5)) = $5)
           AND ($6 = '' OR e.stack_id = $6 OR e.stack_id IN (SELECT s.id FROM stacks s WHERE s.name = $6
                AND ($3 = '*' OR COALESCE(s.generator_id, '') = $3)))
           AND ($7 = '' OR e.agent_id IN (SELECT a.id FROM agents a WHERE a.name = $7 OR a.former_name = $7))
         ORDER BY e.position LIMIT $2";
    PRUNE_EVENTS = Delete events
        "DELETE FROM events WHERE id IN (SELECT e.id FROM events e WHERE e.created_at < $1 AND e.position IS NOT NULL
             AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.event_id = e.id) ORDER BY e.created_at LIMIT $2)";
    FIRST_UNSEQUENCED = Select events
        "SELECT traceparent, tracestate FROM events WHERE position IS NULL ORDER BY created_at, id LIMIT 16";
}

/// Something that happened, in the past tense.
pub(crate) struct NewEvent<'a> {
    pub(crate) id: EventId,
    /// `stack.created`, `deployment.applied`, …
    pub(crate) kind: &'static str,
    pub(crate) stack: Option<StackId>,
    pub(crate) agent: Option<AgentId>,
    pub(crate) generation: Option<u64>,
    pub(crate) data: serde_json::Value,
    pub(crate) trace: Option<&'a TraceContext>,
    pub(crate) now: Timestamp,
}

/// One item of the bound set. What is JSON in its column is a text in the set.
#[derive(Serialize)]
struct Item<'a> {
    id: EventId,
    #[serde(rename = "type")]
    kind: &'static str,
    stack: Option<StackId>,
    agent: Option<AgentId>,
    generation: Option<u64>,
    data: String,
    traceparent: Option<&'a str>,
    tracestate: Option<&'a str>,
    at: i64,
}

impl<'a> Item<'a> {
    fn of(event: &NewEvent<'a>) -> Self {
        Self {
            id: event.id,
            kind: event.kind,
            stack: event.stack,
            agent: event.agent,
            generation: event.generation,
            data: event.data.to_string(),
            traceparent: event.trace.map(|trace| trace.traceparent.as_str()),
            tracestate: event.trace.and_then(|trace| trace.tracestate.as_deref()),
            at: event.now.as_micros(),
        }
    }
}

#[derive(Serialize)]
struct Positioned<'a> {
    id: &'a str,
    position: i64,
}

impl Tx {
    /// Writes events and the deliveries that they cause, in two statements at most, whatever their number.
    pub(crate) async fn insert_events(&mut self, events: &[NewEvent<'_>]) -> Result<(), Error> {
        if events.is_empty() {
            return Ok(());
        }
        let values = self.values_of(events)?;
        let rows = self.all(&INSERT_EVENTS, values).await?;
        self.enqueue(events, &rows).await
    }

    /// The same, and the entry of the audit log about them, in no statement more.
    pub(crate) async fn record(&mut self, entry: &NewAuditEntry<'_>, events: &[NewEvent<'_>]) -> Result<(), Error> {
        let mut values = entry.values();
        values.extend(self.values_of(events)?);
        let rows = self.all(&INSERT_EVENTS_AND_AUDIT, values).await?;
        self.enqueue(events, &rows).await
    }

    /// From here on the transaction goes by what it knows now of the webhooks, because the answer is told against that: somebody else's
    /// commit may teach this broker more while the statement runs.
    pub(super) fn values_of(&mut self, events: &[NewEvent<'_>]) -> Result<Vec<Value>, Error> {
        #[cfg(test)]
        for event in events {
            assert_eq!(crate::domain::webhook::schema::details_depart(event.kind, &event.data), None);
        }
        self.tell();
        let known = self.filters();
        let items: Vec<_> = events.iter().map(Item::of).collect();
        let first = events.first().map(|event| event.id.to_string());
        let values = values![set(&items)?, first, known.version];
        self.filters = Some(known);
        Ok(values)
    }

    /// Gives committed events their positions, in the order in which they happened, and their deliveries their places. At most 500 at
    /// once.
    async fn give_positions(&mut self) -> Result<Sequenced, Error> {
        // Whoever comes second looks when the first is done, so that no position is given for nothing.
        self.optional(&LOCK_POSITIONS, vec![]).await?;
        let rows = self.all(&UNSEQUENCED, vec![]).await?;
        let ids = rows.iter().map(|row| row.text("id")).collect::<Result<Vec<_>, _>>()?;
        let times = rows.iter().map(|row| row.time("created_at")).collect::<Result<Vec<_>, _>>()?;
        let Some(newest) = times.into_iter().max() else { return Ok(Sequenced::default()) };
        let count = i64::try_from(ids.len()).unwrap_or(i64::MAX);
        let row = self.optional(&NEXT_POSITIONS, values![count]).await?.ok_or_else(|| Error::absent("value"))?;
        let first = row.int("value")? - count + 1;
        let positioned: Vec<_> = ids.iter().zip(first..).map(|(id, position)| Positioned { id, position }).collect();
        self.execute(&GIVE_POSITIONS, values![set(&positioned)?]).await?;
        let webhooks = self.place_deliveries(first, first + count - 1, newest).await?;
        Ok(Sequenced { events: ids.len(), webhooks })
    }
}

/// What a sequencer did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Sequenced {
    pub(crate) events: usize,
    /// Who has something to be sent now.
    pub(crate) webhooks: Vec<WebhookId>,
}

/// Which events a list shows.
#[derive(Debug)]
pub(crate) struct EventFilter<'a> {
    pub(crate) scope: Scope,
    pub(crate) kind: Option<&'a str>,
    /// A stack's name or id.
    pub(crate) stack: &'a str,
    pub(crate) agent: &'a str,
}

fn event(row: &Row) -> Result<Event, Error> {
    let trace = row.opt_text("traceparent")?.and_then(|traceparent| TraceContext::from_parts(&traceparent, None));
    Ok(Event {
        id: row.parse("id")?,
        position: row.count("position")?,
        kind: row.text("type")?,
        stack_id: row.opt_parse("stack_id")?,
        agent_id: row.opt_parse("agent_id")?,
        generation: row.opt_int("generation")?.and_then(|generation| u64::try_from(generation).ok()),
        data: row.json("data")?,
        trace_id: trace.as_ref().map(|trace| trace.trace_id().to_string()),
        traceparent: trace.map(|trace| trace.traceparent),
        created_at: row.time("created_at")?,
    })
}

impl Db {
    /// Events after a position, the oldest first.
    pub(crate) async fn list_events(&self, filter: &EventFilter<'_>, after: u64, limit: u32) -> Result<Vec<Event>, Error> {
        let kind = filter.kind.unwrap_or_default();
        let (whole, prefix) = if kind.ends_with('.') { ("", kind) } else { (kind, "") };
        let values = values![after, limit, filter.scope.owner_or_all(), whole, prefix, filter.stack, filter.agent];
        self.all(&LIST_EVENTS, values).await?.iter().map(event).collect()
    }

    /// Removes the oldest events from before this time that nobody has to be told of any more, at most so many. Tells how many.
    pub(crate) async fn prune_events(&self, before: Timestamp, limit: u32) -> Result<u64, Error> {
        let mut tx = self.begin().await?;
        let pruned = tx.execute(&PRUNE_EVENTS, values![before, limit]).await?;
        tx.commit().await?;
        Ok(pruned)
    }

    /// Takes or renews a lease on background work; false while another broker holds it.
    pub(crate) async fn take_lease(
        &self,
        name: &'static str,
        holder: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, Error> {
        let mut tx = self.begin().await?;
        let taken = tx.optional(&TAKE_LEASE, values![name, holder, until, now]).await?.is_some();
        tx.commit().await?;
        Ok(taken)
    }

    /// Whether events wait for their positions, and the traces that the first of them happened in: the one question that an idle
    /// broker asks.
    pub(crate) async fn unsequenced_events(&self) -> Result<Option<Vec<TraceContext>>, Error> {
        causes(&self.all(&FIRST_UNSEQUENCED, vec![]).await?)
    }

    /// Gives waiting events their positions and their deliveries their places, in one transaction. Several brokers may do it at the same
    /// time.
    pub(crate) async fn sequence(&self) -> Result<Sequenced, Error> {
        let mut tx = self.begin().await?;
        let given = tx.give_positions().await?;
        tx.commit().await?;
        Ok(given)
    }

    /// The same, for who asks how many events it were.
    pub(crate) async fn sequence_events(&self) -> Result<usize, Error> {
        Ok(self.sequence().await?.events)
    }
}

#[cfg(test)]
pub(super) fn all_statements() -> &'static [&'static super::sql::Statement] {
    ALL
}
