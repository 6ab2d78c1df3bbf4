//! What stands for an attempt in the cluster: made once, whoever tries, and gone before it is said to be stopped.

use std::{sync::Arc, time::Duration};

use brokkr_api::{reports::ObjectRef, work_orders::ClaimedOrder};
use brokkr_telemetry::spans::{self, WaitReason};
use serde_json::Value;
use tracing::Instrument;

use super::{
    Workforce, job,
    mind::{Came, Mind, Stop},
    order::is_of,
    verdict::{Ended, progress},
    watch::Changes,
};
use crate::cluster::{Class, KubeFailure, Resource};

/// How often is looked whether what was deleted is gone.
const LOOK: Duration = Duration::from_secs(1);

/// How an attempt ended without having been stopped.
pub(super) struct Over {
    pub(super) ended: Ended,
    /// Otherwise it does not get there, and what is left of it has to be stopped.
    pub(super) by_itself: bool,
}

impl Over {
    pub(super) fn by_itself(ended: Ended) -> Self {
        Self { ended, by_itself: true }
    }

    pub(super) fn hopeless(ended: Ended) -> Self {
        Self { ended, by_itself: false }
    }
}

/// What an attempt has come to, when nothing of it runs any more.
pub(super) async fn come_of(
    over: Result<Over, Stop>,
    log: Option<&str>,
    stopping: impl Future<Output = Result<(), Came>>,
) -> Came {
    let over = match over {
        Ok(over) => over,
        Err(stop) => return stop.came(stopping).await,
    };
    if !over.by_itself
        && let Err(came) = stopping.await
    {
        return came;
    }
    Came::Ended(over.ended.with_last_lines(log))
}

/// What is there under the name already is this order's, or somebody else's.
pub(super) fn expect_own(found: &Value, order: &ClaimedOrder, object: &ObjectRef) -> Result<(), KubeFailure> {
    if is_of(found, order) {
        return Ok(());
    }
    Err(KubeFailure::new(Class::Exists, format!("{object} is there already, and is not this order's")))
}

impl Workforce {
    /// Creates the object. It has the same name whoever tries, so that a creation whose answer was lost is not made twice. Tells how the
    /// attempt ended where `refused` finds in a failure that it has.
    pub(super) async fn create(
        &self,
        order: &ClaimedOrder,
        resource: &Resource,
        object: &ObjectRef,
        manifest: &Value,
        mind: &mut Mind,
        refused: fn(&KubeFailure) -> Option<Ended>,
    ) -> Result<Option<Ended>, Stop> {
        let mut failures = 0;
        loop {
            let Err(failure) = self.create_once(order, resource, object, manifest).await else { return Ok(None) };
            // A conflict over something else than the name, as of quotas that are counted at the same time, passes.
            if let Some(ended) = refused(&failure).filter(|_| failure.class != Class::Conflict) {
                return Ok(Some(ended));
            }
            failures += 1;
            self.progress(order.id, progress(&failure.message));
            mind.unless_stopped(self.rest_within(failures)).await?;
        }
    }

    async fn create_once(
        &self,
        order: &ClaimedOrder,
        resource: &Resource,
        object: &ObjectRef,
        manifest: &Value,
    ) -> Result<(), KubeFailure> {
        let namespace = object.namespace.as_deref();
        let Err(failure) = self.workshop.cluster.create(resource, namespace, manifest).await else { return Ok(()) };
        if failure.class != Class::Conflict {
            return Err(failure);
        }
        let found = self.workshop.cluster.get(resource, namespace, &object.name).await?.ok_or(failure)?;
        expect_own(&found, order, object)
    }

    /// Deletes until nothing is there any more, however long that takes: before, something of it may run. `delete` names what still is.
    pub(super) async fn until_gone<D: Future<Output = Result<Option<String>, KubeFailure>>>(
        &self,
        order: &ClaimedOrder,
        what: &str,
        mind: &mut Mind,
        changes: &mut Changes,
        delete: impl Fn() -> D,
    ) -> Result<(), Came> {
        let mut failures = 0;
        loop {
            match delete().await {
                Ok(None) => return Ok(()),
                Ok(Some(left)) => {
                    failures = 0;
                    self.still_there(order, &left);
                    let gone = tokio::time::timeout(LOOK, changes.next()).instrument(spans::wait(WaitReason::Gone));
                    drop(mind.unless_given_up(gone).await?);
                }
                Err(failure) => {
                    if let Some(ended) = Ended::not_stopped(what, &failure) {
                        return Err(Came::Ended(ended));
                    }
                    failures += 1;
                    self.progress(order.id, progress(&format!("stopping: {failure}")));
                    mind.unless_given_up(self.rest_within(failures)).await?;
                }
            }
        }
    }

    pub(super) fn still_there(&self, order: &ClaimedOrder, left: &str) {
        self.progress(order.id, progress(&format!("stopping: still there: {left}")));
    }

    pub(super) async fn delete_now(&self, resource: &Resource, object: &ObjectRef) -> Result<(), KubeFailure> {
        let namespace = object.namespace.as_deref();
        let Some(live) = self.workshop.cluster.look(resource, namespace, &object.name).await? else { return Ok(()) };
        self.workshop.cluster.delete(resource, namespace, &object.name, &live.uid, &live.resource_version).await
    }

    /// Deletes a Job or a build whose time to live is shorter than the cluster is told. Where this process ends before, the cluster deletes
    /// it later.
    pub(super) fn delete_soon(self: &Arc<Self>, order: &ClaimedOrder, resource: Resource, object: &ObjectRef) {
        if order.ttl_seconds >= job::LEAST_KEPT {
            return;
        }
        let (this, object, stopping) = (Arc::clone(self), object.clone(), self.lifecycle.stopping().clone());
        let (id, ttl) = (order.id, Duration::from_secs(u64::from(order.ttl_seconds)));
        self.lifecycle.spawn_work(async move {
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(ttl) => {}
            }
            if let Err(failure) = this.delete_now(&resource, &object).await {
                tracing::info!(work_order.id = %id, reason = failure.class.as_str(), detail = failure.message, "what has finished goes later");
            }
        });
    }
}
