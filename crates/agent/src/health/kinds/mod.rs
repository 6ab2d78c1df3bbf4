//! One function per kind of the API server itself; what none of them knows is judged by its conditions.

mod cluster;
mod generic;
mod jobs;
mod network;
mod pods;
mod storage;
mod workloads;

#[cfg(test)]
mod tests;

use serde_json::Value;

pub(super) use generic::{generic, not_observed};

use super::Assessment;
use crate::object::GroupKind;

/// How an object of a kind of the API server itself is.
pub(super) fn assess(kind: &GroupKind, object: &Value) -> Assessment {
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("apps", "Deployment") => workloads::deployment(object),
        ("apps", "StatefulSet") => workloads::stateful_set(object),
        ("apps", "DaemonSet") => workloads::daemon_set(object),
        ("apps", "ReplicaSet") | ("", "ReplicationController") => workloads::replica_set(object),
        ("", "Pod") => pod(object),
        ("batch", "Job") => jobs::job(object),
        ("batch", "CronJob") => jobs::cron_job(object),
        ("", "PersistentVolumeClaim") => storage::claim(object),
        ("", "PersistentVolume") => storage::volume(object),
        ("", "Service") => network::service(object),
        ("policy", "PodDisruptionBudget") => network::disruption_budget(object),
        ("autoscaling", "HorizontalPodAutoscaler") => network::autoscaler(object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => cluster::definition(object),
        ("apiregistration.k8s.io", "APIService") => cluster::api_service(object),
        // They have conditions of other meanings, or none that says more than that they exist.
        ("networking.k8s.io", "Ingress" | "NetworkPolicy") | ("", "Node" | "Namespace") => Assessment::healthy(),
        _ => generic(object),
    }
}

/// An object that is being deleted: it never becomes healthy again.
pub(super) fn terminating(kind: &GroupKind, object: &Value) -> Assessment {
    if kind.is("", "Namespace") { cluster::terminating_namespace(object) } else { generic::terminating(object) }
}

pub(super) use pods::pod;
