//! Whether this agent is the one that may act. Held by every call to the cluster.

use std::{sync::Arc, time::Instant};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// The right to act, until a time. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standing {
    until: Arc<Mutex<Option<Instant>>>,
    lost: CancellationToken,
}

impl Standing {
    /// Whether the right holds now. Without a renewal it ends by itself, also while the process is stopped: nothing has to run for that.
    pub(crate) fn holds(&self, now: Instant) -> bool {
        !self.lost.is_cancelled() && self.until.lock().is_some_and(|until| now < until)
    }

    /// The right holds until then.
    pub(crate) fn renew(&self, until: Instant) {
        *self.until.lock() = Some(until);
    }

    /// The right is gone for good: calls in flight are let go of.
    pub(crate) fn lose(&self) {
        *self.until.lock() = None;
        self.lost.cancel();
    }

    /// Waits until the right is gone for good.
    pub(crate) async fn lost(&self) {
        self.lost.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_right_to_act_ends_by_itself_and_what_is_lost_does_not_come_back() {
        let (standing, now) = (Standing::default(), Instant::now());
        assert!(!standing.holds(now), "nobody begins with it");
        standing.renew(now + Duration::from_secs(10));
        assert!(standing.clone().holds(now + Duration::from_secs(9)));
        assert!(!standing.holds(now + Duration::from_secs(10)));
        standing.lose();
        standing.renew(now + Duration::from_secs(20));
        assert!(!standing.holds(now));
    }
}
