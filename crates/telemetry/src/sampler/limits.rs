//! Limits in traces per second: one that is kept to, and one that is aimed at.

use std::time::{Duration, Instant};

use super::{RANDOM_VALUES, threshold};

/// Lets so many through each second, and as many at once.
#[derive(Debug)]
pub(super) struct Bucket {
    per_second: f64,
    left: f64,
    at: Option<Instant>,
}

impl Bucket {
    pub(super) fn new(per_second: f64) -> Self {
        let per_second = if per_second.is_finite() { per_second.max(0.0) } else { 0.0 };
        Self { per_second, left: Self::most(per_second), at: None }
    }

    /// Less than one a second is still one now and then.
    fn most(per_second: f64) -> f64 {
        if per_second > 0.0 { per_second.max(1.0) } else { 0.0 }
    }

    pub(super) fn take(&mut self, now: Instant) -> bool {
        let since = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.at = Some(now);
        self.left = (self.left + since.as_secs_f64() * self.per_second).min(Self::most(self.per_second));
        let passes = self.left >= 1.0;
        if passes {
            self.left -= 1.0;
        }
        passes
    }
}

/// How long traces are counted before the share is set anew.
const WINDOW: Duration = Duration::from_secs(1);

/// Keeps the share of the traces that makes about so many a second, whatever their number.
#[derive(Debug)]
pub(super) struct Adaptive {
    target: f64,
    began: Option<Instant>,
    seen: f64,
    kept: f64,
    /// Traces a second as they were lately.
    load: Option<f64>,
    threshold: u64,
}

impl Adaptive {
    pub(super) fn new(target: f64) -> Self {
        Self { target, began: None, seen: 0.0, kept: 0.0, load: None, threshold: 0 }
    }

    /// Decides by the trace id, so that others who know the share decide alike; but never keeps more than twice the target in one window, because
    /// a load that rises at once is known only at the window's end.
    pub(super) fn keeps(&mut self, random: u64, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(*self.began.get_or_insert(now));
        if elapsed >= WINDOW {
            let lately = self.seen / elapsed.as_secs_f64();
            // Follows a rise at once, and a fall by half a window.
            let load = self.load.map_or(lately, |before| if lately > before { lately } else { f64::midpoint(lately, before) });
            self.threshold = if load > self.target { threshold(self.target / load) } else { 0 };
            (self.load, self.began, self.seen, self.kept) = (Some(load), Some(now), 0.0, 0.0);
        }
        self.seen += 1.0;
        let most = (2.0 * self.target).max(1.0);
        let keeps = self.threshold < RANDOM_VALUES && random >= self.threshold && self.kept < most;
        if keeps {
            self.kept += 1.0;
        }
        keeps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_lets_its_number_through_each_second_and_none_when_it_is_nought() {
        let start = Instant::now();
        let passed = |per_second: f64, seconds: u32| {
            let mut bucket = Bucket::new(per_second);
            (0..seconds * 1_000).filter(|step| bucket.take(start + Duration::from_millis(u64::from(*step)))).count()
        };
        assert!((100..=110).contains(&passed(10.0, 10)), "{}", passed(10.0, 10));
        assert_eq!(passed(0.5, 4), 2);
        assert_eq!(passed(0.0, 10), 0);
        assert_eq!(passed(f64::NAN, 10), 0);
    }

    /// Values that are spread like random ones, and are the same each time.
    fn spread(number: u64) -> u64 {
        number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % RANDOM_VALUES
    }

    #[test]
    fn the_adaptive_share_keeps_about_the_target_under_any_load() {
        let start = Instant::now();
        for load in [5_u64, 50, 1_000, 20_000] {
            let mut adaptive = Adaptive::new(10.0);
            let at = |number: u64| start + Duration::from_micros(number * 1_000_000 / load);
            let kept = (0..load * 20).filter(|number| adaptive.keeps(spread(*number), at(*number))).count();
            let expected = 10.0_f64.min(f64::from(u32::try_from(load).unwrap())) * 20.0;
            let share = f64::from(u32::try_from(kept).unwrap()) / expected;
            assert!((0.7..1.3).contains(&share), "{load}/s: kept {kept}, expected about {expected}");
        }
    }

    #[test]
    fn a_load_that_rises_at_once_costs_twice_the_target_at_most() {
        let start = Instant::now();
        let mut adaptive = Adaptive::new(10.0);
        let kept = (0..100_000).filter(|number| adaptive.keeps(spread(*number), start)).count();
        assert_eq!(kept, 20);
    }
}
