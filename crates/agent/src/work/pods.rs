//! The pods of an attempt, as the API server tells of them: pure.

use brokkr_api::reports::HealthStatus;
use serde_json::{Value, json};

use crate::{
    cluster::Resource,
    health::{self, Assessment, Rules},
};

/// The kind.
pub(super) fn resource() -> Resource {
    Resource::core("Pod", "pods", true)
}

/// What selects the pods of a Job.
pub(super) fn selector_of_job(name: &str) -> String {
    format!("batch.kubernetes.io/job-name={name}")
}

/// How the first one is that does not get there by itself.
pub(super) fn degraded(pods: &[Value]) -> Option<Assessment> {
    pods.iter().find_map(|pod| {
        let mut pod = pod.clone();
        // What comes in a list does not say what it is.
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        Some(health::assess(&pod, &Rules::default())).filter(|found| found.status == HealthStatus::Degraded)
    })
}

/// What they are called, and where they run; nothing where there are none.
pub(super) fn named(pods: &[Value]) -> Option<String> {
    let text = |pod: &Value, pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or("none").to_owned();
    let one = |pod: &Value| format!("{} on node {}", text(pod, "/metadata/name"), text(pod, "/spec/nodeName"));
    (!pods.is_empty()).then(|| pods.iter().map(one).collect::<Vec<_>>().join(", "))
}
