//! What follows from an attempt: nothing more, another one later, the end of the delivery, or the end of the webhook.

use std::time::Duration;

use brokkr_api::Timestamp;
use brokkr_telemetry::metrics::WebhookResult;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// Seconds between an attempt and the next one, as Standard Webhooks proposes them.
pub(crate) const SCHEDULE: [u64; 9] =
    [5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR];

/// How long a receiver may fail before its webhook is disabled.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5 * 24 * HOUR);

/// A wait is longer or shorter by at most this part of it, so that what failed together does not come back together.
const JITTER: f64 = 0.2;

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// The receiver has it.
    Delivered,
    /// It is tried again then.
    Retry(Timestamp),
    /// It was tried often enough.
    Dead,
}

/// What follows from the attempt that ended at `now`. `tries` counts it, `fraction` is random in `0.0..1.0`.
pub(crate) fn next(result: WebhookResult, tries: u32, retry_after: Option<Duration>, now: Timestamp, fraction: f64) -> Next {
    if result == WebhookResult::Success {
        return Next::Delivered;
    }
    let place = usize::try_from(tries.saturating_sub(1)).unwrap_or(usize::MAX);
    let Some(seconds) = SCHEDULE.get(place) else { return Next::Dead };
    let wait = Duration::from_secs(*seconds).mul_f64(1.0 - JITTER + 2.0 * JITTER * fraction);
    // Whoever says when is not asked earlier.
    Next::Retry(now.after(wait.max(retry_after.unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(next: Next) -> u64 {
        match next {
            Next::Retry(at) => at.since(Timestamp::from_micros(0)).as_secs(),
            other => panic!("{other:?}"),
        }
    }

    fn wait(tries: u32, retry_after: Option<u64>) -> Next {
        let retry_after = retry_after.map(Duration::from_secs);
        next(WebhookResult::ServerError, tries, retry_after, Timestamp::from_micros(0), 0.5)
    }

    #[test]
    fn ten_attempts_are_made_over_more_than_three_days() {
        let waits: Vec<_> = (1..=9).map(|tries| seconds(wait(tries, None))).collect();
        assert_eq!(waits, [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400]);
        assert_eq!(wait(10, None), Next::Dead);
        assert_eq!(wait(u32::MAX, None), Next::Dead);
        assert_eq!(next(WebhookResult::Success, 10, None, Timestamp::from_micros(0), 0.5), Next::Delivered);
    }

    #[test]
    fn a_receiver_that_says_when_is_not_asked_earlier_and_not_later_than_the_schedule_has_it() {
        assert_eq!(seconds(wait(1, Some(120))), 120);
        assert_eq!(seconds(wait(2, Some(120))), 300);
    }

    proptest! {
        #[test]
        fn a_wait_stays_within_a_fifth_of_the_schedule(tries in 1_u32..=9, fraction in 0.0..1.0_f64) {
            let scheduled = SCHEDULE[tries as usize - 1] as f64;
            let Next::Retry(at) = next(WebhookResult::Timeout, tries, None, Timestamp::from_micros(0), fraction) else {
                return Err(TestCaseError::fail("no retry"));
            };
            let wait = at.since(Timestamp::from_micros(0)).as_secs_f64();
            prop_assert!((scheduled * 0.799..=scheduled * 1.201).contains(&wait), "{wait} of {scheduled}");
        }
    }
}
