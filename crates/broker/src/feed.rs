//! The change feed in memory: every agent's highest change and every valid key, so that an unchanged poll runs no SQL.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use brokkr_api::{AgentId, StackId, Timestamp};
use brokkr_telemetry::{TraceContext, spans};
use parking_lot::{Mutex, RwLock};
use tokio::{
    sync::{Notify, broadcast, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, warn};

use crate::store::{self, ChangeListener, Db, Error, Installation, KeyRow, StoredTracing};

/// How often the feed is read again when nobody hints that it has grown.
const REREAD: Duration = Duration::from_secs(1);

/// How long the database may take to answer before that counts as trouble. It is waited for all the same.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long listening may take to begin. Without it the feed is read again all the same.
const LISTEN: Duration = Duration::from_secs(2);

/// Most traces that one reading of the feed links to.
const MOST_NUDGERS: usize = 16;

/// What the broker knows without asking the database.
pub(crate) struct Feed {
    db: Db,
    agents: RwLock<HashMap<AgentId, watch::Sender<u64>>>,
    keys: RwLock<HashMap<String, Arc<KeyRow>>>,
    last: AtomicU64,
    seen: AtomicU64,
    installation: RwLock<Arc<Installation>>,
    restored: AtomicBool,
    nudge: Notify,
    /// The traces in which somebody nudged since the feed was read last.
    nudgers: Mutex<Vec<TraceContext>>,
    reports: broadcast::Sender<StackId>,
    tracing: watch::Sender<Option<StoredTracing>>,
    trouble: RwLock<Option<&'static str>>,
}

impl Feed {
    /// Reads everything once.
    pub(crate) async fn load(db: Db) -> Result<Arc<Self>, Error> {
        let store::Standing { installation, tracing, .. } = db.standing().await?;
        let feed = Self {
            db,
            installation: RwLock::new(Arc::new(installation)),
            restored: AtomicBool::new(false),
            agents: RwLock::default(),
            keys: RwLock::default(),
            last: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            nudge: Notify::new(),
            nudgers: Mutex::default(),
            reports: broadcast::channel(1_024).0,
            tracing: watch::channel(tracing).0,
            trouble: RwLock::new(None),
        };
        feed.catch_up().await?;
        Ok(Arc::new(feed))
    }

    /// The agent's highest change, and how to wait for a higher one.
    pub(crate) fn subscribe(&self, agent: AgentId) -> watch::Receiver<u64> {
        if let Some(sender) = self.agents.read().get(&agent) {
            return sender.subscribe();
        }
        self.agents.write().entry(agent).or_insert_with(|| watch::channel(0).0).subscribe()
    }

    /// The valid key of this digest.
    pub(crate) fn key(&self, digest: &str, now: Timestamp) -> Option<Arc<KeyRow>> {
        let key = self.keys.read().get(digest).cloned()?;
        (key.revoked_at.is_none() && key.expires_at.is_none_or(|at| now < at)).then_some(key)
    }

    /// Looks a key up that memory does not have yet: another broker may have made it a moment ago.
    pub(crate) async fn find_key(&self, digest: &str, now: Timestamp) -> Result<Option<Arc<KeyRow>>, Error> {
        let is_remembered = self.keys.read().contains_key(digest);
        if is_remembered {
            return Ok(self.key(digest, now));
        }
        // Boxed: most callers are remembered, and their requests must not carry the room of a query.
        if let Some(key) = Box::pin(self.db.find_key(digest)).await? {
            self.remember_key(key);
        }
        Ok(self.key(digest, now))
    }

    /// Reads a key again that has changed.
    pub(crate) async fn refresh_key(&self, digest: &str) -> Result<(), Error> {
        if let Some(key) = self.db.find_key(digest).await? {
            self.remember_key(key);
        }
        Ok(())
    }

    /// The highest change that this broker knows the database to have.
    pub(crate) fn seen(&self) -> u64 {
        self.seen.load(Ordering::Acquire)
    }

    /// A change was read in the database.
    pub(crate) fn saw(&self, seq: u64) {
        self.seen.fetch_max(seq, Ordering::AcqRel);
    }

    /// Which installation and epoch the database belongs to; the epoch may change while the broker runs.
    pub(crate) fn installation(&self) -> Arc<Installation> {
        Arc::clone(&self.installation.read())
    }

    /// An agent knows more than the database does.
    pub(crate) fn found_restored(&self) {
        if !self.restored.swap(true, Ordering::Relaxed) {
            tracing::error!("the database is older than what agents know: run brokkr-broker restore-epoch");
        }
    }

    /// Whether the database was found to be older than what agents know.
    pub(crate) fn is_restored(&self) -> bool {
        self.restored.load(Ordering::Relaxed)
    }

    /// Reads the feed soon: called after a commit that changed desired state or keys.
    pub(crate) fn nudge(&self) {
        // A link to what is not kept leads nowhere.
        if let Some(trace) = TraceContext::current().filter(TraceContext::is_sampled) {
            let mut nudgers = self.nudgers.lock();
            if nudgers.len() < MOST_NUDGERS {
                nudgers.push(trace);
            }
        }
        self.nudge.notify_one();
    }

    /// Tells those who wait for a rollout that a report came in.
    pub(crate) fn reported(&self, stack: StackId) {
        // Nobody may be waiting.
        drop(self.reports.send(stack));
    }

    /// Reports as they come in on this broker.
    pub(crate) fn reports(&self) -> broadcast::Receiver<StackId> {
        self.reports.subscribe()
    }

    /// What is set of tracing.
    pub(crate) fn tracing(&self) -> watch::Receiver<Option<StoredTracing>> {
        self.tracing.subscribe()
    }

    /// What was read before a change may arrive after it.
    fn set_tracing(&self, read: Option<StoredTracing>) {
        let revision = |tracing: &Option<StoredTracing>| tracing.as_ref().map_or(0, |tracing| tracing.revision);
        self.tracing.send_if_modified(|known| {
            let is_news = *known != read && revision(&read) >= revision(known);
            if is_news {
                *known = read;
            }
            is_news
        });
    }

    /// Why the feed cannot be read, if it cannot.
    pub(crate) fn trouble(&self) -> Option<&'static str> {
        *self.trouble.read()
    }

    /// Follows the feed until `stopping`: at a nudge, at a hint of another broker, and every second whatever happens.
    pub(crate) async fn follow(self: Arc<Self>, stopping: CancellationToken) {
        let mut listener = None;
        loop {
            if listener.is_none() {
                listener = timeout(LISTEN, self.db.listen()).await.ok().and_then(Result::ok).flatten();
            }
            tokio::select! {
                () = stopping.cancelled() => return,
                () = self.nudge.notified() => {}
                hint = next_hint(&mut listener) => if hint.is_err() { listener = None },
                () = tokio::time::sleep(REREAD) => {}
            }
            let causes = std::mem::take(&mut *self.nudgers.lock());
            tokio::select! {
                () = stopping.cancelled() => return,
                () = self.catch_up_and_tell().instrument(spans::job_of("change-feed", &causes)) => {}
            }
        }
    }

    async fn catch_up_and_tell(&self) {
        let mut reading = pin!(self.catch_up());
        let result = match timeout(PATIENCE, &mut reading).await {
            Ok(result) => result,
            Err(_) => {
                self.tell(Some(Error::late("change feed")));
                reading.await
            }
        };
        self.tell(result.err());
    }

    fn tell(&self, error: Option<Error>) {
        let mut trouble = self.trouble.write();
        match (&error, *trouble) {
            (Some(error), None) => warn!(error = error as &dyn std::error::Error, "the change feed cannot be read"),
            (None, Some(_)) => tracing::info!("the change feed can be read again"),
            _ => {}
        }
        *trouble = error.map(|error| error.kind());
    }

    async fn catch_up(&self) -> Result<(), Error> {
        let last = self.last.load(Ordering::Acquire);
        let store::Standing { newest, installation, tracing } = self.db.standing().await?;
        self.set_tracing(tracing);
        self.saw(newest);
        if *self.installation() != installation {
            tracing::warn!(epoch = installation.epoch, "the database has a new epoch: every agent reads its desired state again");
            *self.installation.write() = Arc::new(installation);
            self.restored.store(false, Ordering::Relaxed);
        }
        if newest == last {
            return Ok(());
        }
        for key in self.db.keys_since(last).await? {
            self.remember_key(key);
        }
        for (agent, seq) in self.db.changes_since(last).await? {
            self.publish(agent, seq);
        }
        // Numbers are visible in their order, so that everything up to `newest` was there when it was read.
        self.last.store(newest, Ordering::Release);
        Ok(())
    }

    fn publish(&self, agent: AgentId, seq: u64) {
        let raise = |highest: &mut u64| {
            let higher = seq > *highest;
            *highest = seq.max(*highest);
            higher
        };
        if let Some(sender) = self.agents.read().get(&agent) {
            sender.send_if_modified(raise);
            return;
        }
        self.agents.write().entry(agent).or_insert_with(|| watch::channel(0).0).send_if_modified(raise);
    }

    fn remember_key(&self, key: KeyRow) {
        let mut keys = self.keys.write();
        // What was read before a revocation may arrive after it. Revoked keys are remembered, so that it is seen to be older.
        if keys.get(&key.digest).is_some_and(|known| known.change_seq >= key.change_seq) {
            return;
        }
        let key = Arc::new(key);
        keys.insert(key.digest.clone(), Arc::clone(&key));
        if key.revoked_at.is_some() || key.deactivated {
            // A parked poll of this agent looks at its key when it wakes.
            if let Some(sender) = key.agent.and_then(|agent| self.agents.read().get(&agent).cloned()) {
                sender.send_modify(|_| ());
            }
        }
    }
}

async fn next_hint(listener: &mut Option<ChangeListener>) -> Result<(), Error> {
    match listener {
        Some(listener) => listener.next().await,
        None => std::future::pending().await,
    }
}
