//! Where the time of a build went, as spans made from the status of its `BuildRun`, `TaskRun` and pods with their own times.

use std::time::SystemTime;

use brokkr_telemetry::spans::WaitReason;
use serde_json::Value;
use tracing::Span;

use super::{
    build_status::{Sight, StepStatus},
    past::{self, Part, What, time},
};

/// With what the names of containers begin that are steps.
const STEP: &str = "step-";

/// Records the parts of an attempt under its span. What has not ended is left out.
pub(super) fn record(span: &Span, sight: &Sight) {
    parts(sight).iter().for_each(|part| past::record_part(span, part));
}

fn parts(sight: &Sight) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let asked = created(sight.run.as_ref());
    let begun = sight.pods.iter().chain(&sight.task_runs).filter_map(|object| created(Some(object))).max();
    if let Some((start, end)) = asked.zip(begun).filter(|(start, end)| start < end) {
        parts.push(Part { what: What::Wait(WaitReason::Queued), start, end });
    }
    let has_steps = sight.steps().next().is_some();
    // All containers of the pod start at once and wait for their turn: when a step really ran, only Tekton knows.
    let of_tekton = |part: &Part<'_>| matches!(part.what, What::Container { name, .. } if name.starts_with(STEP));
    parts.extend(sight.pods.iter().flat_map(past::parts).filter(|part| !(has_steps && of_tekton(part))));
    parts.extend(sight.steps().filter(|step| has_run(sight, *step)).filter_map(|step| {
        let ended = step.ended()?;
        let (start, end) = (time(ended.get("startedAt"))?, time(ended.get("finishedAt"))?);
        Some(Part { what: What::Container { name: step.name(), exit_code: step.exit_code().unwrap_or(0) }, start, end })
    }));
    parts
}

/// Tekton gives an end to steps that never began, too.
fn has_run(sight: &Sight, step: StepStatus<'_>) -> bool {
    let statuses = sight.pods.iter().filter_map(|pod| pod.pointer("/status/containerStatuses")?.as_array()).flatten();
    let waits = |status: &Value| status["name"] == step.container() && status.pointer("/state/waiting").is_some();
    !step.is_skipped() && !statuses.into_iter().any(waits)
}

fn created(object: Option<&Value>) -> Option<SystemTime> {
    time(object?.pointer("/metadata/creationTimestamp"))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use serde_json::json;

    use super::*;

    fn at(second: u64) -> String {
        format!("1970-01-01T00:00:{second:02}Z")
    }

    fn part(what: What<'_>, start: u64, end: u64) -> Part<'_> {
        let time = |second| UNIX_EPOCH + Duration::from_secs(second);
        Part { what, start: time(start), end: time(end) }
    }

    fn step(name: &str, start: u64, end: u64, exit_code: i64) -> Value {
        json!({"name": name, "container": format!("step-{name}"),
            "terminated": {"startedAt": at(start), "finishedAt": at(end), "exitCode": exit_code}})
    }

    fn container(name: &str, state: &Value) -> Value {
        json!({"name": name, "state": state})
    }

    #[test]
    fn waits_are_those_of_the_pod_and_steps_have_the_times_of_tekton() {
        let ended = |start, end| json!({"terminated": {"startedAt": at(start), "finishedAt": at(end), "exitCode": 0}});
        let mut skipped = step("push", 30, 30, 1);
        skipped["terminationReason"] = json!("Skipped");
        let sight = Sight {
            run: Some(json!({"metadata": {"creationTimestamp": at(0)}})),
            task_runs: vec![json!({"metadata": {"creationTimestamp": at(1)},
                "status": {"steps": [step("source", 8, 12, 0), step("build", 12, 30, 3), skipped]}})],
            pods: vec![json!({"metadata": {"creationTimestamp": at(2)}, "status": {
                "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": at(3)}],
                "initContainerStatuses": [container("prepare", &ended(5, 7))],
                "containerStatuses": [container("step-source", &ended(8, 12)), container("step-build", &ended(8, 30))],
            }})],
        };
        assert_eq!(
            parts(&sight),
            [
                part(What::Wait(WaitReason::Queued), 0, 2),
                part(What::Wait(WaitReason::Scheduling), 2, 3),
                part(What::Wait(WaitReason::ImagePull), 3, 5),
                part(What::Container { name: "prepare", exit_code: 0 }, 5, 7),
                part(What::Container { name: "source", exit_code: 0 }, 8, 12),
                part(What::Container { name: "build", exit_code: 3 }, 12, 30),
            ]
        );
    }

    #[test]
    fn a_step_that_never_began_is_no_span_whatever_tekton_says() {
        let sight = Sight {
            run: None,
            task_runs: vec![json!({"status": {"steps": [step("build", 1, 30, 1)]}})],
            pods: vec![
                json!({"status": {"containerStatuses": [container("step-build", &json!({"waiting": {"reason": "ImagePullBackOff"}}))]}}),
            ],
        };
        assert_eq!(parts(&sight), []);
        assert_eq!(parts(&Sight::default()), []);
    }
}
