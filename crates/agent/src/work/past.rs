//! Where the time of a Job went, as spans made from the status of its pods with their own times: a cluster without any tracing shows it
//! too.

use std::time::SystemTime;

use brokkr_telemetry::spans::{self, Past, Step, WaitReason};
use chrono::DateTime;
use serde_json::Value;
use tracing::Span;

/// A part of an attempt, and when it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part<'a> {
    pub(super) what: What<'a>,
    pub(super) start: SystemTime,
    pub(super) end: SystemTime,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What<'a> {
    Wait(WaitReason),
    Container { name: &'a str, exit_code: i64 },
}

/// Records the parts of an attempt under its span. A part that has not ended is left out.
pub(super) fn record(span: &Span, pods: &[Value]) {
    pods.iter().flat_map(parts).for_each(|part| record_part(span, &part));
}

pub(super) fn record_part(span: &Span, part: &Part<'_>) {
    match part.what {
        What::Wait(reason) => spans::record_past(span, Past::Wait(reason), part.start, part.end),
        What::Container { name, exit_code } => spans::record_step(span, Step { name, exit_code }, part.start, part.end),
    }
}

pub(super) fn parts(pod: &Value) -> Vec<Part<'_>> {
    let created = time(pod.pointer("/metadata/creationTimestamp"));
    let list = |pointer: &str| pod.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let scheduled = list("/status/conditions")
        .iter()
        .find(|condition| condition["type"] == "PodScheduled" && condition["status"] == "True")
        .and_then(|condition| time(condition.get("lastTransitionTime")));
    let mut parts = Vec::new();
    let mut wait = |reason, start: Option<SystemTime>, end: Option<SystemTime>| {
        if let Some((start, end)) = start.zip(end).filter(|(start, end)| start < end) {
            parts.push(Part { what: What::Wait(reason), start, end });
        }
    };
    let containers = list("/status/initContainerStatuses").iter().chain(list("/status/containerStatuses"));
    let ended = |status: &Value| {
        let state = status.pointer("/state/terminated").or_else(|| status.pointer("/lastState/terminated"))?;
        Some((time(state.get("startedAt"))?, time(state.get("finishedAt"))?, state["exitCode"].as_i64().unwrap_or(0)))
    };
    wait(WaitReason::Scheduling, created, scheduled);
    let first = containers.clone().filter_map(ended).map(|(start, ..)| start).min();
    wait(WaitReason::ImagePull, scheduled.or(created), first);
    parts.extend(containers.filter_map(|status| {
        let (start, end, exit_code) = ended(status)?;
        let name = status["name"].as_str().unwrap_or_default();
        Some(Part { what: What::Container { name, exit_code }, start, end })
    }));
    parts
}

pub(super) fn time(value: Option<&Value>) -> Option<SystemTime> {
    DateTime::parse_from_rfc3339(value?.as_str()?).ok().map(SystemTime::from)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use serde_json::json;

    use super::*;

    #[test]
    fn waits_and_containers_have_the_times_of_the_pods_status() {
        let pod = json!({"metadata": {"creationTimestamp": "1970-01-01T00:00:00Z"}, "status": {
        "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": "1970-01-01T00:00:02Z"}],
        "containerStatuses": [
            {"name": "main", "state": {"terminated": {"startedAt": "1970-01-01T00:00:10Z", "finishedAt": "1970-01-01T00:00:40Z", "exitCode": 3}}},
            {"name": "side", "state": {"running": {"startedAt": "1970-01-01T00:00:10Z"}}},
        ]}});
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let part = |what, start, end| Part { what, start: at(start), end: at(end) };
        assert_eq!(
            parts(&pod),
            [
                part(What::Wait(WaitReason::Scheduling), 0, 2),
                part(What::Wait(WaitReason::ImagePull), 2, 10),
                part(What::Container { name: "main", exit_code: 3 }, 10, 40),
            ]
        );
        assert_eq!(parts(&json!({})), []);
    }
}
