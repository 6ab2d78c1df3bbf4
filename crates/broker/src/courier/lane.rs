//! What a courier knows of one receiver. A receiver costs others nothing: it has so many attempts at the same time as it has earned.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use brokkr_api::Timestamp;

use super::Endpoint;
use crate::{domain::webhook::breaker::Breaker, store::ClaimedDelivery};

/// A delivery that was claimed and has not begun.
pub(super) struct Waiting {
    pub(super) delivery: Box<ClaimedDelivery>,
    /// The end of its lease.
    pub(super) until: Timestamp,
}

/// One receiver.
pub(super) struct Lane {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) breaker: Breaker,
    /// Whether the last claim left something.
    pub(super) more: bool,
    running: u32,
    /// Most attempts at the same time: one at first, twice as many after each success, one again after a failure.
    window: u32,
    /// When the next attempt may begin.
    next_at: Timestamp,
}

impl Lane {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint: Arc::new(endpoint),
            waiting: VecDeque::new(),
            breaker: Breaker::default(),
            more: true,
            running: 0,
            window: 1,
            next_at: Timestamp::from_micros(0),
        }
    }

    /// The same receiver, or another one under this webhook, of which nothing is known.
    pub(super) fn with(mut self, endpoint: Endpoint) -> Self {
        if endpoint.url != self.endpoint.url {
            (self.breaker, self.window) = (Breaker::default(), 1);
        }
        self.more = true;
        self.endpoint = Arc::new(endpoint);
        self
    }

    /// Whether something is to be claimed for it.
    pub(super) fn wants(&self, now: Timestamp) -> bool {
        self.waiting.is_empty() && self.running < self.allowed() && !self.breaker.is_open(now)
    }

    /// Whether the next attempt may begin, while so many of all receivers are running.
    pub(super) fn may_start(&self, now: Timestamp, running: usize, at_once: usize) -> bool {
        // The last quarter is for those who are known to answer.
        let room = if self.window == 1 { at_once - at_once / 4 } else { at_once };
        running < room && self.running < self.allowed() && !self.breaker.is_open(now) && self.next_at <= now
    }

    fn allowed(&self) -> u32 {
        if self.breaker.is_suspect() { 1 } else { self.window.min(self.endpoint.settings.concurrency) }
    }

    /// How long its rate holds it back; nothing where that is not what it waits for.
    pub(super) fn waits_for(&self, now: Timestamp) -> Option<Duration> {
        (self.running < self.allowed() && !self.breaker.is_open(now)).then(|| self.next_at.since(now))
    }

    pub(super) fn started(&mut self, now: Timestamp) {
        self.running += 1;
        if let Some(rate) = self.endpoint.settings.rate_per_second {
            self.next_at = self.next_at.max(now).after(Duration::from_secs(1) / rate.max(1));
        }
    }

    pub(super) fn ended(&mut self, ok: bool, now: Timestamp, pause: Option<Duration>) {
        self.running = self.running.saturating_sub(1);
        if ok {
            self.breaker.succeeded();
            self.window = self.window.saturating_mul(2).min(self.endpoint.settings.concurrency).max(1);
        } else {
            self.breaker.failed(now, pause);
            self.window = 1;
        }
    }
}
