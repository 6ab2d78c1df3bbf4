//! How much of something may be done at once, and the bell that says that there may be some: work orders, deliveries of webhooks.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The hands of an agent.
#[derive(Debug)]
pub(crate) struct Hands {
    number: usize,
    busy: AtomicUsize,
    /// There may be work that nobody has asked for yet.
    work: AtomicBool,
    bell: Notify,
}

impl Hands {
    pub(crate) fn new(number: usize) -> Self {
        Self { number, busy: AtomicUsize::new(0), work: AtomicBool::new(false), bell: Notify::new() }
    }

    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// How many have nothing to do. What is resumed after a start may be more than there are hands.
    pub(crate) fn free(&self) -> usize {
        self.number.saturating_sub(self.busy.load(Ordering::Acquire))
    }

    pub(crate) fn take(&self) {
        self.busy.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn give_back(&self) {
        self.busy.fetch_sub(1, Ordering::AcqRel);
        self.ring_for_work();
    }

    /// There may be work.
    pub(crate) fn ring_for_work(&self) {
        self.work.store(true, Ordering::Release);
        self.ring();
    }

    /// There may be news of the work that is going on.
    pub(crate) fn ring(&self) {
        self.bell.notify_one();
    }

    /// Whether there may be work since it was asked last. An agent that nobody has told of work asks for none: ten thousand of them would
    /// keep a broker busy.
    pub(crate) fn may_be_work(&self) -> bool {
        self.work.swap(false, Ordering::AcqRel)
    }

    pub(crate) async fn rung(&self) {
        self.bell.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_asked_for_once_each_time_that_there_may_be_some() {
        let hands = Hands::new(1);
        hands.ring();
        assert!(!hands.may_be_work(), "news of what goes on is no work");
        hands.ring_for_work();
        assert!(hands.may_be_work() && !hands.may_be_work());
        hands.take();
        assert_eq!(hands.free(), 0);
        hands.give_back();
        assert!(hands.may_be_work() && hands.free() == 1, "whoever has a free hand again asks");
    }
}
