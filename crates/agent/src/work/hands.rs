//! How many work orders may be carried out at once, and the bell that says that there may be some.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The hands of an agent.
#[derive(Debug)]
pub(crate) struct Hands {
    number: usize,
    busy: AtomicUsize,
    bell: Notify,
}

impl Hands {
    pub(crate) fn new(number: usize) -> Self {
        Self { number, busy: AtomicUsize::new(0), bell: Notify::new() }
    }

    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// How many have nothing to do. What is resumed after a start may be more than there are hands.
    pub(crate) fn free(&self) -> usize {
        self.number.saturating_sub(self.busy.load(Ordering::Acquire))
    }

    pub(super) fn take(&self) {
        self.busy.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn give_back(&self) {
        self.busy.fetch_sub(1, Ordering::AcqRel);
        self.ring();
    }

    /// There may be work, or news of the work that is going on.
    pub(crate) fn ring(&self) {
        self.bell.notify_one();
    }

    pub(super) async fn rung(&self) {
        self.bell.notified().await;
    }
}
