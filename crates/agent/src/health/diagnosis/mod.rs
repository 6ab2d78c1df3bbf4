//! Why an object is not healthy, where it does not say so itself: from the pods of a workload, and from events.

mod events;
mod explain;
mod fetch;
mod selector;

#[cfg(test)]
mod tests;

use serde_json::Value;

use super::{Assessment, HealthReason, fields::text, kind_of};
use crate::cluster::{Cluster, Resources};

/// What the cluster says about an object that is not healthy.
#[derive(Debug, Default)]
struct Evidence {
    /// Pods of the workload's newest version.
    pods: Vec<Value>,
    /// Events of the object.
    events: Vec<Value>,
    /// Events of the pod that [`explain::suspect`] names.
    pod_events: Vec<Value>,
}

/// What may be asked about a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Deployment,
    /// Another controller of pods.
    Workload,
    Job,
    Pod,
    Claim,
}

impl Subject {
    fn of(object: &Value) -> Option<Self> {
        let kind = kind_of(object)?;
        Some(match (kind.group.as_str(), kind.kind.as_str()) {
            ("apps", "Deployment") => Self::Deployment,
            ("apps", "StatefulSet" | "DaemonSet" | "ReplicaSet") => Self::Workload,
            ("batch", "Job") => Self::Job,
            ("", "Pod") => Self::Pod,
            ("", "PersistentVolumeClaim") => Self::Claim,
            _ => return None,
        })
    }
}

/// Whether pods or events can say more than the assessment does.
pub(crate) fn needs_diagnosis(object: &Value, assessment: &Assessment) -> bool {
    let is_open = match assessment.reason {
        Some(
            HealthReason::RollingOut
            | HealthReason::NotReady
            | HealthReason::ProgressDeadlineExceeded
            | HealthReason::JobRunning
            | HealthReason::JobFailed
            | HealthReason::DeadlineExceeded
            | HealthReason::ReplicaFailure
            | HealthReason::VolumeUnbound,
        ) => true,
        // The rest says what there is to say, or is somebody's intention.
        _ => false,
    };
    is_open && Subject::of(object).is_some() && !text(object, "/metadata/uid").is_empty()
}

/// Asks the cluster, with at most three short lists. What cannot be asked, because the agent has no right to or the API server does
/// not answer, leaves the assessment as it is.
pub(crate) async fn diagnose(cluster: &Cluster, resources: &Resources, object: &Value, assessment: Assessment) -> Assessment {
    let Some(subject) = Subject::of(object).filter(|_| needs_diagnosis(object, &assessment)) else { return assessment };
    let evidence = fetch::evidence(&fetch::Questions { cluster, resources }, subject, object).await;
    explain::explain(subject, object, assessment, &evidence)
}
