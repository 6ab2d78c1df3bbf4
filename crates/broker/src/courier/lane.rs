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
        let by_rate = self.running < self.allowed() && !self.breaker.is_open(now) && self.next_at > now;
        by_rate.then(|| self.next_at.since(now))
    }

    pub(super) fn started(&mut self, now: Timestamp) {
        self.running += 1;
        if let Some(rate) = self.endpoint.settings.rate_per_second {
            self.next_at = self.next_at.max(now).after(Duration::from_secs(1) / rate.max(1));
        }
    }

    /// How an attempt ended is not known here.
    pub(super) fn forgotten(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    pub(super) fn ended(&mut self, ok: bool, now: Timestamp, pause: Option<Duration>) {
        self.forgotten();
        self.learned(ok, now, pause);
    }

    /// How an attempt ended that was not begun here.
    pub(super) fn learned(&mut self, ok: bool, now: Timestamp, pause: Option<Duration>) {
        if ok {
            self.breaker.succeeded();
            self.window = self.window.saturating_mul(2).min(self.endpoint.settings.concurrency).max(1);
        } else {
            self.breaker.failed(now, pause);
            self.window = 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use brokkr_api::webhooks::WebhookSettings;

    use super::*;
    use crate::domain::webhook::sealed::Sealed;

    fn lane(settings: WebhookSettings) -> Lane {
        let sealed =
            Sealed { url: String::new(), headers: std::collections::BTreeMap::new(), secret: String::new(), former: None };
        let url = "https://example.com/".parse().unwrap();
        Lane::new(Endpoint {
            id: brokkr_api::WebhookId(uuid::Uuid::nil()),
            name: "chat".parse().unwrap(),
            settings,
            url,
            headers: http::HeaderMap::new(),
            sealed,
        })
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_micros(0).after(Duration::from_millis(millis))
    }

    /// Begins as many attempts as it may, and tells how many they were.
    fn fill(lane: &mut Lane, now: Timestamp) -> u32 {
        let mut begun = 0;
        while lane.may_start(now, 0, 100) {
            lane.started(now);
            begun += 1;
        }
        begun
    }

    #[test]
    fn a_receiver_earns_its_attempts_and_loses_them_with_a_failure() {
        let mut lane = lane(WebhookSettings { concurrency: 5, ..WebhookSettings::default() });
        let mut seen = Vec::new();
        for _ in 0..5 {
            let begun = fill(&mut lane, at(0));
            seen.push(begun);
            (0..begun).for_each(|_| lane.ended(true, at(0), None));
        }
        assert_eq!(seen, [1, 2, 5, 5, 5]);
        fill(&mut lane, at(0));
        lane.ended(false, at(0), None);
        assert!(!lane.may_start(at(0), 0, 100), "what runs is more than it has earned");
        (0..4).for_each(|_| lane.ended(false, at(0), None));
        assert!(!lane.wants(at(4_999)) && lane.wants(at(5_000)), "it is left alone");
        assert_eq!(fill(&mut lane, at(5_000)), 1);
    }

    #[test]
    fn the_last_quarter_is_for_those_who_are_known_to_answer() {
        let mut lane = lane(WebhookSettings::default());
        assert!(lane.may_start(at(0), 74, 100) && !lane.may_start(at(0), 75, 100));
        lane.started(at(0));
        lane.ended(true, at(0), None);
        assert!(lane.may_start(at(0), 99, 100) && !lane.may_start(at(0), 100, 100));
    }

    #[test]
    fn a_rate_holds_back_for_as_long_as_it_says() {
        let mut lane = lane(WebhookSettings { rate_per_second: Some(10), ..WebhookSettings::default() });
        assert_eq!(lane.waits_for(at(0)), None);
        lane.started(at(0));
        lane.ended(true, at(0), None);
        assert!(!lane.may_start(at(99), 0, 100) && lane.may_start(at(100), 0, 100));
        assert_eq!(lane.waits_for(at(40)), Some(Duration::from_millis(60)));
    }
}
