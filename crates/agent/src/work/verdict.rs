//! What to make of how the work is: pure.

use std::time::{Duration, Instant};

use brokkr_api::{
    reports::{HealthStatus, ObjectRef},
    work_orders::{ClaimedOrder, MAX_PROGRESS, OnAgentLoss},
};

use crate::{
    cluster::{Class, KubeFailure},
    health::{Assessment, HealthReason},
};

/// Lines of the log in a message.
const LINES: usize = 3;

/// How an attempt ended in the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    Succeeded,
    Failed { reason: String, message: String, retry: bool },
}

/// What there is to say now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Ended(Ended),
    /// It goes on; this is what it does, for people.
    GoesOn(String),
}

impl Ended {
    pub(super) fn failed(reason: &str, message: impl Into<String>, retry: bool) -> Self {
        let message: String = message.into();
        Self::Failed {
            reason: reason.to_owned(),
            message: message.chars().take(brokkr_api::reports::MAX_MESSAGE).collect(),
            retry,
        }
    }

    /// What a refusal of the API server means for the attempt; nothing where it may pass.
    pub(super) fn of_refusal(failure: &KubeFailure) -> Option<Self> {
        match failure.class {
            Class::Unreachable | Class::Timeout | Class::Transient | Class::Expired => None,
            Class::Terminating | Class::OverQuota => Some(Self::failed(failure.class.as_str(), failure.message.clone(), true)),
            class => Some(Self::failed(class.as_str(), failure.message.clone(), false)),
        }
    }

    /// The object of the attempt is gone. What it stands for may have been done before it was deleted.
    pub(super) fn missing(order: &ClaimedOrder, object: &ObjectRef) -> Self {
        let message = format!("{object} is not there any more; somebody deleted it, or the agent ended before it had made it");
        Self::failed("missing", message, order.on_agent_loss == OnAgentLoss::Retry)
    }

    /// A failure with the last lines of the log.
    pub(super) fn with_last_lines(self, log: Option<&str>) -> Self {
        let tail = log.map(|log| last_lines(log, LINES)).filter(|tail| !tail.is_empty());
        match (self, tail) {
            (Self::Failed { reason, message, retry }, Some(tail)) => Self::failed(&reason, format!("{message}: {tail}"), retry),
            (ended, _) => ended,
        }
    }

    /// What it means that the work cannot be stopped; nothing where that may pass. It is not tried again, because it may still run.
    pub(super) fn not_stopped(what: &str, failure: &KubeFailure) -> Option<Self> {
        Self::of_refusal(failure).filter(|_| failure.class != Class::Conflict)?;
        Some(Self::failed("not_stopped", format!("{what} cannot be stopped, and may still run: {failure}"), false))
    }
}

/// How long the work has been in trouble that it does not get out of by itself.
#[derive(Debug)]
pub(super) struct Trouble {
    patience: Duration,
    since: Option<Instant>,
}

impl Trouble {
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, since: None }
    }

    /// When the attempt is given up unless something changes.
    pub(super) fn ends(&self) -> Option<Instant> {
        self.since.map(|since| since + self.patience)
    }

    /// What to make of an assessment of a Job with the evidence of its pods.
    pub(super) fn of_job(&mut self, assessment: &Assessment, failed: bool, now: Instant) -> Verdict {
        if assessment.is_healthy() {
            return Verdict::Ended(Ended::Succeeded);
        }
        let reason = assessment.reason.unwrap_or(HealthReason::NotReady);
        let message = assessment.message.clone().unwrap_or_default();
        if failed {
            return Verdict::Ended(Ended::failed(reason.as_str(), message, true));
        }
        let is_stuck = assessment.status == HealthStatus::Degraded && !passes_by_itself(reason);
        self.last(is_stuck, reason, message, now)
    }

    fn last(&mut self, is_stuck: bool, reason: HealthReason, message: String, now: Instant) -> Verdict {
        if !is_stuck {
            self.since = None;
            return Verdict::GoesOn(progress(&message));
        }
        let since = *self.since.get_or_insert(now);
        if now.duration_since(since) >= self.patience {
            return Verdict::Ended(Ended::failed(reason.as_str(), message, true));
        }
        Verdict::GoesOn(progress(&message))
    }
}

/// What to make of objects with the conditions of the order.
pub(super) fn of_objects(assessment: &Assessment) -> Verdict {
    let reason = assessment.reason.unwrap_or(HealthReason::NotReady);
    let message = assessment.message.clone().unwrap_or_default();
    match (assessment.status, reason) {
        (HealthStatus::Healthy, _) => Verdict::Ended(Ended::Succeeded),
        (HealthStatus::Degraded, _) => {
            Verdict::Ended(Ended::failed("condition", "the order's condition for a failure is true", true))
        }
        (_, HealthReason::RuleInvalid | HealthReason::RuleTooCostly) => {
            Verdict::Ended(Ended::failed(reason.as_str(), message, false))
        }
        _ => Verdict::GoesOn("the order's conditions are not true yet".to_owned()),
    }
}

/// Troubles in which a Job's own controller starts other pods until its backoff limit, or the cluster may get a node: the deadline ends them.
fn passes_by_itself(reason: HealthReason) -> bool {
    matches!(
        reason,
        HealthReason::CrashLoop
            | HealthReason::ContainerFailed
            | HealthReason::OutOfMemory
            | HealthReason::Evicted
            | HealthReason::Unschedulable
    )
}

fn last_lines(log: &str, lines: usize) -> String {
    let all: Vec<_> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    all[all.len().saturating_sub(lines)..].join(" | ")
}

/// As much of a message as fits beside an order.
pub(super) fn progress(message: &str) -> String {
    message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_PROGRESS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn an_image_that_cannot_be_pulled_gets_a_while_and_then_ends_the_attempt() {
        let (mut trouble, start) = (Trouble::new(PATIENCE), Instant::now());
        let stuck = Assessment::degraded(HealthReason::ImagePullFailed, "Back-off pulling image \"a:1\"");
        assert_eq!(trouble.of_job(&stuck, false, start), Verdict::GoesOn("Back-off pulling image \"a:1\"".to_owned()));
        let fine = Assessment::progressing(HealthReason::JobRunning, "1 active");
        assert_eq!(trouble.of_job(&fine, false, start + PATIENCE), Verdict::GoesOn("1 active".to_owned()));
        assert_eq!(trouble.ends(), None);
        trouble.of_job(&stuck, false, start + PATIENCE);
        assert_eq!(trouble.ends(), Some(start + PATIENCE * 2));
        let ended = trouble.of_job(&stuck, false, start + PATIENCE * 2);
        assert_eq!(ended, Verdict::Ended(Ended::failed("image_pull_failed", "Back-off pulling image \"a:1\"", true)));
    }

    #[test]
    fn a_pod_that_fails_is_the_jobs_business_until_the_job_has_failed() {
        let (mut trouble, now) = (Trouble::new(PATIENCE), Instant::now());
        let failing = Assessment::degraded(HealthReason::ContainerFailed, "container main ended with exit code 3");
        assert!(matches!(trouble.of_job(&failing, false, now), Verdict::GoesOn(_)));
        assert!(matches!(trouble.of_job(&failing, false, now + PATIENCE * 9), Verdict::GoesOn(_)));
        let ended = trouble.of_job(&failing, true, now);
        assert_eq!(ended, Verdict::Ended(Ended::failed("container_failed", "container main ended with exit code 3", true)));
    }

    #[test]
    fn what_can_never_succeed_is_not_tried_again() {
        let refused = |class, message: &str| Ended::of_refusal(&KubeFailure::new(class, message));
        assert_eq!(refused(Class::Unreachable, "x"), None);
        assert_eq!(refused(Class::Invalid, "x"), Some(Ended::failed("invalid", "x", false)));
        let quota = "jobs.batch \"a\" is forbidden: exceeded quota: small";
        assert_eq!(refused(Class::OverQuota, quota), Some(Ended::failed("quota_exceeded", quota, true)));
    }

    #[test]
    fn what_cannot_be_stopped_is_told_unless_that_may_pass() {
        let failure = |class| KubeFailure::new(class, "no right");
        assert_eq!(Ended::not_stopped("Job a", &failure(Class::Unreachable)), None);
        assert_eq!(Ended::not_stopped("Job a", &failure(Class::Conflict)), None);
        let message = "Job a cannot be stopped, and may still run: no right";
        assert_eq!(Ended::not_stopped("Job a", &failure(Class::Forbidden)), Some(Ended::failed("not_stopped", message, false)));
    }

    #[test]
    fn a_failure_says_the_last_lines_of_the_log() {
        assert_eq!(last_lines("a\n\nb\nc\n", 2), "b | c");
        let failed = |message: &str| Ended::failed("container_failed", message, true);
        assert_eq!(failed("exit code 3").with_last_lines(Some("no\nspace")), failed("exit code 3: no | space"));
        assert_eq!(failed("exit code 3").with_last_lines(Some("\n")), failed("exit code 3"));
        assert_eq!(Ended::Succeeded.with_last_lines(Some("done")), Ended::Succeeded);
    }

    #[test]
    fn a_condition_that_does_not_compile_ends_the_order() {
        let wrong = Assessment::unknown(HealthReason::RuleInvalid, "healthy: line 1");
        let verdict = of_objects(&wrong);
        assert_eq!(verdict, Verdict::Ended(Ended::failed("rule_invalid", "healthy: line 1", false)));
    }
}
