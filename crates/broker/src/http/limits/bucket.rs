//! Buckets that refill steadily, by the generic cell rate algorithm: a caller costs one number.

use std::{collections::HashMap, hash::Hash, num::NonZeroU64};

use brokkr_api::Timestamp;
use parking_lot::Mutex;

const SECOND: i64 = 1_000_000;
/// Fewer entries than these are never looked through.
const FEW: usize = 1_024;

/// So many requests a second, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quota {
    /// Microseconds in which one request is given back.
    interval: i64,
    /// Microseconds in which an empty bucket fills.
    window: i64,
}

impl Quota {
    /// Nothing, which is no limit, for 0 requests a second.
    pub(super) fn new(per_second: u32, burst: u32) -> Option<Self> {
        // Above a million a second the interval is shorter than the clock's step.
        let interval = SECOND.checked_div(i64::from(per_second))?.max(1);
        Some(Self { interval, window: interval * i64::from(burst.max(1)) })
    }

    /// At most so many in any minute, a tenth of them at once: what is left of the minute refills the bucket.
    pub(super) fn per_minute(most: u32) -> Self {
        let most = i64::from(most.max(1));
        let burst = (most / 10).max(1);
        // Rounded up: one microsecond too few would let one request too many through.
        let interval = (60 * SECOND + most - burst) / (most - burst + 1);
        Self { interval, window: interval * burst }
    }
}

/// What callers have used of their quotas.
pub(super) struct Buckets<K> {
    state: Mutex<State<K>>,
    most: usize,
}

struct State<K> {
    /// When the caller's bucket is full again. Not there: it is full.
    full_at: HashMap<K, i64>,
    /// The bucket of all who have no room for one of their own.
    shared: i64,
    /// The number of entries at which full buckets are thrown away.
    sweep_at: usize,
}

impl<K: Eq + Hash> Buckets<K> {
    /// For at most `most` callers; further ones share one bucket.
    pub(super) fn new(most: usize) -> Self {
        let state = State { full_at: HashMap::new(), shared: 0, sweep_at: FEW.min(most) };
        Self { state: Mutex::new(state), most }
    }

    /// Takes one request, or says in how many seconds there is one.
    pub(super) fn take(&self, caller: K, quota: Quota, now: Timestamp) -> Result<(), NonZeroU64> {
        let now = now.as_micros();
        let state = &mut *self.state.lock();
        if state.full_at.len() >= state.sweep_at && !state.full_at.contains_key(&caller) {
            state.full_at.retain(|_, full_at| *full_at > now);
            // Twice what is in use, so that looking through costs each request a constant.
            state.sweep_at = (2 * state.full_at.len()).clamp(FEW.min(self.most), self.most);
        }
        let has_room = state.full_at.len() < self.most || state.full_at.contains_key(&caller);
        let full_at = if has_room { state.full_at.entry(caller).or_insert(now) } else { &mut state.shared };
        // A clock that was set back must not shut anybody out for longer than an empty bucket does.
        let begin = (*full_at).clamp(now, now.saturating_add(quota.window));
        let next = begin + quota.interval;
        let excess = next - now - quota.window;
        if excess <= 0 {
            *full_at = next;
            return Ok(());
        }
        *full_at = begin;
        let seconds = excess.unsigned_abs().div_ceil(SECOND.unsigned_abs());
        Err(NonZeroU64::new(seconds).unwrap_or(NonZeroU64::MIN))
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.state.lock().full_at.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_micros(1_767_225_600_000_000 + millis * 1_000)
    }

    fn taken(buckets: &Buckets<u32>, caller: u32, quota: Quota, millis: i64) -> usize {
        std::iter::repeat_with(|| buckets.take(caller, quota, at(millis))).take_while(Result::is_ok).count()
    }

    #[test]
    fn a_burst_and_then_so_many_a_second() {
        let (buckets, quota) = (Buckets::new(10), Quota::new(4, 8).unwrap());
        assert_eq!(taken(&buckets, 1, quota, 0), 8);
        assert_eq!(taken(&buckets, 1, quota, 249), 0);
        assert_eq!(taken(&buckets, 1, quota, 250), 1);
        assert_eq!(taken(&buckets, 1, quota, 1_250), 4);
        assert_eq!(taken(&buckets, 2, quota, 1_250), 8, "another caller has a quota of its own");
        assert_eq!(taken(&buckets, 1, quota, 60_000), 8, "a bucket is never more than full");
        assert_eq!(Quota::new(0, 5), None);
    }

    #[test]
    fn a_quota_by_the_minute_holds_in_any_minute() {
        for most in [1, 2, 10, 90, 600] {
            let (buckets, quota) = (Buckets::new(10), Quota::per_minute(most));
            let granted: Vec<i64> = (0..180_000).step_by(20).filter(|at_ms| buckets.take(1, quota, at(*at_ms)).is_ok()).collect();
            let in_minute = |begin: i64| granted.iter().filter(|at| (begin..begin + 60_000).contains(*at)).count();
            let busiest = (0..120_000).step_by(500).map(in_minute).max().unwrap();
            assert!(busiest <= most as usize && busiest * 10 >= most as usize * 8, "{busiest} of {most}");
        }
    }

    #[test]
    fn the_wait_is_what_is_told_rounded_up_to_seconds() {
        let (buckets, slow) = (Buckets::new(10), Quota { interval: 2_500_000, window: 2_500_000 });
        buckets.take(1, slow, at(0)).unwrap();
        assert_eq!(buckets.take(1, slow, at(0)).unwrap_err().get(), 3);
        assert_eq!(buckets.take(1, slow, at(499)).unwrap_err().get(), 3);
        assert_eq!(buckets.take(1, slow, at(500)).unwrap_err().get(), 2);
        assert_eq!(buckets.take(1, slow, at(2_499)).unwrap_err().get(), 1);
        buckets.take(1, slow, at(2_500)).unwrap();
    }

    #[test]
    fn a_clock_that_was_set_back_shuts_nobody_out() {
        let (buckets, quota) = (Buckets::new(10), Quota::new(1, 2).unwrap());
        assert_eq!(taken(&buckets, 1, quota, 3_600_000), 2);
        assert_eq!(taken(&buckets, 1, quota, 0), 0);
        assert_eq!(taken(&buckets, 1, quota, 1_000), 1);
    }

    #[test]
    fn callers_without_room_share_one_bucket_and_full_buckets_make_room() {
        let (buckets, quota) = (Buckets::new(100), Quota::new(1, 1).unwrap());
        for caller in 0..100 {
            assert_eq!(taken(&buckets, caller, quota, 0), 1);
        }
        let shared: usize = (100..10_000).map(|caller| taken(&buckets, caller, quota, 0)).sum();
        assert_eq!((shared, buckets.len()), (1, 100));
        assert_eq!(taken(&buckets, 5, quota, 0), 0, "who has a bucket keeps it");
        assert_eq!(taken(&buckets, 20_000, quota, 1_000), 1);
        assert_eq!(buckets.len(), 1);
    }

    #[test]
    fn entries_go_when_they_say_nothing_more() {
        let (buckets, quota) = (Buckets::new(usize::MAX), Quota::new(100, 200).unwrap());
        for caller in 0..100_000 {
            buckets.take(caller, quota, at(i64::from(caller))).unwrap();
        }
        assert!(buckets.len() <= FEW, "{}", buckets.len());
    }
}
