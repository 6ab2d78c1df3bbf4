//! Gives events their stream position after commit.

use std::{sync::Arc, time::Duration};

use brokkr_api::Timestamp;
use brokkr_runtime::Clock;
use brokkr_telemetry::spans;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, warn};

use crate::store::{Db, Error};

const NAME: &str = "event-sequencer";
const PERIOD: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(10);

/// Sequences events until `stopping`. `holder` names this broker.
pub(crate) async fn run(db: Db, clock: Arc<dyn Clock>, holder: String, stopping: CancellationToken) {
    let mut failing = false;
    loop {
        let round = round(&db, &*clock, &holder).instrument(spans::job(NAME)).await;
        match round {
            Ok(()) => failing = false,
            // The feed says once that the database is away; the sequencer need not say it every second again.
            Err(error) if failing => debug!(error = &error as &dyn std::error::Error, "events still wait for their positions"),
            Err(error) => {
                failing = true;
                warn!(error = &error as &dyn std::error::Error, "events wait for their positions");
            }
        }
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

async fn round(db: &Db, clock: &dyn Clock, holder: &str) -> Result<(), Error> {
    let now = clock.now();
    let until = Timestamp::from_micros(now.as_micros() + i64::try_from(LEASE.as_micros()).unwrap_or(0));
    if !db.has_unsequenced_events().await? || !db.take_lease(NAME, holder, now, until).await? {
        return Ok(());
    }
    while db.sequence_events().await? > 0 {}
    Ok(())
}
