//! The questions to the cluster: few, and each of them short.

use serde_json::Value;

use super::{Evidence, Subject, explain, selector::selector};
use crate::{
    cluster::{Cluster, Resource, Resources, Select},
    health::fields::{list, text},
    object::GroupKind,
};

/// Most objects of one list: enough to see what is wrong with a workload, whatever its size.
const LIMIT: u32 = 50;

/// What the cluster tells; what it does not tell is absent.
pub(super) async fn evidence(cluster: &Cluster, resources: &Resources, subject: Subject, object: &Value) -> Evidence {
    let mut evidence = Evidence::default();
    if matches!(subject, Subject::Claim | Subject::Pod) {
        evidence.events = events(cluster, object).await;
        return evidence;
    }
    evidence.pods = pods(cluster, resources, subject, object).await;
    // A Deployment's own events say only how it scales; what its newest replica set says, its conditions repeat.
    if subject != Subject::Deployment && explain::suspect(&evidence.pods).is_none_or(|pod| !explain::is_explained(pod)) {
        evidence.events = events(cluster, object).await;
    }
    if let Some(pod) = explain::suspect(&evidence.pods).filter(|pod| !explain::is_explained(pod)) {
        evidence.pod_events = events(cluster, pod).await;
    }
    evidence
}

async fn pods(cluster: &Cluster, resources: &Resources, subject: Subject, object: &Value) -> Vec<Value> {
    let Some(mut labels) = object.pointer("/spec/selector").and_then(selector) else { return Vec::new() };
    let namespace = text(object, "/metadata/namespace");
    let mut owner = text(object, "/metadata/uid").to_owned();
    if subject == Subject::Deployment {
        let Some(newest) = newest_replica_set(cluster, resources, object, &labels).await else { return Vec::new() };
        let hash = text(&newest, "/metadata/labels/pod-template-hash");
        if !hash.is_empty() {
            labels = format!("{labels},pod-template-hash={hash}");
        }
        text(&newest, "/metadata/uid").clone_into(&mut owner);
    }
    let resource = Resource::core("Pod", "pods", true);
    let mut pods = cluster.list_some(&resource, namespace, Select::Labels(&labels), LIMIT).await.unwrap_or_default();
    pods.retain(|pod| is_owned_by(pod, &owner));
    pods
}

async fn newest_replica_set(cluster: &Cluster, resources: &Resources, deployment: &Value, labels: &str) -> Option<Value> {
    let resource = resources.of_kind(cluster, &GroupKind::new("apps", "ReplicaSet")).await.ok().flatten()?;
    let (namespace, uid) = (text(deployment, "/metadata/namespace"), text(deployment, "/metadata/uid"));
    let sets = cluster.list_some(&resource, namespace, Select::Labels(labels), LIMIT).await.ok()?;
    let revision =
        |set: &Value| text(set, "/metadata/annotations/deployment.kubernetes.io~1revision").parse::<u64>().unwrap_or(0);
    sets.into_iter().filter(|set| is_owned_by(set, uid)).max_by_key(revision)
}

fn is_owned_by(object: &Value, uid: &str) -> bool {
    list(object, "/metadata/ownerReferences").iter().any(|owner| text(owner, "/uid") == uid)
}

async fn events(cluster: &Cluster, object: &Value) -> Vec<Value> {
    let (namespace, uid) = (text(object, "/metadata/namespace"), text(object, "/metadata/uid"));
    let resource = Resource::core("Event", "events", true);
    let selector = format!("involvedObject.uid={uid}");
    cluster.list_some(&resource, namespace, Select::Fields(&selector), LIMIT).await.unwrap_or_default()
}
