//! Presence: who was seen when, gathered in memory and written as a set.

use std::{collections::HashMap, sync::Arc, time::Duration};

use brokkr_api::{AgentId, KeyId, Timestamp, wait::MAX_WAIT_SECONDS};
use brokkr_telemetry::spans;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, warn};

use crate::store::{Db, Error, PickedUp};

/// How often presence is written.
pub(crate) const FLUSH: Duration = Duration::from_secs(15);
/// An agent that was not written for so long has come back: its longest wait, and the flush that follows it.
const AWAY: Duration = FLUSH.saturating_mul(2).saturating_add(Duration::from_secs(MAX_WAIT_SECONDS));
/// How soon it is written when an agent appears that was not there before.
const FLUSH_SOON: Duration = Duration::from_millis(200);

/// Who was seen since the last flush.
#[derive(Default)]
pub(crate) struct Presence {
    seen: Mutex<Seen>,
    appeared: Notify,
}

#[derive(Default)]
struct Seen {
    agents: HashMap<AgentId, Timestamp>,
    keys: HashMap<KeyId, Timestamp>,
    flushed: HashMap<AgentId, Timestamp>,
    handed: HashMap<AgentId, PickedUp>,
}

impl Presence {
    /// An agent's poll was answered, or it reported.
    pub(crate) fn agent_seen(&self, agent: AgentId, now: Timestamp) {
        let mut seen = self.seen.lock();
        seen.agents.insert(agent, now);
        let fresh = seen.flushed.get(&agent).is_some_and(|at| now.since(*at) < AWAY);
        if !fresh {
            self.appeared.notify_one();
        }
    }

    /// An agent was handed everything up to a change. Of several times before a flush the first one of the newest change is kept.
    pub(crate) fn handed(&self, agent: AgentId, seq: u64, now: Timestamp) {
        let at = now.as_micros();
        let mut seen = self.seen.lock();
        let entry = seen.handed.entry(agent).or_insert(PickedUp { id: agent, seq, at });
        if seq > entry.seq {
            *entry = PickedUp { id: agent, seq, at };
        }
    }

    /// A key was used.
    pub(crate) fn key_used(&self, key: KeyId, now: Timestamp) {
        self.seen.lock().keys.insert(key, now);
    }

    /// Writes what was seen, and tells whether there was anything. When the database does not answer, it is kept for the next time.
    pub(crate) async fn flush(&self, db: &Db) -> Result<bool, Error> {
        let (agents, keys, handed) = {
            let mut seen = self.seen.lock();
            (std::mem::take(&mut seen.agents), std::mem::take(&mut seen.keys), std::mem::take(&mut seen.handed))
        };
        if agents.is_empty() && keys.is_empty() && handed.is_empty() {
            return Ok(false);
        }
        let handed: Vec<_> = handed.into_values().collect();
        let agents: Vec<_> = agents.into_iter().collect();
        let keys: Vec<_> = keys.into_iter().collect();
        let result = db.flush_presence(&agents, &keys, &handed).await;
        let mut seen = self.seen.lock();
        for (agent, at) in agents {
            if result.is_ok() {
                seen.flushed.insert(agent, at);
            } else {
                seen.agents.entry(agent).or_insert(at);
            }
        }
        if result.is_err() {
            for (key, at) in keys {
                seen.keys.entry(key).or_insert(at);
            }
            for picked_up in handed {
                seen.handed.entry(picked_up.id).or_insert(picked_up);
            }
        }
        result.map(|()| true)
    }

    /// When an agent was handed something that is not written yet.
    pub(crate) fn handed_at(&self, agent: AgentId) -> Option<Timestamp> {
        self.seen.lock().handed.get(&agent).map(|handed| Timestamp::from_micros(handed.at))
    }
}

/// Flushes presence until `stopping`, and rings `changed` when there was something to flush.
pub(crate) async fn keep(presence: Arc<Presence>, db: Db, changed: Arc<Notify>, stopping: CancellationToken) {
    loop {
        match presence.flush(&db).instrument(spans::job("presence")).await {
            Ok(true) => changed.notify_one(),
            Ok(false) => {}
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "presence cannot be written; it is kept and tried again");
            }
        }
        tokio::select! {
            () = stopping.cancelled() => break,
            () = tokio::time::sleep(FLUSH) => {}
            () = presence.appeared.notified() => {
                // Many appear together: one flush serves them all.
                tokio::time::sleep(FLUSH_SOON).await;
            }
        }
    }
    if let Err(error) = presence.flush(&db).await {
        warn!(error = &error as &dyn std::error::Error, "the last presence cannot be written");
    }
}

#[cfg(test)]
mod tests {
    use brokkr_runtime::{Ids, SeededIds};

    use super::*;

    /// Whether the keeper is woken when an agent that was written at 0 is seen so many seconds later.
    async fn is_news_after(seconds: i64) -> bool {
        let presence = Presence::default();
        let agent = AgentId(SeededIds::new(1).uuid(Timestamp::from_micros(0)));
        presence.seen.lock().flushed.insert(agent, Timestamp::from_micros(0));
        presence.agent_seen(agent, Timestamp::from_micros(seconds * 1_000_000));
        tokio::select! {
            biased;
            () = presence.appeared.notified() => true,
            () = std::future::ready(()) => false,
        }
    }

    #[tokio::test]
    async fn an_agent_that_keeps_polling_waits_for_the_next_flush_and_one_that_comes_back_does_not() {
        for wait in [1, 30, 60] {
            assert!(!is_news_after(wait).await, "{wait} s");
        }
        assert!(is_news_after(120).await);
    }
}
