//! Ids and randomness as a parameter.

use brokkr_api::Timestamp;
use parking_lot::Mutex;
use rand::{RngCore, SeedableRng, rngs::StdRng};
use uuid::{NoContext, Uuid, timestamp::Timestamp as UuidTime};

/// Makes ids and random bytes.
pub trait Ids: Send + Sync + 'static {
    /// Fills `bytes` with randomness; of the operating system in a daemon.
    fn fill(&self, bytes: &mut [u8]);

    /// A `UUIDv7` of this time.
    fn uuid(&self, now: Timestamp) -> Uuid {
        let micros = u64::try_from(now.as_micros()).unwrap_or(0);
        let time = UuidTime::from_unix(NoContext, micros / 1_000_000, u32::try_from(micros % 1_000_000 * 1_000).unwrap_or(0));
        let mut random = [0; 10];
        self.fill(&mut random);
        let (seconds, nanos) = time.to_unix();
        let millis = seconds * 1_000 + u64::from(nanos) / 1_000_000;
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }

    /// A number in `0.0..1.0`, for jitter.
    fn fraction(&self) -> f64 {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
    }
}

/// Randomness of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemIds;

impl Ids for SystemIds {
    #[expect(clippy::disallowed_methods, reason = "the one place that takes randomness from the machine")]
    fn fill(&self, bytes: &mut [u8]) {
        rand::rng().fill_bytes(bytes);
    }
}

/// The same ids in every run, for tests. Not for keys.
#[derive(Debug)]
pub struct SeededIds(Mutex<StdRng>);

impl SeededIds {
    /// Ids that follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }
}

impl Ids for SeededIds {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().fill_bytes(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_version_7_and_sort_by_time() {
        let ids = SeededIds::new(1);
        let early = ids.uuid(Timestamp::from_micros(1_000_000));
        let late = ids.uuid(Timestamp::from_micros(1_001_000));
        assert_eq!(early.get_version_num(), 7);
        assert!(early < late);
    }

    #[test]
    fn fractions_stay_below_one() {
        let ids = SeededIds::new(2);
        assert!((0..1000).map(|_| ids.fraction()).all(|f| (0.0..1.0).contains(&f)));
    }
}
