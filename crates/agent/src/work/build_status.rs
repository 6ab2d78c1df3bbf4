//! What to make of the status of a `BuildRun` and its `TaskRun`: pure.

use serde_json::Value;

use super::verdict::{Ended, Verdict, progress};

/// What Shipwright calls the end of a build that somebody cancelled.
const CANCELLED: &str = "BuildRunCanceled";
/// Between what Tekton says of itself and the words of the kubelet.
const WORDS_OF_THE_POD: &str = "The pod errored with the message: ";

/// What the controllers of the cluster say of an attempt.
#[derive(Debug, Clone, Default)]
pub(super) struct Sight {
    pub(super) run: Option<Value>,
    pub(super) task_runs: Vec<Value>,
    /// As they were seen last: Tekton deletes the pod of what it gives up.
    pub(super) pods: Vec<Value>,
}

/// A step of a build, by the status of its `TaskRun`.
#[derive(Debug, Clone, Copy)]
pub(super) struct StepStatus<'a>(&'a Value);

impl<'a> StepStatus<'a> {
    pub(super) fn name(self) -> &'a str {
        text(self.0, "/name")
    }

    pub(super) fn container(self) -> &'a str {
        text(self.0, "/container")
    }

    /// How it ended.
    pub(super) fn ended(self) -> Option<&'a Value> {
        self.0.get("terminated").filter(|ended| ended.is_object())
    }

    pub(super) fn exit_code(self) -> Option<i64> {
        self.ended()?.get("exitCode")?.as_i64()
    }

    /// Whether it never ran, because one before it failed.
    pub(super) fn is_skipped(self) -> bool {
        text(self.0, "/terminationReason") == "Skipped"
    }
}

impl Sight {
    /// The steps in their order.
    pub(super) fn steps(&self) -> impl Iterator<Item = StepStatus<'_>> {
        let lists = self.task_runs.iter().filter_map(|task_run| task_run.pointer("/status/steps")?.as_array());
        lists.flatten().map(StepStatus)
    }

    fn condition(&self) -> Option<&Value> {
        let conditions = self.run.as_ref()?.pointer("/status/conditions")?.as_array()?;
        conditions.iter().find(|condition| condition["type"] == "Succeeded")
    }

    /// Whether nothing of it runs any more, or it never will.
    pub(super) fn is_over(&self) -> bool {
        self.run.is_none() || self.condition().is_some_and(|condition| condition["status"] != "Unknown")
    }

    /// What there is to say now.
    pub(super) fn verdict(&self) -> Verdict {
        let Some(condition) = self.condition() else {
            return Verdict::GoesOn("waiting for Shipwright to take the build up".to_owned());
        };
        match text(condition, "/status") {
            "True" => Verdict::Ended(Ended::Succeeded),
            "False" => Verdict::Ended(self.failure(text(condition, "/reason"), text(condition, "/message"))),
            _ => Verdict::GoesOn(self.progress(text(condition, "/message"))),
        }
    }

    fn progress(&self, message: &str) -> String {
        let mut steps = self.steps();
        let number = self.steps().count();
        match steps.position(|step| step.ended().is_none()).zip(self.steps().find(|step| step.ended().is_none())) {
            Some((done, step)) if step.0.get("running").is_some() => {
                format!("step {} runs, {} of {number}", step.name(), done + 1)
            }
            _ => progress(message),
        }
    }

    fn failure(&self, reason: &str, message: &str) -> Ended {
        match reason {
            "Failed" | "PipelineRunFailed" => self.failed_step("container_failed", message),
            "StepOutOfMemory" => self.failed_step("out_of_memory", message),
            "PodEvicted" => Ended::failed("evicted", message, true),
            "TaskRunImagePullFailed" => Ended::failed("image_pull_failed", self.image(message), true),
            "BuildRunTimeout" => Ended::failed("build_timeout", message, true),
            CANCELLED => Ended::failed("cancelled_in_cluster", "somebody cancelled the build in the cluster", false),
            "VulnerabilitiesFound" => Ended::failed("vulnerabilities_found", message, false),
            "TaskRunIsMissing" => Ended::failed("missing", message, false),
            "BuildNotFound" => Ended::failed("build_missing", message, false),
            "ServiceAccountNotFound" => Ended::failed("service_account_missing", message, false),
            "BuildStrategyNotFound" | "ClusterBuildStrategyNotFound" => Ended::failed("strategy_missing", message, false),
            // What was wrong stands in the words only.
            "BuildRegistrationFailed" if is_about_a_strategy(message) => Ended::failed("strategy_missing", message, false),
            reason if is_final(reason) => Ended::failed("build_invalid", message, false),
            _ if message.contains("exceeded quota") => Ended::failed("quota_exceeded", message, true),
            _ => Ended::failed("build_failed", format!("{message} ({reason})"), true),
        }
    }

    /// The first step that failed is the cause: Tekton ends those behind it with an error of its own.
    fn failed_step(&self, reason: &str, message: &str) -> Ended {
        let step = self.steps().find(|step| step.exit_code().is_some_and(|code| code != 0));
        let said = match step.and_then(|step| Some((step, step.exit_code()?))) {
            Some((step, _)) if reason == "out_of_memory" => {
                format!("step {} was killed because it used more memory than its limit", step.name())
            }
            Some((step, code)) => format!("step {} ended with exit code {code}", step.name()),
            None => message.to_owned(),
        };
        let details = self.run.as_ref().map(|run| text(run, "/status/failureDetails/message")).unwrap_or_default();
        let said = if details.is_empty() { said } else { format!("{said}: {details}") };
        Ended::failed(reason, said, true)
    }

    /// Which step does not get which image, in the words of the kubelet.
    fn image(&self, message: &str) -> String {
        let Some((before, words)) = message.split_once(WORDS_OF_THE_POD) else { return message.to_owned() };
        let step = before.split('"').nth(1).unwrap_or_default();
        let words = words.strip_suffix('.').unwrap_or(words);
        let words = words.strip_prefix('"').and_then(|words| words.strip_suffix('"')).unwrap_or(words);
        format!("step {step} cannot get its image: {}", words.trim_end_matches('.'))
    }
}

fn is_about_a_strategy(message: &str) -> bool {
    message.contains("StrategyNotFound") || (message.contains("uildStrategy ") && message.contains(" does not exist"))
}

/// Whether another attempt ends the same, because something is wrong with what was asked for.
fn is_final(reason: &str) -> bool {
    matches!(
        reason,
        "BuildRegistrationFailed"
            | "UnknownStrategyKind"
            | "MissingParameterValues"
            | "RestrictedParametersInUse"
            | "UndefinedParameter"
            | "WrongParameterValueType"
            | "InconsistentParameterValues"
            | "EmptyArrayItemParameterValues"
            | "IncompleteConfigMapValueParameterValues"
            | "IncompleteSecretValueParameterValues"
            | "TaskRunGenerationFailed"
            | "PipelineRunGenerationFailed"
            | "TaskRunValidationFailed"
            | "BuildRunNameInvalid"
            | "BuildRunBuildFieldOverrideForbidden"
            | "VolumeDoesNotExist"
            | "VolumeNotOverridable"
            | "UndefinedVolume"
            | "SetOwnerReferenceFailed"
    )
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sight(status: &str, reason: &str, message: &str, steps: &Value) -> Sight {
        let condition = json!({"type": "Succeeded", "status": status, "reason": reason, "message": message});
        Sight {
            run: Some(json!({"status": {"conditions": [condition]}})),
            task_runs: vec![json!({"status": {"steps": steps}})],
            pods: Vec::new(),
        }
    }

    fn step(name: &str, exit_code: i64) -> Value {
        json!({"name": name, "container": format!("step-{name}"), "terminated": {"exitCode": exit_code, "reason": "Error"}})
    }

    fn failed(reason: &str, message: &str, retry: bool) -> Verdict {
        Verdict::Ended(Ended::failed(reason, message, retry))
    }

    #[test]
    fn the_first_step_that_failed_is_named_with_its_exit_code() {
        let mut sight = sight(
            "False",
            "Failed",
            "buildrun step step-build failed",
            &json!([step("source", 0), step("build", 3), step("push", 1)]),
        );
        assert_eq!(sight.verdict(), failed("container_failed", "step build ended with exit code 3", true));
        sight.run.as_mut().unwrap()["status"]["failureDetails"] = json!({"message": "the tests failed"});
        assert_eq!(sight.verdict(), failed("container_failed", "step build ended with exit code 3: the tests failed", true));
        sight.task_runs.clear();
        assert_eq!(sight.verdict(), failed("container_failed", "buildrun step step-build failed: the tests failed", true));
    }

    #[test]
    fn the_words_of_the_kubelet_say_which_image_cannot_be_had() {
        let words = "the step \"build\" in TaskRun \"web-1\" failed to pull the image \"\". The pod errored with the message: \"Back-off pulling image \"a:1\".\"";
        let wanted = "step build cannot get its image: Back-off pulling image \"a:1\"";
        assert_eq!(
            sight("False", "TaskRunImagePullFailed", words, &json!([])).verdict(),
            failed("image_pull_failed", wanted, true)
        );
    }

    #[test]
    fn a_missing_strategy_is_told_from_other_things_that_are_wrong() {
        let registration = |message: &str| sight("False", "BuildRegistrationFailed", message, &json!([])).verdict();
        for message in [
            "clusterBuildStrategy kaniko does not exist",
            "buildStrategy kaniko does not exist in namespace builds",
            "the Build is not registered correctly, build: web, registered status: False, reason: ClusterBuildStrategyNotFound",
        ] {
            assert_eq!(registration(message), failed("strategy_missing", message, false));
        }
        let message = "referenced secret git not found";
        assert_eq!(registration(message), failed("build_invalid", message, false));
        let words = "The following parameters are not defined in the build strategy: a";
        assert_eq!(sight("False", "UndefinedParameter", words, &json!([])).verdict(), failed("build_invalid", words, false));
    }

    #[test]
    fn what_is_not_known_may_go_better_the_next_time() {
        let verdict = sight("False", "PodCreationFailed", "pods is forbidden: exceeded quota: small", &json!([])).verdict();
        assert_eq!(verdict, failed("quota_exceeded", "pods is forbidden: exceeded quota: small", true));
        assert_eq!(sight("False", "New", "x", &json!([])).verdict(), failed("build_failed", "x (New)", true));
    }

    #[test]
    fn a_build_that_goes_on_says_which_step_runs() {
        let running = json!({"name": "build", "running": {"startedAt": "2026-01-01T00:00:00Z"}});
        let goes_on = sight("Unknown", "Running", "Not all Steps", &json!([step("source", 0), running]));
        assert_eq!(goes_on.verdict(), Verdict::GoesOn("step build runs, 2 of 2".to_owned()));
        assert!(!goes_on.is_over());
        assert_eq!(sight("Unknown", "Pending", "Pending", &json!([])).verdict(), Verdict::GoesOn("Pending".to_owned()));
        let new = Sight { run: Some(json!({})), ..Sight::default() };
        assert_eq!(new.verdict(), Verdict::GoesOn("waiting for Shipwright to take the build up".to_owned()));
        assert!(!new.is_over() && Sight::default().is_over());
        assert_eq!(sight("True", "Succeeded", "", &json!([])).verdict(), Verdict::Ended(Ended::Succeeded));
    }
}
