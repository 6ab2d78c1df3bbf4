//! What the agent has applied since it started, object by object: how it tells a foreign change from its own.

use std::collections::{BTreeSet, HashMap};

use brokkr_api::StackId;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    fields::{Ownership, path_hash},
    live::Live,
    object::{GroupKind, ObjectId},
};

/// An object as it was when the agent applied it, or found it as applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) stack: StackId,
    pub(crate) uid: String,
    pub(crate) resource_version: String,
    /// The `ApplySet` that it is a member of.
    pub(crate) part_of: Option<String>,
    /// The digest of the manifest.
    pub(crate) digest: String,
    /// Hash of what our field manager owned.
    pub(crate) ownership: u64,
    /// Hashes of the paths of what it owned, sorted.
    paths: Box<[u64]>,
}

impl Applied {
    pub(crate) fn of(stack: StackId, digest: &str, live: &Live) -> Self {
        let ownership = live.ours.as_ref();
        Self {
            stack,
            uid: live.uid.clone(),
            resource_version: live.resource_version.clone(),
            part_of: live.part_of.clone(),
            digest: digest.to_owned(),
            ownership: ownership.map_or(0, Ownership::hash),
            paths: ownership.map_or_else(Box::default, Ownership::path_hashes),
        }
    }

    /// Whether all these fields were ours.
    pub(crate) fn owned_all(&self, paths: &[String]) -> bool {
        paths.iter().all(|path| self.paths.binary_search(&path_hash(path)).is_ok())
    }

    /// Whether the object is still as it was applied.
    pub(crate) fn agrees(&self, live: &Live) -> bool {
        self.uid == live.uid && live.ours.as_ref().is_some_and(|ours| ours.hash() == self.ownership)
    }
}

/// What was applied, by object.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    objects: Mutex<HashMap<ObjectId, Applied>>,
    /// Rung when a kind may have come or gone.
    kinds: Notify,
}

impl Ledger {
    pub(crate) fn record(&self, id: &ObjectId, applied: Applied) {
        self.objects.lock().insert(id.clone(), applied);
    }

    pub(crate) fn get(&self, id: &ObjectId) -> Option<Applied> {
        self.objects.lock().get(id).cloned()
    }

    /// Forgets an object, if it is this stack's.
    pub(crate) fn forget(&self, id: &ObjectId, stack: StackId) {
        let mut objects = self.objects.lock();
        if objects.get(id).is_some_and(|applied| applied.stack == stack) {
            objects.remove(id);
        }
    }

    /// Forgets the objects of stacks that are gone.
    pub(crate) fn keep_stacks(&self, is_there: impl Fn(StackId) -> bool) {
        self.objects.lock().retain(|_, applied| is_there(applied.stack));
    }

    /// What was applied of these objects.
    pub(crate) fn of<'a>(&self, ids: impl Iterator<Item = &'a ObjectId>) -> HashMap<ObjectId, Applied> {
        let objects = self.objects.lock();
        ids.filter_map(|id| objects.get(id).map(|applied| (id.clone(), applied.clone()))).collect()
    }

    pub(crate) fn of_stack(&self, stack: StackId) -> Vec<(ObjectId, Applied)> {
        self.select(|_, applied| applied.stack == stack)
    }

    pub(crate) fn of_kind(&self, kind: &GroupKind) -> Vec<(ObjectId, Applied)> {
        self.select(|id, _| id.kind == *kind)
    }

    fn select(&self, is_meant: impl Fn(&ObjectId, &Applied) -> bool) -> Vec<(ObjectId, Applied)> {
        let objects = self.objects.lock();
        objects.iter().filter(|(id, applied)| is_meant(id, applied)).map(|(id, applied)| (id.clone(), applied.clone())).collect()
    }

    /// The kinds of everything that was applied.
    pub(crate) fn kinds(&self) -> BTreeSet<GroupKind> {
        self.objects.lock().keys().map(|id| id.kind.clone()).collect()
    }

    /// An attempt is over: kinds may have come and gone.
    pub(crate) fn settled(&self) {
        self.kinds.notify_one();
    }

    pub(crate) async fn kinds_changed(&self) {
        self.kinds.notified().await;
    }
}
