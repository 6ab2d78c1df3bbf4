//! Gives events their stream position after commit.

use std::time::Duration;

use super::{Due, Job, Round};
use crate::store::{Db, Error};

/// Sequences events.
pub(crate) struct Sequencer {
    pub(crate) db: Db,
}

impl Job for Sequencer {
    const NAME: &'static str = "event-sequencer";
    const PERIOD: Duration = Duration::from_secs(1);

    async fn due(&self) -> Result<Due, Error> {
        Ok(self.db.unsequenced_events().await?.map_or(Due::No, Due::Caused))
    }

    async fn round(&mut self, _: Round) -> Result<(), Error> {
        while self.db.sequence_events().await? > 0 {}
        Ok(())
    }
}
