//! Background work, under leases where only one broker may do it.

pub(crate) mod key_age;
pub(crate) mod offline;
pub(crate) mod retention;
pub(crate) mod sequencer;
pub(crate) mod work_orders;

use std::{sync::Arc, time::Duration};

use brokkr_api::Timestamp;
use brokkr_runtime::Clock;
use brokkr_telemetry::spans;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, warn};

use crate::store::{Db, Error};

/// Work that one broker at a time does again and again.
pub(crate) trait Job: Send + 'static {
    /// Name of the lease, of the span and of the task.
    const NAME: &'static str;
    /// Time between two rounds; the lease holds for ten.
    const PERIOD: Duration;

    /// Whether there is anything to do: asked before the lease is taken, because an idle broker should write nothing.
    fn is_due(&self) -> impl Future<Output = Result<bool, Error>> + Send {
        std::future::ready(Ok(true))
    }

    /// Does it once.
    fn round(&mut self, round: Round) -> impl Future<Output = Result<(), Error>> + Send;
}

/// What a job is told of its round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    /// How long this broker has held the lease and reached its database in every round.
    pub(crate) undisturbed: Duration,
}

/// Runs a job until `stopping`, in rounds in which this broker holds its lease. `holder` names this broker.
pub(crate) async fn run<J: Job>(mut job: J, db: Db, clock: Arc<dyn Clock>, holder: String, stopping: CancellationToken) {
    let mut undisturbed = Undisturbed::default();
    let mut failing = false;
    loop {
        match round(&mut job, &db, &*clock, &holder, &mut undisturbed).instrument(spans::job(J::NAME)).await {
            Ok(()) => failing = false,
            // The feed says once that the database is away; a job need not say it in every round again.
            Err(error) if failing => debug!(job = J::NAME, error = &error as &dyn std::error::Error, "a job still fails"),
            Err(error) => {
                failing = true;
                warn!(job = J::NAME, error = &error as &dyn std::error::Error, "a job fails; it is tried again");
            }
        }
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(J::PERIOD) => {}
        }
    }
}

/// Since when a broker has done its rounds without a gap: it was not stopped, and neither was its database.
#[derive(Debug, Default)]
struct Undisturbed {
    since: Option<Timestamp>,
    last: Option<Timestamp>,
}

impl Undisturbed {
    /// Begins a round; a gap of several periods begins the count again.
    fn begin(&mut self, now: Timestamp, period: Duration) -> Duration {
        if self.last.take().is_none_or(|last| now.since(last) > period * 3) {
            self.since = Some(now);
        }
        now.since(self.since.unwrap_or(now))
    }

    /// The round ended as it should; one that does not is a gap.
    fn end(&mut self, now: Timestamp) {
        self.last = Some(now);
    }
}

/// One round, if the lease can be had.
async fn round<J: Job>(
    job: &mut J,
    db: &Db,
    clock: &dyn Clock,
    holder: &str,
    undisturbed: &mut Undisturbed,
) -> Result<(), Error> {
    let now = clock.now();
    let span = undisturbed.begin(now, J::PERIOD);
    if job.is_due().await? && db.take_lease(J::NAME, holder, now, now.after(J::PERIOD * 10)).await? {
        job.round(Round { undisturbed: span }).await?;
        undisturbed.end(now);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_between_rounds_begins_the_count_again() {
        let period = Duration::from_secs(15);
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        let mut undisturbed = Undisturbed::default();
        let mut round = |seconds: i64, ends: bool| {
            let span = undisturbed.begin(at(seconds), period).as_secs();
            if ends {
                undisturbed.end(at(seconds));
            }
            span
        };
        assert_eq!([round(0, true), round(15, true), round(30, true)], [0, 15, 30]);
        assert_eq!([round(200, true), round(215, true)], [0, 15], "it was stopped for a while");
        assert_eq!([round(230, false), round(245, true)], [30, 0], "a round that failed is a gap");
    }
}
