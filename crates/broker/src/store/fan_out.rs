//! From events to deliveries: in the transaction that gives events their positions, in a number of statements that depends neither on
//! the events nor on the webhooks.

use std::collections::{HashMap, HashSet};

use brokkr_api::{EventId, GeneratorId, Timestamp, WebhookId, webhooks::WebhookSettings};
use serde::Serialize;

use super::{
    Error, Tx,
    sql::{Row, set, statements, values},
};
use crate::domain::webhook::{
    delivery_id,
    filter::{Subject, SubjectStack, wants},
};

statements! {
    FILTERS = Select webhooks
        "SELECT w.id, w.generator_id, w.settings, w.created_at FROM webhooks w WHERE w.state = 'enabled' AND w.deleted_at IS NULL";
    SUBJECTS = Select events
        "SELECT e.id, e.position, e.type, e.stack_id, e.agent_id, e.traceparent, e.tracestate, e.created_at, s.name AS stack, s.labels AS stack_labels,
                s.generator_id, g.name AS generator, COALESCE(a.former_name, a.name) AS agent, a.labels AS agent_labels
         FROM events e LEFT JOIN stacks s ON s.id = e.stack_id LEFT JOIN generators g ON g.id = s.generator_id
         LEFT JOIN agents a ON a.id = e.agent_id WHERE e.position BETWEEN $1 AND $2 ORDER BY e.position";
    /// Of one key all wait behind the first that is not finished.
    INSERT_DELIVERIES = Insert outbox
        "INSERT INTO outbox (id, event_id, destination, ordering_key, position, fan_out, state, attempts, next_attempt_at, traceparent, tracestate,
             created_at)
         SELECT item.value->>'id', item.value->>'event', item.value->>'webhook', item.value->>'key', CAST(item.value->>'position' AS BIGINT),
             CAST(item.value->>'fan_out' AS BIGINT),
             CASE WHEN item.value->>'place' = 'free' OR (item.value->>'place' = 'first' AND NOT EXISTS (SELECT 1 FROM outbox o
                  WHERE o.destination = item.value->>'webhook' AND o.ordering_key = item.value->>'key' AND o.finished_at IS NULL))
                  THEN 'pending' ELSE 'held' END,
             0, CAST(item.value->>'at' AS BIGINT), item.value->>'traceparent', item.value->>'tracestate', CAST(item.value->>'at' AS BIGINT)
         FROM each($1) WHERE TRUE ON CONFLICT (event_id, destination) DO NOTHING";
}

/// What decides whether a webhook gets an event.
struct Filter {
    id: WebhookId,
    owner: Option<GeneratorId>,
    settings: WebhookSettings,
    created_at: Timestamp,
}

/// An event with what it is about.
struct Cause {
    id: EventId,
    position: i64,
    subject: Subject,
    key: Option<String>,
    traceparent: Option<String>,
    tracestate: Option<String>,
    created_at: Timestamp,
}

#[derive(Serialize)]
struct Item<'a> {
    id: String,
    event: EventId,
    webhook: WebhookId,
    key: Option<&'a str>,
    /// Without order, the first of its key here, or behind one that is here.
    place: &'static str,
    position: i64,
    fan_out: usize,
    traceparent: Option<&'a str>,
    tracestate: Option<&'a str>,
    at: i64,
}

fn filter(row: &Row) -> Result<Filter, Error> {
    Ok(Filter {
        id: row.parse("id")?,
        owner: row.opt_parse("generator_id")?,
        settings: row.json("settings")?,
        created_at: row.time("created_at")?,
    })
}

fn cause(row: &Row) -> Result<Cause, Error> {
    let stack = match row.opt_parse("stack")? {
        Some(name) => Some(SubjectStack {
            name,
            labels: row.opt_json("stack_labels")?.unwrap_or_default(),
            generator: row.opt_parse("generator_id")?.zip(row.opt_parse("generator")?),
        }),
        None => None,
    };
    let agent = match row.opt_parse("agent")? {
        Some(name) => Some((name, row.opt_json("agent_labels")?.unwrap_or_default())),
        None => None,
    };
    Ok(Cause {
        id: row.parse("id")?,
        position: row.int("position")?,
        subject: Subject { kind: row.text("type")?, stack, agent },
        key: row.opt_text("stack_id")?.or(row.opt_text("agent_id")?),
        traceparent: row.opt_text("traceparent")?,
        tracestate: row.opt_text("tracestate")?,
        created_at: row.time("created_at")?,
    })
}

impl Tx {
    /// Writes the deliveries that the events with these positions cause, and tells which webhooks have some.
    pub(super) async fn fan_out(&mut self, first: i64, last: i64) -> Result<Vec<WebhookId>, Error> {
        let filters = self.all(&FILTERS, vec![]).await?.iter().map(filter).collect::<Result<Vec<_>, _>>()?;
        if filters.is_empty() {
            return Ok(Vec::new());
        }
        let causes = self.all(&SUBJECTS, values![first, last]).await?.iter().map(cause).collect::<Result<Vec<_>, _>>()?;
        let mut items = Vec::new();
        let mut seen = HashSet::new();
        let mut ordered = HashMap::new();
        for cause in &causes {
            let wanted = filters
                .iter()
                .filter(|filter| filter.created_at <= cause.created_at && wants(&filter.settings, filter.owner, &cause.subject));
            let wanted: Vec<_> = wanted.collect();
            for filter in &wanted {
                let key = cause.key.as_deref().filter(|_| filter.settings.ordered);
                let place = match key {
                    None => "free",
                    Some(key) if seen.insert((filter.id, key)) => "first",
                    Some(_) => "behind",
                };
                if key.is_some() {
                    ordered.insert(filter.id, ());
                }
                items.push(Item {
                    id: delivery_id(cause.id, filter.id).to_string(),
                    event: cause.id,
                    webhook: filter.id,
                    key,
                    place,
                    position: cause.position,
                    fan_out: wanted.len(),
                    traceparent: cause.traceparent.as_deref(),
                    tracestate: cause.tracestate.as_deref(),
                    at: cause.created_at.as_micros(),
                });
            }
        }
        if items.is_empty() {
            return Ok(Vec::new());
        }
        // Whoever finishes the first of a line lets the next one go: not while another is put behind it.
        let ordered: Vec<_> = ordered.into_keys().collect();
        self.lock_webhooks(&ordered).await?;
        self.execute(&INSERT_DELIVERIES, values![set(&items)?]).await?;
        let webhooks: HashSet<_> = items.iter().map(|item| item.webhook).collect();
        Ok(webhooks.into_iter().collect())
    }
}

#[cfg(test)]
pub(super) fn all_statements() -> &'static [&'static super::sql::Statement] {
    ALL
}
