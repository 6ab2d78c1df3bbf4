//! From events to deliveries: the rows of the outbox are written in the transaction of the change that the events tell of, by one
//! statement more, whatever the number of events and webhooks. Who wants what is remembered; the statement that writes the events
//! says whether webhooks have changed since, and what they are now.

use std::{collections::HashMap, sync::Arc};

use brokkr_api::{EventId, GeneratorId, WebhookId};
use parking_lot::RwLock;
use serde::Serialize;

use super::{
    Error, NewEvent, Tx,
    sql::{Row, set, statements, values},
};
use crate::domain::webhook::{
    delivery_id,
    filter::{Subject, SubjectStack, Wishes, wants},
};

/// What the statement that writes events answers, with `$known` as the version of the webhooks that the broker remembers. What the
/// events are about is asked only where somebody may want them, and all webhooks only with one event.
macro_rules! returning {
    ($first:literal, $known:literal) => {
        concat!(
            "RETURNING id, (SELECT c.value FROM counters c WHERE c.name = 'webhooks') AS version,
             CASE WHEN events.id = ", $first, " AND (SELECT c.value FROM counters c WHERE c.name = 'webhooks') <> ", $known, "
                 THEN (SELECT string_agg(w.id || ' ' || COALESCE(w.generator_id, '') || ' ' || w.settings, '\n') FROM webhooks w
                       WHERE w.state = 'enabled' AND w.deleted_at IS NULL) END AS webhooks,
             CASE WHEN EXISTS (SELECT 1 FROM webhooks w WHERE w.state = 'enabled' AND w.deleted_at IS NULL)
                 THEN (SELECT s.name || ' ' || COALESCE(s.generator_id, '') || ' ' || COALESCE(g.name, '') || ' ' || s.labels
                       FROM stacks s LEFT JOIN generators g ON g.id = s.generator_id WHERE s.id = events.stack_id) END AS stack,
             CASE WHEN EXISTS (SELECT 1 FROM webhooks w WHERE w.state = 'enabled' AND w.deleted_at IS NULL)
                 THEN (SELECT COALESCE(a.former_name, a.name) || ' ' || a.labels FROM agents a WHERE a.id = events.agent_id) END AS agent"
        )
    };
}
pub(super) use returning;

statements! {
    /// They wait for the positions of their events.
    INSERT_DELIVERIES = Insert outbox
        "INSERT INTO outbox (id, event_id, destination, ordering_key, fan_out, state, attempts, next_attempt_at, traceparent, tracestate,
             created_at)
         SELECT item.value->>'id', item.value->>'event', item.value->>'webhook', item.value->>'key', CAST(item.value->>'fan_out' AS BIGINT), 'held',
             0, CAST(item.value->>'at' AS BIGINT), item.value->>'traceparent', item.value->>'tracestate', CAST(item.value->>'at' AS BIGINT)
         FROM each($1)";
}

/// Most deliveries of one statement, which has to end within the time that the server allows it.
const MOST_AT_ONCE: usize = 5_000;

/// What decides whether a webhook gets an event.
#[derive(Debug)]
struct Filter {
    id: WebhookId,
    owner: Option<GeneratorId>,
    wishes: Wishes,
}

/// Every enabled webhook, as of one version of them. A new database is at version 0 and has none.
#[derive(Debug, Default)]
pub(super) struct Filters {
    pub(super) version: i64,
    all: Vec<Filter>,
}

/// The newest that were seen committed.
#[derive(Clone, Default)]
pub(super) struct KnownFilters(Arc<RwLock<Arc<Filters>>>);

impl KnownFilters {
    pub(super) fn newest(&self) -> Arc<Filters> {
        Arc::clone(&self.0.read())
    }

    pub(super) fn learn(&self, filters: Arc<Filters>) {
        let mut known = self.0.write();
        if known.version < filters.version {
            *known = filters;
        }
    }
}

#[derive(Serialize)]
struct Item<'a> {
    id: String,
    event: EventId,
    webhook: WebhookId,
    key: Option<String>,
    fan_out: usize,
    traceparent: Option<&'a str>,
    tracestate: Option<&'a str>,
    at: i64,
}

fn corrupt(column: &'static str) -> impl Fn(&str) -> Error {
    move |text| Error::Corrupt { column, source: text.into() }
}

fn parsed<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

/// `id owner settings`
fn filter(line: &str) -> Option<Filter> {
    let [id, owner, settings] = line.splitn(3, ' ').collect::<Vec<_>>().try_into().ok()?;
    let owner = if owner.is_empty() { None } else { Some(parsed(owner)?) };
    Some(Filter { id: parsed(id)?, owner, wishes: serde_json::from_str(settings).ok()? })
}

/// `name owner owner's-name labels`
fn stack(text: &str) -> Option<SubjectStack> {
    let [name, id, generator, labels] = text.splitn(4, ' ').collect::<Vec<_>>().try_into().ok()?;
    let generator = if id.is_empty() { None } else { Some((parsed(id)?, parsed(generator)?)) };
    Some(SubjectStack { name: parsed(name)?, labels: serde_json::from_str(labels).ok()?, generator })
}

/// `name labels`
fn agent(text: &str) -> Option<(brokkr_api::Name, brokkr_api::Labels)> {
    let (name, labels) = text.split_once(' ')?;
    Some((parsed(name)?, serde_json::from_str(labels).ok()?))
}

fn filters(version: i64, lines: &str) -> Result<Filters, Error> {
    let all = lines.lines().map(|line| filter(line).ok_or_else(|| corrupt("webhooks")(line))).collect::<Result<_, _>>()?;
    Ok(Filters { version, all })
}

fn subject(kind: &str, row: &Row) -> Result<Subject, Error> {
    let (about, by) = (row.opt_text("stack")?, row.opt_text("agent")?);
    Ok(Subject {
        kind: kind.to_owned(),
        stack: about.map(|text| stack(&text).ok_or_else(|| corrupt("stack")(&text))).transpose()?,
        agent: by.map(|text| agent(&text).ok_or_else(|| corrupt("agent")(&text))).transpose()?,
    })
}

impl Tx {
    /// Writes a delivery of each of these events for each webhook that wants it. The rows are what the statement answered that wrote the
    /// events.
    pub(super) async fn enqueue(&mut self, events: &[NewEvent<'_>], rows: &[Row]) -> Result<(), Error> {
        let mut answers = HashMap::with_capacity(rows.len());
        for row in rows {
            answers.insert(row.parse::<EventId>("id")?, row);
        }
        if let Some(first) = events.first().and_then(|event| answers.get(&event.id)) {
            let version = first.int("version")?;
            if self.filters().version != version {
                self.filters = Some(Arc::new(filters(version, &first.opt_text("webhooks")?.unwrap_or_default())?));
            }
        }
        let filters = self.filters();
        if filters.all.is_empty() {
            return Ok(());
        }
        let mut items = Vec::new();
        for event in events {
            let row = answers.get(&event.id).ok_or_else(|| Error::absent("id"))?;
            let subject = subject(event.kind, row)?;
            let wanted: Vec<_> = filters.all.iter().filter(|filter| wants(&filter.wishes, filter.owner, &subject)).collect();
            let key = event.stack.map(|id| id.to_string()).or_else(|| event.agent.map(|id| id.to_string()));
            items.extend(wanted.iter().map(|filter| Item {
                id: delivery_id(event.id, filter.id).to_string(),
                event: event.id,
                webhook: filter.id,
                key: key.clone().filter(|_| filter.wishes.ordered),
                fan_out: wanted.len(),
                traceparent: event.trace.map(|trace| trace.traceparent.as_str()),
                tracestate: event.trace.and_then(|trace| trace.tracestate.as_deref()),
                at: event.now.as_micros(),
            }));
        }
        for items in items.chunks(MOST_AT_ONCE) {
            self.execute(&INSERT_DELIVERIES, values![set(items)?]).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) fn all_statements() -> &'static [&'static super::sql::Statement] {
    ALL
}
