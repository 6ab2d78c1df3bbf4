//! The depot: webhooks that agents send, who waits at this broker for something to send, and what is out with whom.
//!
//! A parked poll is told that there is something, and never what: its agent claims, and what it may claim is decided then, by what the
//! database says of the agent. Of those who wait one is told of each webhook; what it leaves is told to others, and what it does not come for
//! a second later.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use brokkr_api::{AgentId, DeliveryId, Timestamp, WebhookId};
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::warn;

use super::{
    choice::{self, Choice},
    endpoint::Endpoint,
    lane::Lane,
};
use crate::{
    domain::seal::Keyring,
    parked::{Parked, Place, Seat, Waiting},
    roster::Roster,
    store::{Claimant, ClaimedDelivery, Db, DeliveryClaim, DueDelivery, Error, WebhookRow},
};

/// How long an agent that was told may take to claim before another is told.
const PATIENCE: Duration = Duration::from_secs(1);
/// What is out for longer is looked for in the database: its report may have gone to another broker.
const OVERDUE: Duration = Duration::from_secs(2);
/// Deliveries of one webhook that are looked at for one claim.
const EACH: u32 = 16;
/// Each so many claims everything is looked at, and not only what is known to be due: another broker may know more.
const WIDE: u64 = 8;

/// See the module.
#[derive(Default)]
pub(crate) struct Depot {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    berths: HashMap<WebhookId, Berth>,
    /// Which number of changes the berths are of.
    changes: Option<u64>,
    /// Which webhooks have something due, as far as this broker knows.
    ready: HashSet<WebhookId>,
    parked: Parked,
    told: HashMap<AgentId, Instant>,
    /// Of which webhooks somebody was told, and when; nothing where nobody who waits could be.
    offered: HashMap<WebhookId, Option<Instant>>,
    roster: Roster,
    /// Somebody waits whom nobody knows.
    strangers: bool,
    claims: u64,
}

/// A webhook that agents send.
pub(super) struct Berth {
    pub(super) lane: Lane,
    out: HashMap<DeliveryId, Out>,
    /// The number of the claim that took something last.
    pub(super) served: u64,
}

/// What an agent has.
#[derive(Debug, Clone, Copy)]
struct Out {
    token: u64,
    since: Timestamp,
    until: Timestamp,
}

/// What was chosen and counts as begun; not any more when this is dropped before the claim.
pub(crate) struct Reserved {
    depot: Arc<Depot>,
    choice: Choice,
}

impl Reserved {
    /// What was chosen.
    pub(crate) fn chosen(&self) -> Vec<DeliveryId> {
        self.choice.chosen.iter().map(|due| due.id).collect()
    }

    /// The agent has claimed these of them; tells after how long there may be more for it.
    pub(crate) fn claimed(
        mut self,
        agent: AgentId,
        got: &[ClaimedDelivery],
        now: Timestamp,
        until: Timestamp,
    ) -> Option<Duration> {
        let choice = std::mem::take(&mut self.choice);
        self.depot.claimed(agent, &choice.chosen, got, now, until);
        choice.again_after
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if self.choice.chosen.is_empty() {
            return;
        }
        let mut inner = self.depot.inner.lock();
        for due in &self.choice.chosen {
            if let Some(berth) = inner.berths.get_mut(&due.webhook) {
                berth.lane.forgotten();
            }
            inner.ready.insert(due.webhook);
        }
    }
}

impl Inner {
    fn matches(&self, agent: AgentId, webhook: WebhookId) -> bool {
        let known = self.roster.get(agent).zip(self.berths.get(&webhook));
        known.is_some_and(|(known, berth)| berth.is_for(known))
    }

    /// Forgets who was told too long ago.
    fn refresh(&mut self, now: Instant) {
        self.told.retain(|_, at| now.duration_since(*at) < PATIENCE);
        self.offered.retain(|_, at| at.is_none_or(|at| now.duration_since(at) < PATIENCE));
    }

    /// Tells one who begins to wait, if there is something for it that nobody was told of.
    fn offer(&mut self, number: u64, now: Instant) {
        self.refresh(now);
        let Some(Seat { agent, told }) = self.parked.get(number) else { return };
        let (agent, told) = (*agent, Arc::clone(told));
        if self.told.contains_key(&agent) {
            return;
        }
        let is_open =
            |webhook: &&WebhookId| !matches!(self.offered.get(webhook), Some(Some(_))) && self.matches(agent, **webhook);
        let Some(webhook) = self.ready.iter().find(is_open).copied() else { return };
        told.notify_one();
        self.told.insert(agent, now);
        self.offered.insert(webhook, Some(now));
    }

    /// Tells one of those who wait of each webhook that has something due.
    fn tell(&mut self, now: Instant) {
        self.refresh(now);
        let open: Vec<_> = self.ready.iter().filter(|webhook| !self.offered.contains_key(webhook)).copied().collect();
        for webhook in open {
            let is_free = |seat: &&Seat| !self.told.contains_key(&seat.agent) && self.matches(seat.agent, webhook);
            let found = self.parked.iter().find(is_free).map(|seat| (seat.agent, Arc::clone(&seat.told)));
            // Where nobody could be told, whoever comes next is asked, and nobody of these again.
            let is_busy = || self.told.keys().any(|agent| self.matches(*agent, webhook));
            match found {
                Some((agent, told)) => {
                    told.notify_one();
                    self.told.insert(agent, now);
                    self.offered.insert(webhook, Some(now));
                }
                None if is_busy() => {}
                None => {
                    self.offered.insert(webhook, None);
                }
            }
        }
    }
}

impl Berth {
    fn is_for(&self, claimant: &Claimant) -> bool {
        let by = self.lane.endpoint.settings.deliver_by.as_ref();
        by.is_some_and(|by| by.matches(&claimant.name, &claimant.labels))
    }
}

impl Place for Depot {
    fn leave(&self, number: u64) {
        self.inner.lock().parked.remove(number);
    }
}

impl Depot {
    /// Whether no webhook is sent by agents.
    pub(super) fn is_empty(&self) -> bool {
        self.inner.lock().berths.is_empty()
    }

    /// Whether the webhooks are known as they are at this number of changes.
    pub(crate) fn knows(&self, changes: u64) -> bool {
        self.inner.lock().changes == Some(changes)
    }

    /// Learns the webhooks anew, which are these at this number of changes; what is known of their receivers stays.
    pub(crate) fn learn(&self, rows: Vec<WebhookRow>, keyring: &Keyring, changes: u64) {
        let opened: Vec<_> = rows
            .into_iter()
            .filter(|row| row.settings.deliver_by.is_some())
            .filter_map(|row| {
                let id = row.id;
                Endpoint::open(row, keyring).inspect_err(|error| {
                    warn!(webhook.id = %id, error = error as &dyn std::error::Error, "a webhook cannot be read; nothing is sent to it");
                })
                .ok()
                .map(|endpoint| (id, endpoint))
            })
            .collect();
        let mut inner = self.inner.lock();
        let mut former = std::mem::take(&mut inner.berths);
        for (id, endpoint) in opened {
            let berth = match former.remove(&id) {
                Some(berth) => Berth { lane: berth.lane.with(endpoint), ..berth },
                None => Berth { lane: Lane::new(endpoint), out: HashMap::new(), served: 0 },
            };
            inner.berths.insert(id, berth);
        }
        inner.changes = Some(changes);
        inner.offered.clear();
        let Inner { berths, ready, .. } = &mut *inner;
        ready.retain(|id| berths.contains_key(id));
    }

    /// Where a webhook leads, if agents send it.
    pub(crate) fn endpoint(&self, webhook: WebhookId) -> Option<Arc<Endpoint>> {
        self.inner.lock().berths.get(&webhook).map(|berth| Arc::clone(&berth.lane.endpoint))
    }

    /// An agent waits, with a free hand.
    pub(crate) fn wait(self: &Arc<Self>, agent: AgentId) -> Waiting {
        let mut inner = self.inner.lock();
        let (number, told) = inner.parked.add(agent);
        if !inner.berths.is_empty() {
            if inner.roster.get(agent).is_none() {
                inner.strangers = true;
            } else if !inner.ready.is_empty() {
                inner.offer(number, Instant::now());
            }
        }
        Waiting::new(Arc::<Self>::clone(self), number, told)
    }

    /// These webhooks have something due.
    pub(crate) fn hint(&self, webhooks: &[WebhookId]) {
        let mut inner = self.inner.lock();
        let ours: Vec<_> = webhooks.iter().filter(|id| inner.berths.contains_key(id)).copied().collect();
        if ours.is_empty() {
            return;
        }
        inner.ready.extend(ours);
        inner.tell(Instant::now());
    }

    /// Looks for what is due where somebody waits for it, for what was not heard of, and for agents that nobody knows. An idle broker asks
    /// nothing here.
    pub(super) async fn look(&self, db: &Db, is_due: bool, now: Timestamp) -> Result<(), Error> {
        let (wanting, overdue) = {
            let mut inner = self.inner.lock();
            inner.expire(now);
            (inner.wanting(is_due, now), inner.overdue(now))
        };
        if !overdue.is_empty() {
            let held: HashSet<_> = db.still_claimed(&overdue).await?.into_iter().collect();
            let gone = overdue.into_iter().filter(|claim| !held.contains(&claim.id));
            self.inner.lock().forget(gone);
        }
        if !wanting.is_empty() {
            let due: HashSet<_> = db.due_deliveries(&wanting, 1, now).await?.into_iter().map(|due| due.webhook).collect();
            let mut inner = self.inner.lock();
            for webhook in wanting {
                if due.contains(&webhook) {
                    inner.ready.insert(webhook)
                } else {
                    inner.ready.remove(&webhook)
                };
            }
        }
        let since = {
            let inner = self.inner.lock();
            let is_asked = !inner.parked.is_empty() && (inner.strangers || !inner.ready.is_empty());
            is_asked.then(|| inner.roster.known_until())
        };
        if let Some(since) = since {
            let changed = db.agents_changed_since(since).await?;
            let mut inner = self.inner.lock();
            inner.strangers = false;
            if inner.roster.learn(changed) {
                inner.offered.clear();
            }
            inner.tell(Instant::now());
        }
        Ok(())
    }

    /// What an agent could claim now, and how many of each are to be looked at: of what is known to be due, or else of everything.
    pub(crate) fn open_to(&self, claimant: &Claimant, limit: u32, now: Timestamp) -> (Vec<WebhookId>, u32) {
        let inner = self.inner.lock();
        let is_open = |(_, berth): &(&WebhookId, &Berth)| berth.is_for(claimant) && berth.lane.wants(now);
        let open: Vec<_> = inner.berths.iter().filter(is_open).map(|(id, _)| *id).collect();
        let known: Vec<_> = open.iter().filter(|id| inner.ready.contains(id)).copied().collect();
        let webhooks = if known.is_empty() || inner.claims.is_multiple_of(WIDE) { open } else { known };
        let number = u32::try_from(webhooks.len()).unwrap_or(u32::MAX).max(1);
        (webhooks, limit.saturating_mul(2).div_ceil(number).clamp(1, EACH))
    }

    /// Chooses what an agent gets, and counts it as begun.
    pub(crate) fn choose(
        self: &Arc<Self>,
        asked: &[WebhookId],
        due: Vec<DueDelivery>,
        each: u32,
        limit: u32,
        now: Timestamp,
    ) -> Reserved {
        let mut inner = self.inner.lock();
        inner.claims += 1;
        let claims = inner.claims;
        let choice = choice::choose(&mut inner.berths, due, each, limit, claims, now);
        for webhook in asked {
            if choice.left.contains(webhook) {
                inner.ready.insert(*webhook);
            } else {
                inner.ready.remove(webhook);
            }
            inner.offered.remove(webhook);
        }
        Reserved { depot: Arc::clone(self), choice }
    }

    /// An agent has come, and has these of what was chosen for it, until `until`.
    fn claimed(&self, agent: AgentId, chosen: &[DueDelivery], got: &[ClaimedDelivery], now: Timestamp, until: Timestamp) {
        let mut inner = self.inner.lock();
        for due in chosen {
            let Some(berth) = inner.berths.get_mut(&due.webhook) else { continue };
            match got.iter().find(|delivery| delivery.id == due.id) {
                Some(delivery) => {
                    let out = Out { token: delivery.token, since: now, until };
                    if berth.out.insert(due.id, out).is_some() {
                        berth.lane.forgotten();
                    }
                }
                None => berth.lane.forgotten(),
            }
        }
        inner.told.remove(&agent);
        inner.tell(Instant::now());
    }

    /// An attempt that an agent made has ended. One that this broker did not hand out counts for the receiver all the same.
    pub(crate) fn ended(&self, delivery: &ClaimedDelivery, ok: bool, now: Timestamp, pause: Option<Duration>) {
        let mut inner = self.inner.lock();
        let Some(berth) = inner.berths.get_mut(&delivery.webhook) else { return };
        if berth.out.remove(&delivery.id).is_none() {
            berth.lane.learned(ok, now, pause);
        } else {
            berth.lane.ended(ok, now, pause);
        }
        // The next of its line was let go with it; whoever reports claims again, and others are told a moment later.
        inner.ready.insert(delivery.webhook);
    }
}

impl Inner {
    /// Webhooks whose receivers may be sent something now, where somebody waits.
    fn wanting(&self, is_due: bool, now: Timestamp) -> Vec<WebhookId> {
        if !is_due || self.parked.is_empty() {
            return Vec::new();
        }
        self.berths.iter().filter(|(_, berth)| berth.lane.wants(now)).map(|(id, _)| *id).collect()
    }

    /// What was not heard of for a while.
    fn overdue(&self, now: Timestamp) -> Vec<DeliveryClaim> {
        let out = self.berths.values().flat_map(|berth| &berth.out);
        let late = out.filter(|(_, out)| now.since(out.since) >= OVERDUE);
        late.map(|(id, out)| DeliveryClaim { id: *id, token: out.token }).collect()
    }

    /// Forgets what is out for longer than its lease.
    fn expire(&mut self, now: Timestamp) {
        let out = self.berths.values().flat_map(|berth| &berth.out);
        let gone: Vec<_> =
            out.filter(|(_, out)| out.until <= now).map(|(id, out)| DeliveryClaim { id: *id, token: out.token }).collect();
        self.forget(gone);
    }

    fn forget(&mut self, gone: impl IntoIterator<Item = DeliveryClaim>) {
        for claim in gone {
            for berth in self.berths.values_mut() {
                if berth.out.get(&claim.id).is_some_and(|out| out.token == claim.token) {
                    berth.out.remove(&claim.id);
                    berth.lane.forgotten();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
