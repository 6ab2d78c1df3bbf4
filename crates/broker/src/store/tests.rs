//! The store on both engines, seen through the API where that is what people rely on.

mod concurrency;
mod deaths;
mod errors;
mod events;
mod fleet;
mod hangs;
mod lifecycle;
mod migrations;
mod outbox;
mod presence;
mod restore;
mod schema;
mod totals;

use brokkr_api::{AgentId, KeyId, Labels, Name, Timestamp, keys::Role};

use super::{Db, NewAgent, NewKey};
use crate::testing::World;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

impl World {
    /// Many agents, without their keys and in one transaction. Nothing may be targeted yet.
    async fn many_agents(&self, count: usize) -> Vec<AgentId> {
        let now = Timestamp::from_micros(1_767_225_600_000_000);
        let mut tx = self.state.db.begin().await.unwrap();
        let mut ids = Vec::with_capacity(count);
        for number in 0..count {
            let (id, name) = (AgentId(self.state.ids.uuid(now)), name(&format!("agent-{number}")));
            tx.insert_agent(&NewAgent { id, name: &name, cluster: &name, labels: &Labels::default() }, now).await.unwrap();
            ids.push(id);
        }
        tx.commit().await.unwrap();
        ids
    }

    /// Stores a key that was not there before; its number tells which.
    async fn store_key(&self, number: u64) -> u64 {
        let now = Timestamp::from_micros(1_767_225_600_000_000);
        let new = NewKey {
            id: KeyId(self.state.ids.uuid(now)),
            name: name("key"),
            role: Role::Admin,
            generator: None,
            agent: None,
            digest: format!("digest-{number}"),
            created_at: now,
            expires_at: None,
            scopes: Vec::new(),
            pending: false,
        };
        let mut tx = self.state.db.begin().await.unwrap();
        let change = tx.next_change().await.unwrap();
        tx.insert_key(&new, change).await.unwrap();
        tx.commit().await.unwrap();
        change
    }
}

/// Ends every connection, as if the database had gone.
pub(crate) async fn close(db: &Db) {
    db.close().await;
}
