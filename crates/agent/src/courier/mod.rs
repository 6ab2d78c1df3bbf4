//! Webhooks whose receivers only this agent reaches: claimed from the broker when it says that there are some, sent at once, reported together.
//!
//! What is handed out is signed already, and kept no longer than it takes to send it. An agent that dies leaves nothing behind: what it had
//! becomes due again when its lease ends, under the same id.

mod parcel;

use std::{sync::Arc, time::Duration};

use brokkr_api::{
    client::{Client, ClientError},
    deliveries::{ClaimDeliveries, DeliveryReport, DeliveryToSend, MAX_DELIVERIES, ReportDeliveries, ReportedDelivery},
};
use brokkr_runtime::{Clock, Ids};
use brokkr_telemetry::{TraceContext, spans};
use brokkr_webhooks::Sender;
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, warn};

use crate::{hands::Hands, schedule::backoff};

/// What ends within so long is reported together.
const LINGER: Duration = Duration::from_millis(5);
/// Longest time for which a report is tried again; the lease of what it tells of has ended then.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends what the broker hands out.
pub(crate) struct Courier {
    pub(crate) client: Client,
    pub(crate) sender: Sender,
    pub(crate) hands: Arc<Hands>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
}

/// What there is to report, and since when.
struct Ended {
    report: DeliveryReport,
    at: Instant,
}

/// What a courier has in its hands.
#[derive(Default)]
struct Round {
    running: JoinSet<Option<DeliveryReport>>,
    ended: Vec<Ended>,
    /// When the broker is asked again without being told.
    again: Option<Instant>,
    failures: u32,
}

impl Courier {
    /// Sends until `stopping`; then nothing more is claimed, and what is on its way arrives and is reported.
    pub(crate) async fn run(self, stopping: CancellationToken) {
        if self.hands.number() == 0 {
            return stopping.cancelled().await;
        }
        let mut round = Round::default();
        loop {
            if !round.ended.is_empty() {
                self.report(&mut round).await;
            }
            let is_over = stopping.is_cancelled();
            if is_over && round.running.is_empty() {
                return;
            }
            if !is_over && self.hands.may_be_work() {
                self.claim(&mut round).await;
            }
            let again = round.again;
            tokio::select! {
                Some(sent) = round.running.join_next() => {
                    round.take(sent.ok().flatten(), &self.hands);
                    tokio::time::sleep(LINGER).await;
                    while let Some(sent) = round.running.try_join_next() {
                        round.take(sent.ok().flatten(), &self.hands);
                    }
                }
                () = self.hands.rung() => {}
                () = at(again) => {
                    round.again = None;
                    self.hands.ring_for_work();
                }
                () = stopping.cancelled(), if !is_over => {}
            }
        }
    }

    /// Claims as much as there are free hands, and begins with it.
    async fn claim(&self, round: &mut Round) {
        let limit = u32::try_from(self.hands.free()).unwrap_or(MAX_DELIVERIES).min(MAX_DELIVERIES);
        if limit == 0 {
            // Whoever gives back a hand rings.
            return;
        }
        let asked = Instant::now();
        match self.client.claim_deliveries(ClaimDeliveries { limit }).instrument(spans::job("webhooks-claim")).await {
            Ok(claimed) => {
                round.failures = 0;
                round.again = claimed.again_after_ms.map(|wait| Instant::now() + Duration::from_millis(wait));
                let until = asked + Duration::from_secs(claimed.lease_seconds);
                for delivery in claimed.deliveries {
                    self.begin(round, delivery, until);
                }
            }
            Err(error) => round.later(&error, &*self.ids, "deliveries of webhooks cannot be claimed; it is tried again"),
        }
    }

    fn begin(&self, round: &mut Round, delivery: DeliveryToSend, until: Instant) {
        if Instant::now() + Duration::from_secs(delivery.timeout_seconds.into()) >= until {
            // It would end after its lease: somebody has it again then.
            debug!(delivery.id = %delivery.id, "a delivery came too late to be sent");
            return;
        }
        let (id, token) = (delivery.id, delivery.token);
        let message = match parcel::message(delivery) {
            Ok(message) => message,
            Err(wrong) => {
                warn!(delivery.id = %id, reason = wrong, "a delivery cannot be sent as it was handed out");
                return;
            }
        };
        self.hands.take();
        let (sender, clock) = (self.sender.clone(), Arc::clone(&self.clock));
        round.running.spawn(async move {
            let attempt = sender.send(message, clock.now()).await;
            Some(parcel::report(id, token, attempt))
        });
    }

    /// Tells how attempts ended. What cannot be told is told again, until it is too late.
    async fn report(&self, round: &mut Round) {
        let now = Instant::now();
        round.ended.retain(|ended| now.duration_since(ended.at) < PATIENCE);
        let number = round.ended.len().min(MAX_DELIVERIES as usize);
        if number == 0 {
            return;
        }
        let report = ReportDeliveries { deliveries: round.ended[..number].iter().map(|ended| ended.report.clone()).collect() };
        let causes: Vec<_> = report
            .deliveries
            .iter()
            .filter_map(|report| TraceContext::from_parts(report.traceparent.as_deref()?, None))
            .collect();
        let span = spans::job_of("webhooks-report", causes.iter().filter(|cause| cause.is_sampled()));
        match self.client.report_deliveries(&report).instrument(span).await {
            Ok(answer) => {
                round.failures = 0;
                let lost = answer.results.iter().filter(|result| **result == ReportedDelivery::Lost).count();
                if lost > 0 {
                    debug!(deliveries = lost, "what was reported belongs to somebody else by now");
                }
                round.ended.drain(..number);
            }
            Err(error) if error.is_transient() => {
                round.later(&error, &*self.ids, "attempts at webhooks cannot be reported; it is tried again");
            }
            Err(error) => {
                let cause: &(dyn std::error::Error + 'static) = &error;
                warn!(error = cause, deliveries = number, "attempts at webhooks cannot be reported; they will be made again");
                round.ended.drain(..number);
            }
        }
    }
}

impl Round {
    /// An attempt has ended; one that panicked belongs to its lease.
    fn take(&mut self, report: Option<DeliveryReport>, hands: &Hands) {
        self.ended.extend(report.map(|report| Ended { report, at: Instant::now() }));
        hands.give_back();
    }

    /// The broker does not answer.
    fn later(&mut self, error: &ClientError, ids: &dyn Ids, what: &'static str) {
        self.failures += 1;
        let cause: &(dyn std::error::Error + 'static) = error;
        // The poll says that the broker is away.
        debug!(error = cause, "{what}");
        self.again = Some(Instant::now() + backoff(self.failures, ids.fraction()));
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
