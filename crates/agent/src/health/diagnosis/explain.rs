//! From evidence to a reason: pure.

use brokkr_api::reports::HealthStatus;
use serde_json::Value;

use super::{Evidence, Subject, events};
use crate::health::{Assessment, HealthReason, fields::text, kinds, words};

/// The pod that says most about what is wrong with its workload, if one is not healthy. Pods that failed are being replaced.
pub(super) fn suspect(pods: &[Value]) -> Option<&Value> {
    let living = |pod: &&Value| text(pod, "/status/phase") != "Failed" && pod.pointer("/metadata/deletionTimestamp").is_none();
    let troubled = pods.iter().filter(living).map(|pod| (pod, of_pod(pod)));
    let troubled: Vec<_> = troubled.filter(|(_, assessment)| !assessment.is_healthy()).collect();
    let degraded = troubled.iter().find(|(_, assessment)| assessment.status == HealthStatus::Degraded);
    degraded.or_else(|| troubled.first()).map(|(pod, _)| *pod)
}

/// Whether a pod itself says what is wrong with it.
pub(super) fn is_explained(pod: &Value) -> bool {
    of_pod(pod).status == HealthStatus::Degraded
}

fn of_pod(pod: &Value) -> Assessment {
    kinds::pod(pod)
}

/// What is wrong with an object, by its pods and events; the assessment where these do not say more.
pub(super) fn explain(subject: Subject, object: &Value, assessment: Assessment, evidence: &Evidence) -> Assessment {
    let found = match subject {
        Subject::Claim => of_claim(evidence),
        Subject::Pod => of_pod_events(&evidence.events, assessment.status),
        Subject::Job if assessment.status == HealthStatus::Degraded => of_failed_job(&assessment, &evidence.pods),
        Subject::Deployment | Subject::Workload | Subject::Job => of_workload(object, &assessment, evidence),
    };
    found.unwrap_or(assessment)
}

fn of_workload(object: &Value, assessment: &Assessment, evidence: &Evidence) -> Option<Assessment> {
    if let Some(pod) = suspect(&evidence.pods) {
        let found = of_pod(pod);
        let found = match found.status {
            HealthStatus::Degraded => Some(found),
            _ => of_pod_events(&evidence.pod_events, assessment.status),
        };
        if let Some(found) = found {
            return Some(in_pod(pod, found));
        }
    }
    // Pods are missing only where a controller counts fewer than are wanted; an old refusal explains nothing else.
    let refusal = events::newest(&evidence.events, &["FailedCreate", "SuccessfulCreate"])?;
    if text(refusal, "/reason") != "FailedCreate" || !lacks_pods(object) {
        return None;
    }
    let message = text(refusal, "/message");
    Some(Assessment::degraded(words::of_refusal(message), words::without_values(message)))
}

fn lacks_pods(object: &Value) -> bool {
    use crate::health::fields::{count, number};
    let wanted = number(object, "/spec/replicas")
        .or_else(|| number(object, "/status/desiredNumberScheduled"))
        .or_else(|| number(object, "/spec/parallelism"))
        .unwrap_or(1);
    let have = ["/status/replicas", "/status/currentNumberScheduled", "/status/active"].map(|pointer| count(object, pointer));
    have.iter().sum::<i64>() < wanted
}

/// The Job says that it failed; its pods say of what.
fn of_failed_job(assessment: &Assessment, pods: &[Value]) -> Option<Assessment> {
    let (pod, found) = pods.iter().map(|pod| (pod, of_pod(pod))).find(|(_, found)| found.status == HealthStatus::Degraded)?;
    let detail = in_pod(pod, found).message.unwrap_or_default();
    let message = format!("{}; {detail}", assessment.message.as_deref().unwrap_or_default());
    Some(Assessment::degraded(assessment.reason.unwrap_or(HealthReason::JobFailed), message))
}

fn in_pod(pod: &Value, found: Assessment) -> Assessment {
    let (name, message) = (text(pod, "/metadata/name"), found.message.unwrap_or_default());
    let reason = found.reason.unwrap_or(HealthReason::NotReady);
    match found.status {
        HealthStatus::Degraded => Assessment::degraded(reason, format!("pod {name}: {message}")),
        _ => Assessment::progressing(reason, format!("pod {name}: {message}")),
    }
}

/// A mount that fails is tried again for ever; a probe that fails may be a program that is still starting, so that it says why
/// nothing is ready and not that nothing will be.
fn of_pod_events(events: &[Value], status: HealthStatus) -> Option<Assessment> {
    let event = events::newest(events, &["FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox", "Unhealthy", "Started"])?;
    let message = text(event, "/message");
    match text(event, "/reason") {
        "FailedMount" | "FailedAttachVolume" => {
            Some(Assessment::degraded(HealthReason::VolumeMountFailed, words::of_mount(message)))
        }
        "FailedCreatePodSandBox" => {
            Some(Assessment::progressing(HealthReason::NotReady, "the runtime cannot create the pod's sandbox"))
        }
        "Unhealthy" if status == HealthStatus::Degraded => {
            Some(Assessment::degraded(HealthReason::ProbeFailed, words::of_probe(message)))
        }
        "Unhealthy" => Some(Assessment::progressing(HealthReason::ProbeFailed, words::of_probe(message))),
        _ => None,
    }
}

fn of_claim(evidence: &Evidence) -> Option<Assessment> {
    let reasons = ["ProvisioningFailed", "FailedBinding", "WaitForFirstConsumer", "ExternalProvisioning", "Provisioning"];
    let event = events::newest(&evidence.events, &reasons)?;
    let message = words::without_values(text(event, "/message"));
    match text(event, "/reason") {
        "ProvisioningFailed" | "FailedBinding" => Some(Assessment::degraded(HealthReason::VolumeUnbound, message)),
        // It gets its volume when a pod uses it, and a later wave may be what brings that pod.
        "WaitForFirstConsumer" => Some(Assessment::healthy()),
        _ => Some(Assessment::progressing(HealthReason::VolumeUnbound, message)),
    }
}
