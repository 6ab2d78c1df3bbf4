//! A build is stopped: by Shipwright where that answers, by deletion in any case.

use std::time::Duration;

use brokkr_api::{reports::ObjectRef, work_orders::ClaimedOrder};
use serde_json::{Value, json};
use tracing::warn;

use super::{
    Workforce, build,
    build_run::{FEW, label},
    build_status::Sight,
    mind::{Came, Mind},
    pods,
    verdict::Ended,
    watch::Changes,
};
use crate::cluster::{Class, KubeFailure, Select};

/// How long Shipwright may take to stop a build before it is deleted all the same.
const SHIPWRIGHT: Duration = Duration::from_secs(60);
impl Workforce {
    /// Has Shipwright stop the build, deletes it with all that belongs to it, and waits until nothing is there any more, however long that
    /// takes: before, something of it may run. Where Shipwright does not answer, the deletion alone stops it.
    pub(super) async fn stop_build(
        &self,
        order: &ClaimedOrder,
        object: &ObjectRef,
        mind: &mut Mind,
        sight: &mut Sight,
    ) -> Result<(), Came> {
        self.progress(order.id, "stopping".to_owned());
        let mut changes = self.changes_of_build(order, object);
        let cancelled = tokio::time::timeout(SHIPWRIGHT, self.cancelled(object, sight, &mut changes));
        let stopped = mind.unless_given_up(cancelled).await?;
        if !matches!(stopped, Ok(Ok(()))) {
            let reason = stopped.ok().and_then(Result::err).map_or("timeout", |failure| failure.class.as_str());
            warn!(work_order.id = %order.id, reason, "Shipwright does not stop a build; it is deleted");
        }
        self.until_gone(order, &object.to_string(), mind, &mut changes, || self.take_build_away(object)).await
    }

    /// Asks Shipwright to stop the build, and waits until it says that it has.
    async fn cancelled(&self, object: &ObjectRef, sight: &mut Sight, changes: &mut Changes) -> Result<(), KubeFailure> {
        let mut failures = 0;
        while let Err(failure) = self.cancel(object).await {
            if Ended::not_stopped(&object.to_string(), &failure).is_some() {
                return Err(failure);
            }
            failures += 1;
            self.rest_within(failures).await;
        }
        while !(self.look_at_build(object, sight).await.is_ok() && sight.is_over()) {
            changes.next().await;
        }
        Ok(())
    }

    /// Deletes what is there, and names what still is.
    async fn take_build_away(&self, object: &ObjectRef) -> Result<Option<String>, KubeFailure> {
        let (cluster, resource) = (&self.workshop.cluster, build::resource());
        let namespace = object.namespace.as_deref();
        let selected = Select::Labels(&label(object));
        let left = pods::named(&cluster.list_some(&pods::resource(), namespace.unwrap_or_default(), selected, FEW).await?);
        let Some(run) = cluster.get(&resource, namespace, &object.name).await? else { return Ok(left) };
        let text = |pointer: &str| run.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        if text("/metadata/deletionTimestamp").is_empty() {
            cluster.delete_whole(&resource, namespace, &object.name, text("/metadata/uid")).await?;
        }
        Ok(left.or_else(|| Some(object.to_string())))
    }

    async fn cancel(&self, object: &ObjectRef) -> Result<(), KubeFailure> {
        let (resource, namespace) = (build::resource(), object.namespace.as_deref());
        let run = self.workshop.cluster.get(&resource, namespace, &object.name).await?;
        if (Sight { run, ..Sight::default() }).is_over() {
            return Ok(());
        }
        let patch = json!([{"op": "add", "path": "/spec/state", "value": "BuildRunCanceled"}]);
        match self.workshop.cluster.patch_json(&resource, namespace, &object.name, &patch).await {
            Err(failure) if failure.class == Class::NotFound => Ok(()),
            other => other.map(drop),
        }
    }
}
