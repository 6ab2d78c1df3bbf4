//! The gauges that are counted in the database. Every broker counts for itself, under no lease, so that every one tells the truth;
//! a scrape reads what was counted and asks nobody.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use brokkr_api::Timestamp;
use brokkr_runtime::Clock;
use brokkr_telemetry::{BrokerMetrics, spans};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, warn};

use crate::store::{Db, Error};

/// How often it is counted when nothing happens: ages grow by themselves.
const EVERY: Duration = Duration::from_secs(15);
/// How soon after something happened.
const SOON: Duration = Duration::from_millis(200);
/// Counting rests for so many times as long as it took: a fleet in which something happens all the time is counted seldom when that is
/// expensive.
const REST: u32 = 50;

/// Counts.
pub(crate) struct Sampler {
    pub(crate) db: Db,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: BrokerMetrics,
    /// How long ago an agent that is online was seen at most.
    pub(crate) active: Duration,
}

impl Sampler {
    /// Counts until `stopping`: every now and then, and soon after `changed`.
    pub(crate) async fn run(self, changed: Arc<Notify>, stopping: CancellationToken) {
        let mut failing = false;
        loop {
            let began = Instant::now();
            match self.sample().instrument(spans::job("metrics")).await {
                Ok(()) => failing = false,
                // The feed says that the database is away.
                Err(error) if failing => debug!(error = &error as &dyn std::error::Error, "the gauges still cannot be counted"),
                Err(error) => {
                    failing = true;
                    warn!(error = &error as &dyn std::error::Error, "the gauges cannot be counted; they stay as they are");
                }
            }
            let rest = SOON.max(began.elapsed() * REST).min(EVERY);
            let news = async {
                changed.notified().await;
                tokio::time::sleep(rest).await;
            };
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
                () = news => {}
            }
        }
    }

    /// Counts once.
    pub(crate) async fn sample(&self) -> Result<(), Error> {
        let now = self.clock.now();
        let age = |at: Option<Timestamp>| at.map(|at| now.since(at)).unwrap_or_default();
        let active_since = now.before(self.active);
        let totals = self.db.totals().await?;
        self.metrics.stacks_total.set(totals.stacks);
        self.metrics.deployment_objects_total.set(totals.deployment_objects);
        let fleet = self.db.fleet_totals(active_since).await?;
        self.metrics.agents(fleet.online, fleet.agents - fleet.online);
        self.metrics.heartbeat_age(age(fleet.median), age(fleet.oldest));
        let deployments = self.db.deployment_totals(active_since).await?;
        self.metrics.deployments(|phase| deployments.phases.get(phase).copied().unwrap_or(0));
        self.metrics.rollout_oldest_unsettled.set_span(age(deployments.oldest_unsettled));
        let deliveries = self.db.delivery_totals().await?;
        self.metrics.queue("deliveries", deliveries.depth, age(deliveries.oldest));
        let orders = self.db.count_work_orders().await?;
        self.metrics.work_orders(orders.waiting, orders.queued, orders.claimed, orders.running, age(orders.oldest));
        match self.db.next_key_expiry(now).await? {
            Some(at) => self.metrics.key_next_expiry.set(at.to_system_time()),
            None => self.metrics.key_next_expiry.set_span(Duration::ZERO),
        }
        Ok(())
    }
}
