//! The board: which queues have work orders in them, who waits for one, and who is told. A parked poll is told that there is work, and
//! never which: its agent claims, and two agents never get the same order.
//!
//! As many agents are told as there are orders. Each broker tells those that wait at it; what nobody claims is told to others a second later.

use std::{collections::HashMap, sync::Arc, time::Duration};

use brokkr_api::{AgentId, Timestamp};
use brokkr_telemetry::spans;
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug};

use crate::{
    parked::{Parked, Place, Seat, Waiting},
    roster::{Roster, SKEW},
    store::{Claimant, Db, Error, Queue},
};

/// How often the board is read again when nobody says that it has changed.
const REREAD: Duration = Duration::from_secs(1);
/// How long an agent that was told may take to claim before another is told.
const PATIENCE: Duration = Duration::from_secs(1);
/// Orders of one queue that are counted at most: more agents than these are not told at once.
const MOST_READY: usize = 1_000;
/// So many more orders than agents that wait are counted, for those that begin to wait before the next look.
const SPARE: usize = 50;
/// Reading rests for so many times as long as it took, so that orders that come and go all the time do not keep the database busy.
const REST: u32 = 4;

/// See the module.
#[derive(Default)]
pub(crate) struct Board {
    inner: Mutex<Inner>,
    /// Every queue that this broker has seen; they never change and never go.
    queues: Mutex<Known>,
    nudge: Notify,
}

#[derive(Default)]
struct Known {
    queues: HashMap<String, Arc<Queue>>,
    newest: Option<Timestamp>,
}

#[derive(Default)]
struct Inner {
    ready: HashMap<String, Ready>,
    /// What is ready was not read, because nobody waited.
    stale: bool,
    parked: Parked,
    told: HashMap<AgentId, Told>,
    roster: Roster,
}

struct Ready {
    queue: Arc<Queue>,
    orders: u64,
}

struct Told {
    queue: String,
    at: Instant,
}

impl Inner {
    fn matches(&self, agent: AgentId, queue: &Queue) -> bool {
        self.roster.get(agent).is_some_and(|known| !known.suspended && queue.targets.matches(&known.name, &known.labels))
    }

    /// How many were told of this queue a moment ago.
    fn told_of(&self, queue: &str, now: Instant) -> u64 {
        let fresh = |told: &&Told| told.queue == queue && now.duration_since(told.at) < PATIENCE;
        self.told.values().filter(fresh).count() as u64
    }

    /// Tells one who begins to wait, if there is an order for it that nobody was told of.
    fn offer(&mut self, number: u64, now: Instant) {
        let Some(Seat { agent, told }) = self.parked.get(number) else { return };
        if self.told.get(agent).is_some_and(|told| now.duration_since(told.at) < PATIENCE) {
            return;
        }
        let is_open =
            |(id, ready): &(&String, &Ready)| self.matches(*agent, &ready.queue) && ready.orders > self.told_of(id, now);
        let Some(queue) = self.ready.iter().find(is_open).map(|(id, _)| id.clone()) else { return };
        told.notify_one();
        let agent = *agent;
        self.told.insert(agent, Told { queue, at: now });
    }

    /// Tells as many of those who wait as there are orders for them; who has waited longest comes first.
    fn tell(&mut self, now: Instant) {
        self.told.retain(|_, told| now.duration_since(told.at) < PATIENCE);
        let mut open: HashMap<String, u64> = HashMap::new();
        for (id, ready) in &self.ready {
            let told = self.told_of(id, now);
            if ready.orders > told {
                open.insert(id.clone(), ready.orders - told);
            }
        }
        if open.is_empty() {
            return;
        }
        for seat in self.parked.iter() {
            let agent = seat.agent;
            if self.told.contains_key(&agent) {
                continue;
            }
            let found = open.iter().find(|(id, _)| self.ready.get(*id).is_some_and(|ready| self.matches(agent, &ready.queue)));
            let Some(queue) = found.map(|(id, _)| id.clone()) else { continue };
            seat.told.notify_one();
            if let Some(left) = open.get_mut(&queue) {
                *left -= 1;
                if *left == 0 {
                    open.remove(&queue);
                }
            }
            self.told.insert(agent, Told { queue, at: now });
            if open.is_empty() {
                return;
            }
        }
    }
}

impl Place for Board {
    fn leave(&self, number: u64) {
        self.inner.lock().parked.remove(number);
    }
}

impl Board {
    /// An agent waits, with a free hand.
    pub(crate) fn wait(self: &Arc<Self>, agent: AgentId) -> Waiting {
        let mut inner = self.inner.lock();
        let (number, told) = inner.parked.add(agent);
        if inner.stale {
            self.nudge.notify_one();
        } else if !inner.ready.is_empty() {
            if inner.roster.get(agent).is_some() {
                inner.offer(number, Instant::now());
            } else {
                self.nudge.notify_one();
            }
        }
        Waiting::new(Arc::<Self>::clone(self), number, told)
    }

    /// Reads the board soon: called after a commit that made an order claimable.
    pub(crate) fn nudge(&self) {
        self.nudge.notify_one();
    }

    /// Since when queues have to be read to know them all.
    pub(crate) fn known_until(&self) -> Timestamp {
        self.queues.lock().newest.map_or(Timestamp::from_micros(0), |newest| newest.before(SKEW))
    }

    /// Learns queues.
    pub(crate) fn learn(&self, queues: Vec<Queue>) {
        let mut known = self.queues.lock();
        for queue in queues {
            known.newest = known.newest.max(Some(queue.created_at));
            known.queues.entry(queue.id.clone()).or_insert_with(|| Arc::new(queue));
        }
    }

    /// The queues of these kinds that an agent may claim from.
    pub(crate) fn queues_of(&self, claimant: &Claimant, kinds: &[brokkr_api::work_orders::WorkKind]) -> Vec<Arc<Queue>> {
        let known = self.queues.lock();
        let matching =
            |queue: &&Arc<Queue>| kinds.contains(&queue.kind) && queue.targets.matches(&claimant.name, &claimant.labels);
        known.queues.values().filter(matching).cloned().collect()
    }

    /// An agent has claimed an order of this queue.
    pub(crate) fn claimed(&self, agent: AgentId, queue: &str) {
        let mut inner = self.inner.lock();
        inner.told.remove(&agent);
        if let Some(ready) = inner.ready.get_mut(queue) {
            ready.orders = ready.orders.saturating_sub(1);
        }
    }

    /// An agent has found nothing in these queues: they are empty, until the board is read again.
    pub(crate) fn found_nothing(&self, agent: AgentId, queues: &[Arc<Queue>]) {
        let mut inner = self.inner.lock();
        inner.told.remove(&agent);
        for queue in queues {
            inner.ready.remove(&queue.id);
        }
    }

    /// Reads which queues have orders, and tells those who wait.
    pub(crate) async fn refresh(&self, db: &Db) -> Result<(), Error> {
        let most = {
            let mut inner = self.inner.lock();
            inner.stale = inner.parked.is_empty();
            if inner.stale {
                inner.ready.clear();
                return Ok(());
            }
            (inner.parked.len() + SPARE).min(MOST_READY)
        };
        let queues = db.ready_queues(u32::try_from(most).unwrap_or(u32::MAX)).await?;
        let since = {
            let mut inner = self.inner.lock();
            let ready = |(queue, orders): (Queue, u64)| (queue.id.clone(), Ready { queue: Arc::new(queue), orders });
            inner.ready = queues.into_iter().map(ready).collect();
            if inner.ready.is_empty() || inner.parked.is_empty() {
                return Ok(());
            }
            inner.roster.known_until()
        };
        let changed = db.agents_changed_since(since).await?;
        let mut inner = self.inner.lock();
        inner.roster.learn(changed);
        inner.tell(Instant::now());
        Ok(())
    }

    /// Follows the database until `stopping`: at a nudge, and every second whatever happens.
    pub(crate) async fn follow(self: Arc<Self>, db: Db, stopping: CancellationToken) {
        loop {
            let began = Instant::now();
            // The feed says once that the database is away.
            if let Err(error) = self.refresh(&db).instrument(spans::job("work-orders-board")).await {
                debug!(error = &error as &dyn std::error::Error, "the board cannot be read; it is tried again");
            }
            let news = async {
                tokio::time::sleep((began.elapsed() * REST).min(REREAD)).await;
                timeout(REREAD, self.nudge.notified()).await
            };
            tokio::select! {
                () = stopping.cancelled() => return,
                _ = news => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use brokkr_api::{Labels, TargetSelector, work_orders::WorkKind};
    use brokkr_runtime::{Ids, SeededIds};

    use super::*;

    fn board(orders: u64, agents: usize) -> (Arc<Board>, Vec<AgentId>) {
        let (board, ids) = (Arc::new(Board::default()), SeededIds::new(1));
        let agents: Vec<_> = (0..agents).map(|_| AgentId(ids.uuid(Timestamp::from_micros(0)))).collect();
        let queue = Queue {
            id: "q".to_owned(),
            kind: WorkKind::Job,
            targets: TargetSelector::everyone(),
            created_at: Timestamp::from_micros(0),
        };
        let mut inner = board.inner.lock();
        for agent in &agents {
            let known = Claimant { name: "edge".parse().unwrap(), labels: Labels::default(), suspended: false };
            inner.roster.learn(vec![(*agent, known, Timestamp::from_micros(0))]);
        }
        inner.ready.insert(queue.id.clone(), Ready { queue: Arc::new(queue), orders });
        drop(inner);
        (board, agents)
    }

    /// How many of those that wait were told.
    fn told(waiting: &[Waiting]) -> usize {
        use futures::FutureExt;
        waiting.iter().filter(|one| one.told().now_or_never().is_some()).count()
    }

    #[tokio::test]
    async fn as_many_are_told_as_there_are_orders() {
        let (board, agents) = board(3, 10);
        let waiting: Vec<_> = agents.iter().map(|agent| board.wait(*agent)).collect();
        assert_eq!(told(&waiting), 3);
        board.inner.lock().tell(Instant::now());
        assert_eq!(told(&waiting), 0, "those who were told are on their way");
    }

    #[tokio::test(start_paused = true)]
    async fn when_those_who_were_told_do_not_come_others_are() {
        let (board, agents) = board(1, 3);
        let mut waiting: Vec<_> = agents.iter().map(|agent| board.wait(*agent)).collect();
        assert_eq!(told(&waiting), 1);
        waiting.remove(0);
        assert_eq!(told(&waiting), 0);
        tokio::time::advance(PATIENCE).await;
        board.inner.lock().tell(Instant::now());
        assert_eq!(told(&waiting), 1);
    }

    #[tokio::test]
    async fn who_found_nothing_is_not_told_of_the_same_again() {
        let (board, agents) = board(5, 1);
        let waiting = board.wait(agents[0]);
        assert_eq!(told(std::slice::from_ref(&waiting)), 1);
        drop(waiting);
        let queue = Arc::clone(&board.inner.lock().ready["q"].queue);
        board.found_nothing(agents[0], &[queue]);
        assert_eq!(told(&[board.wait(agents[0])]), 0);
    }

    #[tokio::test]
    async fn a_suspended_agent_is_told_nothing() {
        let (board, agents) = board(5, 1);
        let suspended = Claimant { name: "edge".parse().unwrap(), labels: Labels::default(), suspended: true };
        board.inner.lock().roster.learn(vec![(agents[0], suspended, Timestamp::from_micros(0))]);
        assert_eq!(told(&[board.wait(agents[0])]), 0);
    }
}
