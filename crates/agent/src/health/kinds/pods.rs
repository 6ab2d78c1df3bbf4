//! Pods: by phase, conditions and the states of their containers.

use serde_json::Value;

use crate::health::{
    Assessment, HealthReason,
    fields::{Condition, condition, count, list, text},
    words,
};

pub(in crate::health) fn pod(object: &Value) -> Assessment {
    let phase = text(object, "/status/phase");
    match phase {
        "Succeeded" => return Assessment::healthy(),
        "Failed" => return failed(object),
        _ => {}
    }
    if let Some(trouble) = of_containers(object) {
        return trouble;
    }
    if let Some(scheduled) = condition(object, "PodScheduled").filter(Condition::is_false) {
        return match scheduled.reason {
            "Unschedulable" => Assessment::degraded(HealthReason::Unschedulable, scheduled.message),
            _ => Assessment::progressing(HealthReason::NotReady, scheduled.words()),
        };
    }
    match condition(object, "Ready") {
        Some(ready) if ready.is_true() => Assessment::healthy(),
        Some(ready) => Assessment::progressing(HealthReason::NotReady, ready.words()),
        None => Assessment::progressing(HealthReason::NotReady, "the pod has not started yet"),
    }
}

/// Its message is left out where a container wrote it.
fn failed(object: &Value) -> Assessment {
    let message = text(object, "/status/message");
    match text(object, "/status/reason") {
        "Evicted" => Assessment::degraded(HealthReason::Evicted, message),
        "DeadlineExceeded" => Assessment::degraded(HealthReason::DeadlineExceeded, message),
        _ => statuses(object)
            .find_map(|status| ended(status, "/state/terminated"))
            .unwrap_or_else(|| Assessment::degraded(HealthReason::ContainerFailed, "the pod failed")),
    }
}

/// The trouble of a pod's containers that does not end by itself, the gravest first by the order in which they start.
fn of_containers(pod: &Value) -> Option<Assessment> {
    statuses(pod).find_map(of_container)
}

fn statuses(pod: &Value) -> impl Iterator<Item = &Value> {
    ["/status/initContainerStatuses", "/status/containerStatuses"].into_iter().flat_map(|pointer| list(pod, pointer))
}

fn of_container(status: &Value) -> Option<Assessment> {
    let name = text(status, "/name");
    let waiting = text(status, "/state/waiting/reason");
    match words::of_waiting(waiting)? {
        // The image's name and the registry's answer: nothing of the container's own.
        HealthReason::ImagePullFailed => {
            let (image, message) = (text(status, "/image"), text(status, "/state/waiting/message"));
            let told = if message.contains(image) { String::new() } else { format!(" {image}") };
            Some(Assessment::degraded(HealthReason::ImagePullFailed, format!("container {name}:{told} {message}")))
        }
        HealthReason::CrashLoop => {
            let ended = ended(status, "/lastState/terminated");
            let restarts = count(status, "/restartCount");
            Some(match ended {
                Some(ended) if ended.reason == Some(HealthReason::OutOfMemory) => ended,
                Some(ended) => {
                    let detail = ended.message.unwrap_or_default();
                    Assessment::degraded(HealthReason::CrashLoop, format!("{detail}; started again {restarts} times"))
                }
                None => Assessment::degraded(HealthReason::CrashLoop, format!("container {name} ended {restarts} times")),
            })
        }
        // The kubelet names the ConfigMap, Secret or key that is missing; a runtime's words may repeat arguments.
        reason if waiting == "CreateContainerConfigError" => {
            let message = words::without_values(text(status, "/state/waiting/message"));
            Some(Assessment::degraded(reason, format!("container {name}: {message}")))
        }
        reason => Some(Assessment::degraded(reason, format!("container {name} cannot be started ({waiting})"))),
    }
}

/// How a container ended; the message that it left is its own output and told nowhere.
fn ended(status: &Value, pointer: &str) -> Option<Assessment> {
    let end = status.pointer(pointer)?;
    let (name, word, code) = (text(status, "/name"), text(end, "/reason"), count(end, "/exitCode"));
    if word == "OOMKilled" {
        return Some(Assessment::degraded(
            HealthReason::OutOfMemory,
            format!("container {name} used more memory than its limit"),
        ));
    }
    (code != 0)
        .then(|| Assessment::degraded(HealthReason::ContainerFailed, format!("container {name} ended with exit code {code}")))
}
