//! When agents and keys were last seen: written as a set, never row by row.

use brokkr_api::{AgentId, KeyId, Timestamp};
use serde::Serialize;

use super::{
    Db, Error,
    sql::{set, statements, values},
};

// In the order of ids, because two brokers may write the same rows at the same time.
statements! {
    FLUSH_PRESENCE = Insert presence
        "INSERT INTO presence (agent_id, last_seen_at)
         SELECT a.id, CAST(item.value->>'at' AS BIGINT) FROM each($1) JOIN agents a ON a.id = item.value->>'id' WHERE TRUE ORDER BY a.id
         ON CONFLICT (agent_id) DO UPDATE SET last_seen_at = CASE WHEN excluded.last_seen_at > presence.last_seen_at
             THEN excluded.last_seen_at ELSE presence.last_seen_at END";
    /// Waits for nobody, because it touches rows of many agents and stacks in no order. Whoever holds one of them now is at a newer
    /// revision of it, which has not been picked up, or at a report, which says so itself.
    FLUSH_PICKED_UP = Update deployments
        "UPDATE deployments SET picked_up_at = handed.at
         FROM (SELECT d.agent_id, d.stack_id, CAST(item.value->>'at' AS BIGINT) AS at FROM each($1) CROSS JOIN deployments d
               WHERE d.agent_id = item.value->>'id' AND d.change_seq <= CAST(item.value->>'seq' AS BIGINT)
                 AND d.picked_up_at IS NULL AND d.generation > 0 /*lock free*/) handed
         WHERE deployments.agent_id = handed.agent_id AND deployments.stack_id = handed.stack_id";
    FLUSH_KEY_USE = Insert key_use
        "INSERT INTO key_use (key_id, last_used_at)
         SELECT k.id, CAST(item.value->>'at' AS BIGINT) FROM each($1) JOIN api_keys k ON k.id = item.value->>'id' WHERE TRUE ORDER BY k.id
         ON CONFLICT (key_id) DO UPDATE SET last_used_at = CASE WHEN excluded.last_used_at > key_use.last_used_at
             THEN excluded.last_used_at ELSE key_use.last_used_at END";
}

#[derive(Serialize)]
struct Seen<I> {
    id: I,
    at: i64,
}

/// What an agent was handed: everything up to this change, at this time.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct PickedUp {
    pub(crate) id: AgentId,
    pub(crate) seq: u64,
    /// Microseconds since the Unix epoch.
    pub(crate) at: i64,
}

impl Db {
    /// Stores when agents and keys were last seen and what agents were handed; an older time never replaces a newer one.
    pub(crate) async fn flush_presence(
        &self,
        agents: &[(AgentId, Timestamp)],
        keys: &[(KeyId, Timestamp)],
        picked_up: &[PickedUp],
    ) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        if !agents.is_empty() {
            let seen: Vec<_> = agents.iter().map(|(id, at)| Seen { id, at: at.as_micros() }).collect();
            tx.execute(&FLUSH_PRESENCE, values![set(&seen)?]).await?;
        }
        if !keys.is_empty() {
            let seen: Vec<_> = keys.iter().map(|(id, at)| Seen { id, at: at.as_micros() }).collect();
            tx.execute(&FLUSH_KEY_USE, values![set(&seen)?]).await?;
        }
        if !picked_up.is_empty() {
            tx.execute(&FLUSH_PICKED_UP, values![set(picked_up)?]).await?;
        }
        tx.commit().await
    }
}

#[cfg(test)]
pub(super) fn all_statements() -> &'static [&'static super::sql::Statement] {
    ALL
}
