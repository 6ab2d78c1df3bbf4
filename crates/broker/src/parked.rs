//! Polls that wait at this broker for something that their agents could do beside their desired state.

use std::{collections::BTreeMap, sync::Arc};

use brokkr_api::AgentId;
use tokio::sync::Notify;

/// Who waits, whoever has waited longest first.
#[derive(Default)]
pub(crate) struct Parked {
    seats: BTreeMap<u64, Seat>,
    next: u64,
}

/// One who waits.
pub(crate) struct Seat {
    pub(crate) agent: AgentId,
    pub(crate) told: Arc<Notify>,
}

/// Where polls wait.
pub(crate) trait Place: Send + Sync {
    /// One waits no more.
    fn leave(&self, number: u64);
}

/// A poll that waits, until it is dropped.
pub(crate) struct Waiting {
    place: Arc<dyn Place>,
    number: u64,
    told: Arc<Notify>,
}

impl Parked {
    /// Adds one, and tells its number.
    pub(crate) fn add(&mut self, agent: AgentId) -> (u64, Arc<Notify>) {
        let told = Arc::new(Notify::new());
        self.next += 1;
        self.seats.insert(self.next, Seat { agent, told: Arc::clone(&told) });
        (self.next, told)
    }

    pub(crate) fn remove(&mut self, number: u64) {
        self.seats.remove(&number);
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Seat> {
        self.seats.get(&number)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Seat> {
        self.seats.values()
    }

    pub(crate) fn len(&self) -> usize {
        self.seats.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }
}

impl Waiting {
    /// For the poll with this number.
    pub(crate) fn new(place: Arc<dyn Place>, number: u64, told: Arc<Notify>) -> Self {
        Self { place, number, told }
    }

    /// Returns when there is something for this agent.
    pub(crate) async fn told(&self) {
        self.told.notified().await;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.place.leave(self.number);
    }
}
