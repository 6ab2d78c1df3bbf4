//! Keys of agents grow old: those that are older than the configuration allows are asked to be replaced.

use std::{sync::Arc, time::Duration};

use brokkr_api::{AgentId, EventId};
use brokkr_runtime::{Clock, Ids};
use brokkr_telemetry::TraceContext;
use serde_json::json;

use super::{Job, Round};
use crate::store::{Db, Error, NewEvent};

/// Asks agents to take new keys.
pub(crate) struct KeyAge {
    pub(crate) db: Db,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
    /// Oldest age of a key; nothing for no limit.
    pub(crate) most: Option<Duration>,
}

impl Job for KeyAge {
    const NAME: &'static str = "key-age";
    const PERIOD: Duration = Duration::from_secs(10 * 60);

    async fn round(&mut self, _: Round) -> Result<(), Error> {
        let Some(most) = self.most else { return Ok(()) };
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        let change = tx.next_change().await?;
        let agents = tx.want_old_rotated(now.before(most), now).await?;
        if agents.is_empty() {
            return Ok(());
        }
        let trace = TraceContext::current();
        let event = |agent: &AgentId| NewEvent {
            id: EventId(self.ids.uuid(now)),
            kind: "agent.key_rotation_requested",
            stack: None,
            agent: Some(*agent),
            generation: None,
            data: json!({"reason": "the key is older than agents.key_rotation_days"}),
            trace: trace.as_ref(),
            now,
        };
        tx.insert_events(&agents.iter().map(event).collect::<Vec<_>>()).await?;
        tx.mark_agents(&agents, change).await?;
        tx.commit().await?;
        tracing::info!(agents = agents.len(), "agents are asked to take new keys");
        Ok(())
    }
}
