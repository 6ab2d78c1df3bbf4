//! A receiver that fails again and again is left alone for a while, whatever waits for it: one that hangs would hold connections that others need.

use std::time::Duration;

use brokkr_api::Timestamp;

/// Failures in a row after which a receiver is left alone.
const FAILURES: u32 = 5;
/// For so long the first time; twice as long each further time.
const FIRST: Duration = Duration::from_secs(5);
/// Longest time.
const LONGEST: Duration = Duration::from_secs(5 * 60);

/// What is remembered of a receiver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Breaker {
    failures: u32,
    until: Option<Timestamp>,
}

impl Breaker {
    /// It works.
    pub(crate) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// It failed, and may have said for how long it wants to be left alone.
    pub(crate) fn failed(&mut self, now: Timestamp, pause: Option<Duration>) {
        self.failures = self.failures.saturating_add(1);
        let doublings = self.failures.checked_sub(FAILURES);
        let own = doublings.map_or(Duration::ZERO, |times| FIRST.saturating_mul(1 << times.min(6)).min(LONGEST));
        let wait = own.max(pause.unwrap_or_default());
        if !wait.is_zero() {
            self.until = self.until.max(Some(now.after(wait)));
        }
    }

    /// Whether nothing may be sent now.
    pub(crate) fn is_open(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Whether it failed last: then one attempt at a time shows whether it works again.
    pub(crate) fn is_suspect(&self) -> bool {
        self.failures >= FAILURES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(0).after(Duration::from_secs(seconds))
    }

    #[test]
    fn after_five_failures_a_receiver_is_left_alone_longer_and_longer() {
        let mut breaker = Breaker::default();
        (0..4).for_each(|_| breaker.failed(at(0), None));
        assert!(!breaker.is_open(at(0)) && !breaker.is_suspect());
        breaker.failed(at(0), None);
        assert!(breaker.is_open(at(4)) && !breaker.is_open(at(5)) && breaker.is_suspect());
        breaker.failed(at(5), None);
        assert!(breaker.is_open(at(14)) && !breaker.is_open(at(15)));
        (0..100).for_each(|_| breaker.failed(at(15), None));
        assert!(breaker.is_open(at(314)) && !breaker.is_open(at(315)));
    }

    #[test]
    fn one_success_forgets_everything() {
        let mut breaker = Breaker::default();
        (0..7).for_each(|_| breaker.failed(at(0), None));
        breaker.succeeded();
        assert_eq!(breaker, Breaker::default());
    }

    #[test]
    fn a_receiver_that_asks_to_be_left_alone_is_at_its_first_failure() {
        let mut breaker = Breaker::default();
        breaker.failed(at(0), Some(Duration::from_secs(60)));
        assert!(breaker.is_open(at(59)) && !breaker.is_open(at(60)) && !breaker.is_suspect());
    }
}
