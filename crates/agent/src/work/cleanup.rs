//! What a work order has left in the cluster is deleted after its time, also by another process than the one that made it: a ConfigMap
//! names the objects from before they are made until they are gone.

use std::{sync::Arc, time::Duration};

use brokkr_api::{Timestamp, reports::ObjectRef, work_orders::ClaimedOrder};
use brokkr_telemetry::spans;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::{Instrument, warn};

use super::{
    WORK_ORDER, Workforce,
    mind::{Came, Mind},
    order::order_of,
    watch::Changes,
};
use crate::{
    cluster::{KubeFailure, Resource, Select, WORK_RECORD},
    object::GroupKind,
};

/// The label of records.
const RECORD: &str = "brokkr.io/work-order-record";
/// How often what is over is looked for.
const ROUND: Duration = Duration::from_secs(30);
/// Records that one round looks at.
const RECORDS: u32 = 500;
/// How often a deletion is tried before it is left to the next round.
const TRIES: u32 = 4;

/// What an order has in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    objects: Vec<ObjectRef>,
    /// Of the claim that wrote it: an older one changes nothing any more.
    token: u64,
    /// When they go; nothing while the order goes on.
    expires_at: Option<Timestamp>,
}

impl Record {
    pub(super) fn of<'a>(token: u64, objects: impl Iterator<Item = &'a ObjectRef>) -> Self {
        Self { objects: objects.cloned().collect(), token, expires_at: None }
    }
}

fn config_maps() -> Resource {
    Resource::core("ConfigMap", "configmaps", true)
}

fn name(order: &str) -> String {
    format!("{WORK_RECORD}{order}")
}

impl Workforce {
    pub(super) async fn keep_record(&self, order: &ClaimedOrder, record: &Record) -> Result<(), KubeFailure> {
        self.write_record(&order.id.to_string(), record).await
    }

    async fn write_record(&self, order: &str, record: &Record) -> Result<(), KubeFailure> {
        let name = name(order);
        let body = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": self.workshop.namespace, "labels": {RECORD: "true", WORK_ORDER: order}},
            "data": {"record": serde_json::to_string(record).unwrap_or_default()},
        });
        self.workshop.cluster.apply_own(&config_maps(), Some(&self.workshop.namespace), &name, &body).await.map(drop)
    }

    async fn read_record(&self, order: &str) -> Result<Option<Record>, KubeFailure> {
        let found = self.workshop.cluster.get(&config_maps(), Some(&self.workshop.namespace), &name(order)).await?;
        Ok(found.as_ref().and_then(read))
    }

    /// Deletes the objects of an order with all that belongs to them, and waits until nothing is there any more.
    pub(super) async fn take_away(&self, order: &ClaimedOrder, mind: &mut Mind) -> Result<(), Came> {
        let id = order.id.to_string();
        let delete = || async {
            let Some(record) = self.read_record(&id).await? else { return Ok(None) };
            let left = self.remove(&id, &record).await?;
            let names = left.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            Ok((!left.is_empty()).then_some(names))
        };
        self.until_gone(order, "what the order has made", mind, &mut Changes::none(), delete).await
    }

    /// Lets the objects of an order go after so many seconds; at once for 0. What cannot be done now is done by the next round.
    pub(super) async fn clean_up(&self, order: &ClaimedOrder, after_seconds: u32) {
        let id = order.id.to_string();
        let expires_at = self.clock.now().after(Duration::from_secs(u64::from(after_seconds)));
        for failures in 1..=TRIES {
            match self.expire(&id, order.token, expires_at).await {
                Ok(()) => return,
                Err(failure) => {
                    tell_not_yet(&id, &failure);
                    self.rest(failures).await;
                }
            }
        }
    }

    async fn expire(&self, order: &str, token: u64, expires_at: Timestamp) -> Result<(), KubeFailure> {
        let Some(mut record) = self.read_record(order).await?.filter(|record| record.token <= token) else { return Ok(()) };
        record.expires_at = Some(expires_at);
        self.write_record(order, &record).await?;
        if expires_at <= self.clock.now() { self.remove(order, &record).await.map(drop) } else { Ok(()) }
    }

    /// Deletes the objects that still are the order's, the last one first, and the record when they are gone. Tells which are not.
    async fn remove(&self, order: &str, record: &Record) -> Result<Vec<ObjectRef>, KubeFailure> {
        let mut left = Vec::new();
        let cluster = &self.workshop.cluster;
        for object in record.objects.iter().rev() {
            let kind = GroupKind::of(&object.api_version, &object.kind);
            let Some(resource) = self.workshop.resources.of_manifest(cluster, &kind, &object.api_version).await? else {
                continue;
            };
            let namespace = object.namespace.as_deref();
            let Some(found) = cluster.get(&resource, namespace, &object.name).await? else { continue };
            if order_of(&found) != Some(order) {
                continue;
            }
            let text = |pointer: &str| found.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            left.push(object.clone());
            if text("/metadata/deletionTimestamp").is_empty() {
                cluster.delete_whole(&resource, namespace, &object.name, text("/metadata/uid")).await?;
            }
        }
        if !left.is_empty() {
            return Ok(left);
        }
        let namespace = Some(self.workshop.namespace.as_str());
        let Some(live) = cluster.look(&config_maps(), namespace, &name(order)).await? else { return Ok(left) };
        cluster.delete(&config_maps(), namespace, &name(order), &live.uid, &live.resource_version).await.map(|()| left)
    }

    /// Cleans up until the lifecycle stops.
    pub(super) fn spawn_cleanup(self: &Arc<Self>) {
        let (this, stopping) = (Arc::clone(self), self.lifecycle.stopping().clone());
        self.lifecycle.spawn("work-cleanup", async move {
            loop {
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = this.round().instrument(spans::job("work-cleanup")) => {}
                }
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = tokio::time::sleep(ROUND) => {}
                }
            }
        });
    }

    async fn round(&self) {
        let selector = format!("{RECORD}=true");
        let records =
            self.workshop.cluster.list_some(&config_maps(), &self.workshop.namespace, Select::Labels(&selector), RECORDS).await;
        let now = self.clock.now();
        for found in records.unwrap_or_default() {
            let order = order_of(&found).unwrap_or_default();
            let Some(record) = read(&found).filter(|record| record.expires_at.is_some_and(|at| at <= now)) else { continue };
            if let Err(failure) = self.remove(order, &record).await {
                tell_not_yet(order, &failure);
            }
        }
    }
}

fn tell_not_yet(order: &str, failure: &KubeFailure) {
    warn!(
        work_order.id = order,
        reason = failure.class.as_str(),
        detail = failure.message,
        "what a work order has left cannot be cleaned up yet"
    );
}

fn read(config_map: &Value) -> Option<Record> {
    serde_json::from_str(config_map.pointer("/data/record")?.as_str()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_and_anything_else_is_none() {
        let object = ObjectRef {
            api_version: "v1".to_owned(),
            kind: "ConfigMap".to_owned(),
            namespace: Some("shop".to_owned()),
            name: "a".to_owned(),
        };
        let record =
            Record { expires_at: Some(Timestamp::from_micros(1_767_225_600_000_000)), ..Record::of(3, [&object].into_iter()) };
        let kept = json!({"data": {"record": serde_json::to_string(&record).unwrap()}});
        assert_eq!(read(&kept), Some(record));
        assert_eq!(read(&json!({"data": {"record": "x"}})), None);
    }
}
