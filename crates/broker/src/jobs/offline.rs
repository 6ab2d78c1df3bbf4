//! Who is missed: an agent that was connected and has let its polls lapse is offline, and that is an event.
//!
//! An agent is never declared offline for what is our own fault: after an outage of the broker or its database, agents get time to
//! return first.

use std::{sync::Arc, time::Duration};

use brokkr_api::{EventId, Timestamp};
use brokkr_runtime::{Clock, Ids};
use brokkr_telemetry::{TraceContext, spans};
use serde_json::json;
use tracing::Span;

use super::{Job, Round};
use crate::{
    presence::FLUSH,
    store::{Db, Error, Marked, NewEvent},
};

/// Most agents of one round that get a span.
const MOST_SPANS: usize = 100;
/// Most agents that are marked in one transaction: there may be many webhooks that hear of each.
const BATCH: u32 = 500;

/// Marks agents as offline and online.
pub(crate) struct Offline {
    pub(crate) db: Db,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
    /// How long an agent may not be seen.
    pub(crate) active: Duration,
}

impl Job for Offline {
    const NAME: &'static str = "offline-agents";
    const PERIOD: Duration = FLUSH;

    async fn round(&mut self, round: Round) -> Result<(), Error> {
        // Agents return within a wait, and their return is known after a flush.
        let may_miss = round.undisturbed >= self.active + FLUSH;
        let mut left = MOST_SPANS;
        while self.batch(may_miss, &mut left).await? {}
        Ok(())
    }
}

impl Offline {
    /// Marks some; tells whether there may be more. `left` is how many may still get a span.
    async fn batch(&self, may_miss: bool, left: &mut usize) -> Result<bool, Error> {
        let now = self.clock.now();
        let missed_since = now.before(self.active);
        let mut tx = self.db.begin().await?;
        let online = tx.mark_online(missed_since, BATCH).await?;
        let offline = if may_miss { tx.mark_offline(missed_since, BATCH).await? } else { Vec::new() };
        let trace = TraceContext::current();
        let event = |kind, agent| self.event(kind, agent, trace.as_ref(), now);
        let events: Vec<_> = online
            .iter()
            .map(|agent| event("agent.online", agent))
            .chain(offline.iter().map(|agent| event("agent.offline", agent)))
            .collect();
        if events.is_empty() {
            return Ok(false);
        }
        tx.insert_events(&events).await?;
        tx.commit().await?;
        for agent in &offline {
            // When a whole fleet is cut off, its spans would push all others out of the queue.
            let span = if *left > 0 { spans::agent_offline(agent.name.as_str(), agent.cluster.as_str()) } else { Span::none() };
            *left = left.saturating_sub(1);
            span.in_scope(|| tracing::warn!(agent.id = %agent.id, agent.name = %agent.name, "an agent is offline"));
        }
        for agent in &online {
            tracing::info!(agent.id = %agent.id, agent.name = %agent.name, "an agent is online again");
        }
        Ok(online.len().max(offline.len()) >= BATCH as usize)
    }

    fn event<'a>(&self, kind: &'static str, agent: &Marked, trace: Option<&'a TraceContext>, now: Timestamp) -> NewEvent<'a> {
        NewEvent {
            id: EventId(self.ids.uuid(now)),
            kind,
            stack: None,
            agent: Some(agent.id),
            generation: None,
            data: json!({"agent": agent.name, "cluster": agent.cluster}),
            trace,
            now,
        }
    }
}
