//! What spares the API server: most calls in flight, a pace, and silence while it asks for it.

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use brokkr_telemetry::spans::{self, WaitReason};
use futures::FutureExt;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::Instrument;

/// The longest silence that the API server can ask for.
const LONGEST_SILENCE: Duration = Duration::from_secs(60);

/// How much the API server is asked at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Calls in flight over all stacks.
    pub(crate) in_flight: usize,
    pub(crate) per_second: u32,
    /// Calls that may follow each other without a pause after a rest.
    pub(crate) burst: u32,
}

/// Lets calls pass, all stacks together.
#[derive(Debug)]
pub(super) struct Throttle {
    slots: Arc<Semaphore>,
    pace: Mutex<Pace>,
}

/// The leave to make one call; the slot is free again when it is dropped. A watch has none: it would hold it for minutes.
#[derive(Debug)]
pub(super) struct Leave {
    _slot: Option<OwnedSemaphorePermit>,
}

impl Throttle {
    pub(super) fn new(limits: Limits, now: Instant) -> Self {
        Self { slots: Arc::new(Semaphore::new(limits.in_flight)), pace: Mutex::new(Pace::new(limits, now)) }
    }

    /// Waits for the leave to make a call. The wait is a span, and there is none when nobody waited.
    pub(super) async fn enter(&self, is_watch: bool) -> Leave {
        let mut entered = pin!(self.leave(is_watch));
        match entered.as_mut().now_or_never() {
            Some(leave) => leave,
            None => entered.instrument(spans::wait(WaitReason::Throttled)).await,
        }
    }

    async fn leave(&self, is_watch: bool) -> Leave {
        if is_watch {
            while let Some(left) = self.silence(Instant::now()) {
                tokio::time::sleep(left).await;
            }
            return Leave { _slot: None };
        }
        // The semaphore is never closed: without a slot the call would only be one too many.
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok();
        let now = Instant::now();
        let turn = self.pace.lock().turn(now);
        // Even a sleep until now takes a turn of the timer: a millisecond.
        if turn > now {
            tokio::time::sleep_until(turn.into()).await;
        }
        // The API server may have asked for silence since the turn was given.
        while let Some(left) = self.silence(Instant::now()) {
            tokio::time::sleep(left).await;
        }
        Leave { _slot: slot }
    }

    /// The API server asks that nobody calls for so long.
    pub(super) fn be_silent(&self, now: Instant, wanted: Duration) {
        self.pace.lock().be_silent(now, wanted);
    }

    /// What is left of the silence.
    pub(super) fn silence(&self, now: Instant) -> Option<Duration> {
        self.pace.lock().silence(now)
    }
}

/// A bucket of tokens, filled at a steady rate, and the end of the silence. Pure: time is a parameter.
#[derive(Debug)]
struct Pace {
    interval: Duration,
    /// How far the bucket's clock may lag behind: a burst's worth.
    slack: Duration,
    /// When the next token is there, if the bucket was never full.
    next: Instant,
    silent_until: Option<Instant>,
}

impl Pace {
    fn new(limits: Limits, now: Instant) -> Self {
        let interval = Duration::from_secs(1) / limits.per_second.max(1);
        let slack = interval * limits.burst.saturating_sub(1);
        Self { interval, slack, next: now.checked_sub(slack).unwrap_or(now), silent_until: None }
    }

    /// Takes a token, and tells from when on it may be used.
    fn turn(&mut self, now: Instant) -> Instant {
        let fullest = now.checked_sub(self.slack).unwrap_or(now);
        let turn = self.next.max(fullest);
        self.next = turn + self.interval;
        turn.max(now)
    }

    fn be_silent(&mut self, now: Instant, wanted: Duration) {
        let until = now + wanted.min(LONGEST_SILENCE);
        self.silent_until = Some(self.silent_until.map_or(until, |known| known.max(until)));
    }

    fn silence(&mut self, now: Instant) -> Option<Duration> {
        let left = self.silent_until?.saturating_duration_since(now);
        if left.is_zero() {
            self.silent_until = None;
            return None;
        }
        Some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { in_flight: 2, per_second: 10, burst: 3 };

    fn waits(pace: &mut Pace, now: Instant, calls: usize) -> Vec<u128> {
        (0..calls).map(|_| pace.turn(now).duration_since(now).as_millis()).collect()
    }

    #[test]
    fn a_burst_passes_at_once_and_what_follows_goes_at_the_pace() {
        let now = Instant::now() + Duration::from_secs(10);
        let mut pace = Pace::new(LIMITS, now);
        assert_eq!(waits(&mut pace, now, 5), [0, 0, 0, 100, 200]);
    }

    #[test]
    fn a_rest_fills_the_bucket_and_a_long_one_does_not_overfill_it() {
        let now = Instant::now() + Duration::from_secs(10);
        let mut pace = Pace::new(LIMITS, now);
        waits(&mut pace, now, 4);
        assert_eq!(waits(&mut pace, now + Duration::from_millis(250), 2), [0, 50], "the turn of 200 ms, and the next one");
        assert_eq!(waits(&mut pace, now + Duration::from_secs(3_600), 5), [0, 0, 0, 100, 200]);
    }

    #[test]
    fn silence_lasts_as_long_as_asked_and_a_minute_at_most() {
        let now = Instant::now();
        let mut pace = Pace::new(LIMITS, now);
        pace.be_silent(now, Duration::from_secs(5));
        pace.be_silent(now, Duration::from_secs(1));
        assert_eq!(pace.silence(now), Some(Duration::from_secs(5)), "a shorter one does not end a longer one");
        assert_eq!(pace.silence(now + Duration::from_secs(5)), None);
        pace.be_silent(now, Duration::from_secs(86_400));
        assert_eq!(pace.silence(now), Some(LONGEST_SILENCE));
    }

    #[tokio::test]
    async fn no_more_calls_are_in_flight_than_allowed_and_a_watch_does_not_count() {
        let throttle = Throttle::new(LIMITS, Instant::now());
        let (first, _second) = (throttle.enter(false).await, throttle.enter(false).await);
        assert!(throttle.enter(false).now_or_never().is_none());
        assert!(throttle.enter(true).now_or_never().is_some());
        drop(first);
        assert!(throttle.enter(false).now_or_never().is_some());
    }

    #[tokio::test]
    async fn nobody_calls_while_the_api_server_wants_silence_not_even_a_watch() {
        let throttle = Throttle::new(LIMITS, Instant::now());
        throttle.be_silent(Instant::now(), Duration::from_secs(30));
        for is_watch in [false, true] {
            assert!(throttle.enter(is_watch).now_or_never().is_none());
        }
    }
}
