//! Gives events their stream position after commit.

use std::time::Duration;

use super::{Job, Round};
use crate::store::{Db, Error};

/// Sequences events.
pub(crate) struct Sequencer {
    pub(crate) db: Db,
}

impl Job for Sequencer {
    const NAME: &'static str = "event-sequencer";
    const PERIOD: Duration = Duration::from_secs(1);

    async fn is_due(&self) -> Result<bool, Error> {
        self.db.has_unsequenced_events().await
    }

    async fn round(&mut self, _: Round) -> Result<(), Error> {
        while self.db.sequence_events().await? > 0 {}
        Ok(())
    }
}
