//! How many stacks are worked on side by side.

use std::{pin::pin, sync::Arc};

use brokkr_telemetry::spans::{self, WaitReason};
use futures::FutureExt;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::Instrument;

/// One stack's turn. It is given up while the stack only waits, so that a few that wait for their health hold up nobody.
pub(crate) struct Slot {
    slots: Arc<Semaphore>,
    permit: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Slot {
    /// Waits for a turn.
    pub(crate) async fn take(slots: Arc<Semaphore>) -> Self {
        let permit = Arc::clone(&slots).acquire_owned().await.ok();
        Self { slots, permit: Mutex::new(permit) }
    }

    /// Lets others have the turn meanwhile, and waits for it again afterwards.
    pub(crate) async fn yielded<T>(&self, wait: impl Future<Output = T>) -> T {
        drop(self.permit.lock().take());
        let result = wait.await;
        let mut turn = pin!(Arc::clone(&self.slots).acquire_owned());
        // Nobody waits where there is a turn at once.
        let permit = match turn.as_mut().now_or_never() {
            Some(permit) => permit,
            None => turn.instrument(spans::wait(WaitReason::Queued)).await,
        };
        *self.permit.lock() = permit.ok();
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_only_waits_lets_another_have_its_turn() {
        let slots = Arc::new(Semaphore::new(1));
        let first = Slot::take(Arc::clone(&slots)).await;
        assert_eq!(slots.available_permits(), 0);
        let seen = first.yielded(async { drop(Slot::take(Arc::clone(&slots)).await) }).await;
        assert_eq!((seen, slots.available_permits()), ((), 0), "it has its turn again");
        drop(first);
        assert_eq!(slots.available_permits(), 1);
    }
}
