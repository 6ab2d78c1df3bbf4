//! Sends webhooks. One task of each broker gives deliveries their places as soon as they are committed, claims what is due for all webhooks
//! together, sends it at the same time, and writes down together how it went.
//!
//! Brokers work side by side: a delivery belongs to whoever has claimed it, for the time of a lease. What a broker does not write down because
//! it died is sent again under the same id. What agents are to send they claim at the [`depot`]; a courier looks after that too, and sends
//! nothing of it itself.

mod choice;
pub(crate) mod depot;
pub(crate) mod endpoint;
mod lane;
mod message;
pub(crate) mod parcel;
pub(crate) mod settle;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use brokkr_api::{Timestamp, WebhookId};
use brokkr_runtime::{Clock, Ids};
use brokkr_telemetry::{BrokerMetrics, config::Handoff, spans};
use brokkr_webhooks::{Attempt, Sender};
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, warn};

use crate::{
    domain::seal::Keyring,
    store::{ClaimedDelivery, Db, Error, Judged, Mark, Settled},
};
use depot::Depot;
use endpoint::Endpoint;
use lane::{Lane, Waiting};
use settle::{Account, Verdict};

/// How often is looked for what is due, and for webhooks that another broker has changed.
const TICK: Duration = Duration::from_secs(1);
/// How long a delivery belongs to its claimer: longer than the longest attempt, and a while in line before it.
pub(crate) const LEASE: Duration = Duration::from_secs(60);
/// What ends within so long is written down together.
const LINGER: Duration = Duration::from_millis(5);
/// Deliveries of one webhook that are claimed together.
const EACH: u32 = 16;
/// Webhooks that are sealed anew together.
const RESEALED: u32 = 100;

/// What a courier works with.
pub(crate) struct Courier {
    pub(crate) db: Db,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) sender: Sender,
    pub(crate) metrics: BrokerMetrics,
    pub(crate) handoff: Handoff,
    /// Which installation this is, for CloudEvents.
    pub(crate) installation: String,
    /// Names this broker.
    pub(crate) holder: String,
    /// Woken when this broker has changed a webhook or has made something due.
    pub(crate) nudge: Arc<Notify>,
    /// What agents send.
    pub(crate) depot: Arc<Depot>,
    /// Most attempts at the same time.
    pub(crate) at_once: usize,
}

/// An attempt that has ended.
struct Finished {
    delivery: Box<ClaimedDelivery>,
    attempt: Attempt,
    at: Timestamp,
}

/// What a courier has in its hands.
#[derive(Default)]
struct Hands {
    lanes: HashMap<WebhookId, Lane>,
    /// Which number of changes the lanes are of.
    changes: Option<u64>,
    /// Who may have something due.
    hinted: HashSet<WebhookId>,
    running: JoinSet<Finished>,
    /// What is to be written down.
    settled: Vec<Settled>,
    marks: HashMap<WebhookId, Mark>,
    /// Whether events were committed that have no positions yet.
    sequence: bool,
    failing: bool,
}

impl Courier {
    /// Sends until `stopping`. While the broker drains nothing more is claimed, and what is on its way arrives.
    pub(crate) async fn run(self, draining: CancellationToken, stopping: CancellationToken) {
        let mut hands = Hands { sequence: true, ..Hands::default() };
        let mut tick = Instant::now();
        if let Err(error) = self.reseal().instrument(spans::job("webhooks")).await {
            warn!(
                error = &error as &dyn std::error::Error,
                "secrets of webhooks stay under their former key until the next start"
            );
        }
        while !stopping.is_cancelled() {
            let is_tick = Instant::now() >= tick;
            if is_tick {
                tick = Instant::now() + TICK;
            }
            let round = self.round(&mut hands, is_tick, draining.is_cancelled()).instrument(spans::job("webhooks"));
            match Box::pin(round).await {
                Ok(()) => hands.failing = false,
                Err(error) => {
                    // The feed says once that the database is away.
                    if !hands.failing && !matches!(error, Error::Unavailable { .. }) {
                        warn!(error = &error as &dyn std::error::Error, "webhooks cannot be sent; it is tried again");
                    }
                    debug!(error = &error as &dyn std::error::Error, "a round of the courier failed");
                    hands.failing = true;
                    tokio::select! {
                        () = stopping.cancelled() => {}
                        () = sleep(TICK) => {}
                    }
                    continue;
                }
            }
            if !draining.is_cancelled() && hands.is_busy(self.clock.now(), self.at_once) {
                continue;
            }
            let next = tick.min(hands.next_start(self.clock.now()));
            tokio::select! {
                () = stopping.cancelled() => {}
                Some(finished) = hands.running.join_next() => {
                    self.take(&mut hands, finished.ok());
                    sleep(LINGER).await;
                }
                () = self.db.events_committed() => hands.sequence = true,
                () = self.nudge.notified() => tick = Instant::now(),
                () = sleep_until(next) => {}
            }
        }
        // What is still under way belongs to its lease.
        self.collect(&mut hands);
        self.settle(&mut hands).await.unwrap_or_default();
    }

    /// One round: write down, learn, claim, send.
    async fn round(&self, hands: &mut Hands, is_tick: bool, draining: bool) -> Result<(), Error> {
        self.collect(hands);
        if draining {
            let now = self.clock.now();
            let waiting = hands.lanes.values_mut().flat_map(|lane| lane.waiting.drain(..));
            hands.settled.extend(waiting.map(|waiting| Settled { delivery: waiting.delivery, judged: Judged::Released(now) }));
            return self.settle(hands).await;
        }
        self.settle(hands).await?;
        if is_tick {
            self.look(hands).await?;
        }
        if std::mem::take(&mut hands.sequence) && !(hands.lanes.is_empty() && self.depot.is_empty()) {
            self.sequence(hands).await.inspect_err(|_| hands.sequence = true)?;
        }
        self.claim(hands).await?;
        self.start(hands);
        Ok(())
    }

    /// Looks whether webhooks have changed, and whether something is due.
    async fn look(&self, hands: &mut Hands) -> Result<(), Error> {
        let (due, changes) = self.db.next_delivery().await?;
        if hands.changes != Some(changes) {
            self.reload(hands, changes).await?;
            hands.changes = Some(changes);
            hands.sequence = true;
        }
        let now = self.clock.now();
        let is_due = due.is_some_and(|due| due <= now);
        if is_due {
            hands.hinted.extend(hands.lanes.keys());
        }
        self.depot.look(&self.db, is_due, now).await
    }

    /// Reads the webhooks again; what is known of their receivers stays.
    async fn reload(&self, hands: &mut Hands, changes: u64) -> Result<(), Error> {
        let rows = self.db.enabled_webhooks().await?;
        let (of_agents, rows): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.settings.deliver_by.is_some());
        self.depot.learn(of_agents, &self.keyring, changes);
        let mut former = std::mem::take(&mut hands.lanes);
        for row in rows {
            let id = row.id;
            match Endpoint::open(row, &self.keyring) {
                Ok(endpoint) => {
                    let lane = match former.remove(&id) {
                        Some(lane) => lane.with(endpoint),
                        None => Lane::new(endpoint),
                    };
                    hands.lanes.insert(id, lane);
                }
                // Nothing is lost: it waits until somebody brings the key.
                Err(error) => {
                    warn!(webhook.id = %id, error = &error as &dyn std::error::Error, "a webhook cannot be read; nothing is sent to it");
                }
            }
        }
        let now = self.clock.now();
        let waiting = former.into_values().flat_map(|lane| lane.waiting);
        hands.settled.extend(waiting.map(|waiting| Settled { delivery: waiting.delivery, judged: Judged::Released(now) }));
        hands.hinted.retain(|id| hands.lanes.contains_key(id));
        Ok(())
    }

    /// Gives committed events their positions and deliveries their places.
    async fn sequence(&self, hands: &mut Hands) -> Result<(), Error> {
        loop {
            let sequenced = self.db.sequence().await?;
            self.depot.hint(&sequenced.webhooks);
            hands.hinted.extend(sequenced.webhooks.into_iter().filter(|id| hands.lanes.contains_key(id)));
            if sequenced.events == 0 {
                return Ok(());
            }
        }
    }

    /// Claims what is due of those that may have something and whose hands are free.
    async fn claim(&self, hands: &mut Hands) -> Result<(), Error> {
        let now = self.clock.now();
        let (mut well, mut suspect) = (Vec::new(), Vec::new());
        for (id, lane) in &hands.lanes {
            if (hands.hinted.contains(id) || lane.more) && lane.wants(now) {
                if lane.breaker.is_suspect() { suspect.push(*id) } else { well.push(*id) }
            }
        }
        for (webhooks, each) in [(well, EACH), (suspect, 1)] {
            if webhooks.is_empty() {
                continue;
            }
            let until = now.after(LEASE);
            let mut tx = self.db.begin().await?;
            let claimed = tx.claim_deliveries(&webhooks, each, &self.holder, now, until).await?;
            tx.commit().await?;
            for id in &webhooks {
                hands.hinted.remove(id);
                if let Some(lane) = hands.lanes.get_mut(id) {
                    lane.more = false;
                }
            }
            for delivery in claimed {
                if let Some(lane) = hands.lanes.get_mut(&delivery.webhook) {
                    lane.waiting.push_back(Waiting { delivery: Box::new(delivery), until });
                    lane.more |= lane.waiting.len() >= each as usize;
                }
            }
            for id in &webhooks {
                if let Some(lane) = hands.lanes.get_mut(id) {
                    // The claim finds them in the order of their index; the oldest goes first.
                    lane.waiting.make_contiguous().sort_by_key(|waiting| (waiting.delivery.position, waiting.delivery.id));
                }
            }
        }
        Ok(())
    }

    /// Sends what may be sent now.
    fn start(&self, hands: &mut Hands) {
        let now = self.clock.now();
        for lane in hands.lanes.values_mut() {
            while lane.may_start(now, hands.running.len(), self.at_once) {
                let Some(Waiting { delivery, until }) = lane.waiting.pop_front() else { break };
                if until.since(now) < lane.endpoint.timeout() + TICK {
                    // It would end after its lease.
                    hands.settled.push(Settled { delivery, judged: Judged::Released(now) });
                    continue;
                }
                lane.started(now);
                let message = message::message(&delivery, &lane.endpoint, &self.installation, self.handoff, now);
                let (sender, clock) = (self.sender.clone(), Arc::clone(&self.clock));
                hands.running.spawn(async move {
                    let attempt = sender.send(message, now).await;
                    Finished { delivery, attempt, at: clock.now() }
                });
            }
        }
    }

    /// Takes what has ended meanwhile.
    fn collect(&self, hands: &mut Hands) {
        while let Some(finished) = hands.running.try_join_next() {
            self.take(hands, finished.ok());
        }
    }

    /// Judges an attempt. One that panicked belongs to its lease.
    fn take(&self, hands: &mut Hands, finished: Option<Finished>) {
        let Some(Finished { delivery, attempt, at }) = finished else { return };
        let webhook = delivery.webhook;
        let verdict = settle::judge(delivery, attempt, at, self.ids.fraction());
        verdict.count(&self.metrics);
        let Verdict { settled, mark, pause, .. } = verdict;
        if let Some(lane) = hands.lanes.get_mut(&webhook) {
            lane.ended(mark.ok, at, pause);
        }
        hands.marks.insert(webhook, mark);
        if settled.delivery.ordering_key.is_some() && settled.judged != Judged::Dead {
            // The next in line is let go with it.
            hands.hinted.insert(webhook);
        }
        hands.settled.push(settled);
    }

    /// Writes down what ended, all of it in one transaction.
    async fn settle(&self, hands: &mut Hands) -> Result<(), Error> {
        if hands.settled.is_empty() {
            return Ok(());
        }
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        let account = Account { settled: hands.settled.iter().collect(), marks: hands.marks.values().copied().collect() };
        let disabled = account.write(&mut tx, &*self.ids, now).await?;
        tx.commit().await?;
        hands.settled.clear();
        hands.marks.clear();
        settle::tell_disabled(&disabled, &self.metrics);
        for webhook in disabled {
            if let Some(lane) = hands.lanes.remove(&webhook.id) {
                let waiting = lane.waiting.into_iter();
                hands
                    .settled
                    .extend(waiting.map(|waiting| Settled { delivery: waiting.delivery, judged: Judged::Released(now) }));
            }
        }
        Ok(())
    }

    /// Seals the secrets of webhooks with the first key of the configuration.
    async fn reseal(&self) -> Result<(), Error> {
        let Some(first) = self.keyring.first() else { return Ok(()) };
        loop {
            let rows = self.db.webhooks_sealed_with_others(first, RESEALED).await?;
            let mut resealed = 0;
            for row in &rows {
                let Ok(plain) = endpoint::unseal(row, &self.keyring) else { continue };
                let Some((key, sealed)) = endpoint::seal(row.id, &plain, &self.keyring, &*self.ids) else { continue };
                resealed += u32::from(self.db.reseal_webhook(row, &key, sealed).await?);
            }
            if resealed == 0 {
                return Ok(());
            }
            tracing::info!(webhooks = resealed, key = first, "secrets of webhooks were sealed with the new key");
        }
    }
}

impl Hands {
    /// Whether another round has something to do at once.
    fn is_busy(&self, now: Timestamp, at_once: usize) -> bool {
        let has_room = self.running.len() < at_once;
        let ready = |(id, lane): (&WebhookId, &Lane)| (self.hinted.contains(id) || lane.more) && lane.wants(now);
        !self.settled.is_empty() || self.sequence || (has_room && self.lanes.iter().any(ready))
    }

    /// When somebody whose rate holds him back may go on.
    fn next_start(&self, now: Timestamp) -> Instant {
        let waits = self.lanes.values().filter(|lane| !lane.waiting.is_empty()).filter_map(|lane| lane.waits_for(now));
        Instant::now() + waits.min().unwrap_or(TICK)
    }
}

#[cfg(test)]
mod tests;
