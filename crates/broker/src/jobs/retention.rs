//! What is kept for how long: events, the audit log, deliveries, the history of stacks.

use std::{sync::Arc, time::Duration};

use brokkr_runtime::Clock;

use super::{Job, Round};
use crate::{
    config::RetentionConfig,
    store::{Db, Error},
};

/// Rows that one statement removes at most, so that no writer waits long.
const BATCH: u32 = 1_000;
/// How long a generation is kept whatever the depth of the history, so that an idempotency key holds for a day.
const YOUNGEST: Duration = Duration::from_secs(24 * 3_600);

/// How long a key that opens nothing any more is listed.
const KEYS: Duration = Duration::from_secs(30 * 24 * 3_600);

/// How long the row of a deleted webhook stays at least.
const WEBHOOKS: Duration = Duration::from_secs(600);

/// Removes what is old enough.
pub(crate) struct Retention {
    pub(crate) db: Db,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) config: RetentionConfig,
}

impl Job for Retention {
    const NAME: &'static str = "retention";
    const PERIOD: Duration = Duration::from_secs(60);

    async fn round(&mut self, _: Round) -> Result<(), Error> {
        let before = |age: Duration| self.clock.now().before(age);
        let days = |days: u32| before(Duration::from_secs(u64::from(days) * 24 * 3_600));
        while self.db.prune_events(days(self.config.events_days), BATCH).await? == u64::from(BATCH) {}
        while self.db.prune_audit(days(self.config.audit_days), BATCH).await? == u64::from(BATCH) {}
        while self.db.prune_keys(before(KEYS), BATCH).await? == u64::from(BATCH) {}
        while self.db.prune_work_orders(days(self.config.work_orders_days), BATCH).await? == u64::from(BATCH) {}
        while self.db.prune_deliveries(days(self.config.deliveries_days), BATCH).await? == u64::from(BATCH) {}
        self.db.prune_webhooks(before(WEBHOOKS)).await?;
        while self.db.prune_history(self.config.generations, before(YOUNGEST), BATCH).await? == u64::from(BATCH) {}
        Ok(())
    }
}
