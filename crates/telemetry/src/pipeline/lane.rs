//! One queue and its exporter, of the several that a process may have one after the other.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::SystemTime,
};

use parking_lot::Mutex;

use super::outage::Outage;

/// What waits, and how the latest export went.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    pending: AtomicUsize,
    pub(super) latest: Mutex<Latest>,
}

#[derive(Debug, Default)]
pub(super) struct Latest {
    pub(super) success: Option<SystemTime>,
    pub(super) error: Option<String>,
    pub(super) outage: Option<Outage>,
}

impl Lane {
    /// Takes a place in a queue of `size`; false when there is none.
    pub(super) fn enter(&self, size: usize) -> bool {
        self.pending.fetch_update(Ordering::AcqRel, Ordering::Acquire, |pending| (pending < size).then_some(pending + 1)).is_ok()
    }

    /// Gives the places of a batch back; false when they were given up before.
    pub(super) fn leave(&self, spans: usize) -> bool {
        self.pending.fetch_update(Ordering::AcqRel, Ordering::Acquire, |pending| pending.checked_sub(spans)).is_ok()
    }

    /// Gives up what still waits, and tells how many that is.
    pub(super) fn give_up(&self) -> usize {
        self.pending.swap(0, Ordering::AcqRel)
    }

    pub(super) fn pending(&self) -> usize {
        self.pending.load(Ordering::Relaxed)
    }
}
