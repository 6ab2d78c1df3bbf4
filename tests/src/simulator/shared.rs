//! What all agents of a fleet share.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::dial::Dial;

/// What agents did since the simulator started.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Agents that have a poll open now.
    pub parked: i64,
    /// Polls answered with 304.
    pub unchanged: u64,
    /// Polls answered with a desired state.
    pub changed: u64,
    /// Polls that got neither in time, whatever the reason.
    pub missed: u64,
    /// Connections made.
    pub connections: u64,
    /// Contents fetched by digest, because they did not come in the index.
    pub contents: u64,
    /// Deployments reported.
    pub reports: u64,
    /// Answers to anything but a poll that were no success.
    pub refused: u64,
    /// Why the last poll was missed, or the last request refused.
    pub last_trouble: Option<String>,
}

/// Counters, the switch, and who waits for content.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) dial: Dial,
    pub(super) wait: Duration,
    /// Whether agents are to be connected.
    pub(super) on: watch::Sender<bool>,
    pub(super) parked: AtomicI64,
    pub(super) unchanged: AtomicU64,
    pub(super) changed: AtomicU64,
    pub(super) missed: AtomicU64,
    pub(super) connections: AtomicU64,
    pub(super) contents: AtomicU64,
    pub(super) reports: AtomicU64,
    pub(super) refused: AtomicU64,
    last_trouble: Mutex<Option<String>>,
    watched: Mutex<Option<Watched>>,
    pub(super) arrived: Notify,
}

/// The stack that somebody measures, and which of its generations reached an agent when.
#[derive(Debug)]
struct Watched {
    stack: String,
    arrivals: Vec<(u64, Instant)>,
}

impl Shared {
    pub(super) fn new(dial: Dial, wait: Duration) -> Self {
        Self {
            dial,
            wait,
            on: watch::Sender::new(true),
            parked: AtomicI64::new(0),
            unchanged: AtomicU64::new(0),
            changed: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            contents: AtomicU64::new(0),
            reports: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            last_trouble: Mutex::new(None),
            watched: Mutex::new(None),
            arrived: Notify::new(),
        }
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            parked: self.parked.load(Relaxed),
            unchanged: self.unchanged.load(Relaxed),
            changed: self.changed.load(Relaxed),
            missed: self.missed.load(Relaxed),
            connections: self.connections.load(Relaxed),
            contents: self.contents.load(Relaxed),
            reports: self.reports.load(Relaxed),
            refused: self.refused.load(Relaxed),
            last_trouble: self.last_trouble.lock().clone(),
        }
    }

    pub(super) fn missed(&self, why: String) {
        self.missed.fetch_add(1, Relaxed);
        *self.last_trouble.lock() = Some(why);
    }

    pub(super) fn refused(&self, why: String) {
        self.refused.fetch_add(1, Relaxed);
        *self.last_trouble.lock() = Some(why);
    }

    /// Begins to note arrivals of a stack's content.
    pub(super) fn watch(&self, stack: &str) {
        *self.watched.lock() = Some(Watched { stack: stack.to_owned(), arrivals: Vec::new() });
    }

    /// An agent has the content of a generation in its hands.
    pub(super) fn arrived(&self, stack: &str, generation: u64) {
        if let Some(watched) = self.watched.lock().as_mut().filter(|watched| watched.stack == stack) {
            watched.arrivals.push((generation, Instant::now()));
            self.arrived.notify_one();
        }
    }

    /// When this generation arrived, once for each agent that has it.
    pub(super) fn arrivals(&self, generation: u64) -> Vec<Instant> {
        let watched = self.watched.lock();
        let arrivals = watched.iter().flat_map(|watched| &watched.arrivals);
        arrivals.filter(|(of, _)| *of == generation).map(|(_, at)| *at).collect()
    }
}
