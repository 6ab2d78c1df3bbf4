//! Background work, under leases where only one broker may do it.

pub(crate) mod key_age;
pub(crate) mod offline;
pub(crate) mod retention;
pub(crate) mod sequencer;
pub(crate) mod work_orders;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use brokkr_api::Timestamp;
use brokkr_runtime::Clock;
use brokkr_telemetry::{TraceContext, metrics::OpResult, spans};
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
    fn due(&self) -> impl Future<Output = Result<Due, Error>> + Send {
        std::future::ready(Ok(Due::ByTime))
    }

    /// Does it once.
    fn round(&mut self, round: Round) -> impl Future<Output = Result<(), Error>> + Send;
}

/// Whether a job has anything to do, and who caused it.
#[derive(Debug)]
pub(crate) enum Due {
    No,
    /// It is time, and nobody in particular is the cause.
    ByTime,
    /// The work was left by what happened in these traces: the round is a trace of its own that links to them.
    Caused(Vec<TraceContext>),
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
        match round(&mut job, &db, &*clock, &holder, &mut undisturbed).await {
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
    let round = Round { undisturbed: undisturbed.begin(now, J::PERIOD) };
    let span = spans::job(J::NAME);
    let span =
        match job.due().instrument(span.clone()).await.inspect_err(|error| spans::record_error(&span, error.error_type()))? {
            Due::No => return Ok(()),
            Due::ByTime => span,
            Due::Caused(causes) => spans::job_of(J::NAME, &causes),
        };
    let work = async {
        if db.take_lease(J::NAME, holder, now, now.after(J::PERIOD * 10)).await? {
            let began = Instant::now();
            let done = job.round(round).await;
            let result = if done.is_ok() { OpResult::Success } else { OpResult::Error };
            db.metrics().job_ran(J::NAME, result, began.elapsed());
            done?;
            undisturbed.end(now);
        }
        Ok(())
    };
    let result: Result<(), Error> = work.instrument(span.clone()).await;
    result.inspect_err(|error| spans::record_error(&span, error.error_type()))
}

/// One round, without the loop around it.
#[cfg(test)]
pub(crate) async fn run_once<J: Job>(job: &mut J, db: &Db, clock: &dyn Clock, holder: &str) -> Result<(), Error> {
    round(job, db, clock, holder, &mut Undisturbed::default()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_is_in_the_catalogue_of_metrics() {
        let jobs = [
            sequencer::Sequencer::NAME,
            retention::Retention::NAME,
            offline::Offline::NAME,
            key_age::KeyAge::NAME,
            work_orders::WorkOrders::NAME,
        ];
        assert_eq!(jobs, brokkr_telemetry::metrics::JOBS);
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/jobs");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap());
        let declared = files.filter(|text| text.contains("\nimpl Job for ")).count();
        assert_eq!(declared, jobs.len(), "a new job is named here and in the catalogue");
    }

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
