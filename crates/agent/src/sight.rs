//! Seeing what others do: one watch per kind in use, on metadata and by label, and above a number of kinds lists now and then.
//!
//! What is seen is compared with what was applied. An object that is no longer as it was applied has its stack looked at; any other
//! change may be one of its health.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use brokkr_api::StackId;
use brokkr_runtime::Ids;
use brokkr_telemetry::spans;
use futures::TryStreamExt;
use parking_lot::Mutex;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug};

use crate::{
    applyset::PART_OF,
    attempt::Workshop,
    cluster::{Class, KubeFailure, Resource, Seen, WatchEvent},
    ledger::Applied,
    live::Live,
    object::{GroupKind, ObjectId},
    schedule::backoff,
};

/// Above so many kinds the cluster is not burdened with watches.
const MOST_WATCHES: usize = 50;
/// How often kinds without a watch are listed.
const LIST_INTERVAL: Duration = Duration::from_secs(60);
/// How long our own answer may take longer than the news of it.
const OWN_ECHO: Duration = Duration::from_millis(50);

/// What was seen of an object last.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Glimpse {
    uid: String,
    resource_version: u64,
    ownership: u64,
    part_of: Option<String>,
    is_gone: bool,
}

/// What was seen of all members, and who is told.
pub(crate) struct Sight {
    glimpses: Mutex<HashMap<ObjectId, Glimpse>>,
    /// Stacks in which something is not as it was applied.
    drifted: mpsc::UnboundedSender<StackId>,
    /// Objects that seem not to be, and when to be sure.
    suspects: mpsc::UnboundedSender<(Instant, ObjectId)>,
    /// Objects that changed in another way.
    touched: mpsc::UnboundedSender<(StackId, ObjectId)>,
}

impl Sight {
    pub(crate) fn new(
        drifted: mpsc::UnboundedSender<StackId>,
        suspects: mpsc::UnboundedSender<(Instant, ObjectId)>,
        touched: mpsc::UnboundedSender<(StackId, ObjectId)>,
    ) -> Self {
        Self { glimpses: Mutex::default(), drifted, suspects, touched }
    }

    /// Looks again at what seemed to be changed, a moment later, until `stopping`.
    pub(crate) async fn judge_suspects(
        workshop: Arc<Workshop>,
        mut suspects: mpsc::UnboundedReceiver<(Instant, ObjectId)>,
        stopping: CancellationToken,
    ) {
        let judge = async {
            // Each waits equally long, so that they come in order.
            while let Some((at, id)) = suspects.recv().await {
                tokio::time::sleep_until(at.into()).await;
                workshop.sight.judge(&workshop, &id);
            }
        };
        tokio::select! {
            () = stopping.cancelled() => {}
            () = judge => {}
        }
    }

    /// Watches the kinds of everything that was applied until `stopping`.
    pub(crate) async fn run(workshop: Arc<Workshop>, ids: Arc<dyn Ids>, stopping: CancellationToken) {
        let mut watches: BTreeMap<GroupKind, CancellationToken> = BTreeMap::new();
        let mut tasks = JoinSet::new();
        loop {
            let kinds = workshop.ledger.kinds();
            watches.retain(|kind, token| {
                let is_used = kinds.contains(kind);
                if !is_used {
                    token.cancel();
                }
                is_used
            });
            for kind in kinds {
                if watches.contains_key(&kind) {
                    continue;
                }
                let token = stopping.child_token();
                let is_watched = watches.len() < MOST_WATCHES;
                let (workshop, ids, ended) = (Arc::clone(&workshop), Arc::clone(&ids), token.clone());
                let of_kind = kind.clone();
                tasks.spawn(async move {
                    tokio::select! {
                        () = ended.cancelled() => {}
                        () = follow(&workshop, &of_kind, is_watched, &*ids) => {}
                    }
                });
                watches.insert(kind, token);
            }
            tokio::select! {
                () = stopping.cancelled() => return,
                () = workshop.ledger.kinds_changed() => {}
                Some(_) = tasks.join_next() => {}
            }
        }
    }

    /// What a list or a watch told of an object.
    fn see(&self, workshop: &Workshop, live: &Live, is_gone: bool) {
        let glimpse = Glimpse {
            uid: live.uid.clone(),
            resource_version: live.resource_version.parse().unwrap_or(0),
            ownership: live.ours.as_ref().map_or(0, crate::fields::Ownership::hash),
            part_of: live.part_of.clone(),
            is_gone,
        };
        let Some(applied) = workshop.ledger.get(&live.id) else {
            self.glimpses.lock().insert(live.id.clone(), glimpse);
            return;
        };
        let before = self.glimpses.lock().insert(live.id.clone(), glimpse.clone());
        if glimpse.disagrees(&applied) {
            // It may be what the agent itself just did, told before the answer. Whoever listens ends with the agent.
            self.suspects.send((Instant::now() + OWN_ECHO, live.id.clone())).ok();
        } else if before.is_none_or(|before| before.resource_version != glimpse.resource_version) {
            self.touched.send((applied.stack, live.id.clone())).ok();
        }
    }

    fn judge(&self, workshop: &Workshop, id: &ObjectId) {
        let Some(applied) = workshop.ledger.get(id) else { return };
        let disagrees = self.glimpses.lock().get(id).is_some_and(|glimpse| glimpse.disagrees(&applied));
        if disagrees {
            self.drifted.send(applied.stack).ok();
        }
    }

    /// After an attempt: what was seen while it ran counts now.
    pub(crate) fn judge_stack(&self, workshop: &Workshop, stack: StackId) {
        let glimpses = self.glimpses.lock();
        let disagrees = |(id, applied): &(ObjectId, Applied)| glimpses.get(id).is_some_and(|glimpse| glimpse.disagrees(applied));
        if workshop.ledger.of_stack(stack).iter().any(disagrees) {
            self.drifted.send(stack).ok();
        }
    }

    /// Everything of a kind, as a list tells it: what was applied and is not in it is gone.
    fn see_all(&self, workshop: &Workshop, kind: &GroupKind, seen: &Seen) {
        let there: HashSet<&ObjectId> = seen.objects.iter().map(|live| &live.id).collect();
        self.glimpses.lock().retain(|id, _| id.kind != *kind || there.contains(id));
        for live in &seen.objects {
            self.see(workshop, live, false);
        }
        let version: u64 = seen.resource_version.parse().unwrap_or(0);
        let is_older = |applied: &Applied| applied.resource_version.parse::<u64>().is_ok_and(|applied| applied < version);
        let mut drifted = BTreeSet::new();
        for (id, applied) in workshop.ledger.of_kind(kind) {
            if !there.contains(&id) && is_older(&applied) {
                drifted.insert(applied.stack);
            }
        }
        for stack in drifted {
            self.drifted.send(stack).ok();
        }
    }
}

impl Glimpse {
    /// Whether it is newer than what was applied, and another.
    fn disagrees(&self, applied: &Applied) -> bool {
        let is_newer = applied.resource_version.parse::<u64>().is_ok_and(|applied| self.resource_version > applied);
        is_newer
            && (self.is_gone || self.uid != applied.uid || self.ownership != applied.ownership || self.part_of != applied.part_of)
    }
}

/// Follows one kind for ever: a list, then the watch from there; another list when the watch cannot go on.
async fn follow(workshop: &Arc<Workshop>, kind: &GroupKind, is_watched: bool, ids: &dyn Ids) {
    let mut failures = 0;
    loop {
        let resource = workshop.resources.of_kind(&workshop.cluster, kind).await;
        let outcome = match resource {
            Ok(Some(resource)) if is_watched => watch(workshop, &resource).await,
            Ok(Some(resource)) => list(workshop, &resource).await.map(drop),
            // The next attempt that applies one learns it again.
            Ok(None) => Ok(()),
            Err(failure) => Err(failure),
        };
        match outcome {
            Ok(()) if is_watched => failures = 0,
            Ok(()) => {
                failures = 0;
                tokio::time::sleep(LIST_INTERVAL).await;
            }
            Err(failure) => {
                failures += 1;
                debug!(kind = %kind, reason = failure.class.as_str(), detail = failure.message, "a kind cannot be watched; the agent tries again");
            }
        }
        tokio::time::sleep(backoff(failures.max(1), ids.fraction())).await;
    }
}

async fn list(workshop: &Arc<Workshop>, resource: &Resource) -> Result<Seen, KubeFailure> {
    let seen = workshop.cluster.list_members(resource, PART_OF).instrument(spans::job("watch-list")).await?;
    workshop.sight.see_all(workshop, &resource.group_kind(), &seen);
    Ok(seen)
}

/// Ends when the watch does.
async fn watch(workshop: &Arc<Workshop>, resource: &Resource) -> Result<(), KubeFailure> {
    let places = workshop.cluster.places(resource);
    let seen = list(workshop, resource).await?;
    let mut watches = JoinSet::new();
    for place in places {
        let (workshop, resource, from) = (Arc::clone(workshop), resource.clone(), seen.resource_version.clone());
        watches.spawn(async move { watch_place(&workshop, &resource, place.as_deref(), from).await });
    }
    // One that cannot go on ends them all: the next list is of everything.
    match watches.join_next().await {
        Some(Ok(outcome)) => outcome,
        _ => Ok(()),
    }
}

async fn watch_place(
    workshop: &Arc<Workshop>,
    resource: &Resource,
    place: Option<&str>,
    from: String,
) -> Result<(), KubeFailure> {
    let mut from = from;
    loop {
        let events = workshop.cluster.watch_members(resource, place, PART_OF, &from).instrument(spans::job("watch")).await?;
        tokio::pin!(events);
        loop {
            match events.try_next().await {
                Ok(Some(WatchEvent::Seen(live))) => {
                    from.clone_from(&live.resource_version);
                    workshop.sight.see(workshop, &live, false);
                }
                Ok(Some(WatchEvent::Gone(live))) => {
                    from.clone_from(&live.resource_version);
                    workshop.sight.see(workshop, &live, true);
                }
                Ok(Some(WatchEvent::Bookmark(version))) => from = version,
                // The server ends each watch after some minutes; it goes on from there.
                Ok(None) => break,
                // What happened since is no longer known: list anew.
                Err(failure) if failure.class == Class::Expired => return Ok(()),
                Err(failure) => return Err(failure),
            }
        }
    }
}
