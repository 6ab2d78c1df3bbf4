//! What the real controllers wrote, and what a person is told of it. The files hold an object, its pods and its events, as the API
//! server gave them.

use brokkr_api::reports::HealthStatus::{self, Degraded, Healthy, Progressing};
use serde_json::json;

use super::*;
use crate::health::{
    HealthReason::{
        ApiUnavailable, BudgetUnmet, CrashLoop, DeadlineExceeded, DeletionFailed, FinalizersRemaining, ImagePullFailed,
        JobFailed, JobRunning, NoAddress, NotReady, ProbeFailed, ProgressDeadlineExceeded, QuotaExceeded, RollingOut,
        ScalingInactive, Suspended, Unschedulable, VolumeMountFailed, VolumeUnbound, WebhookUnavailable,
    },
    Rules, assess,
};

macro_rules! fixture {
    ($name:literal) => {
        ($name, include_str!(concat!("../fixtures/", $name, ".json")))
    };
}

struct Case {
    file: (&'static str, &'static str),
    /// What the object alone says.
    alone: (HealthStatus, Option<HealthReason>),
    /// What it says with its pods and events.
    explained: (HealthStatus, Option<HealthReason>),
    /// What the message has.
    words: &'static str,
}

fn plain(
    file: (&'static str, &'static str),
    status: HealthStatus,
    reason: impl Into<Option<HealthReason>>,
    words: &'static str,
) -> Case {
    let outcome = (status, reason.into());
    Case { file, alone: outcome, explained: outcome, words }
}

fn explained(
    file: (&'static str, &'static str),
    alone: (HealthStatus, HealthReason),
    status: HealthStatus,
    reason: impl Into<Option<HealthReason>>,
    words: &'static str,
) -> Case {
    Case { file, alone: (alone.0, Some(alone.1)), explained: (status, reason.into()), words }
}

fn cases() -> Vec<Case> {
    let rolling = (Progressing, RollingOut);
    let unbound = (Progressing, VolumeUnbound);
    vec![
        plain(fixture!("rollout_ready"), Healthy, None, ""),
        plain(fixture!("stateful_set_ready"), Healthy, None, ""),
        plain(fixture!("daemon_set_ready"), Healthy, None, ""),
        plain(fixture!("pod_ready"), Healthy, None, ""),
        explained(
            fixture!("image_cannot_be_pulled"),
            rolling,
            Degraded,
            ImagePullFailed,
            "Back-off pulling image \"example/missing:1\"",
        ),
        explained(
            fixture!("crash_loop"),
            rolling,
            Degraded,
            CrashLoop,
            "container main ended with exit code 1; started again 3 times",
        ),
        explained(fixture!("daemon_set_crash_loop"), rolling, Degraded, CrashLoop, "pod daemon-crash-"),
        explained(
            fixture!("unschedulable"),
            (Degraded, ProgressDeadlineExceeded),
            Degraded,
            Unschedulable,
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector",
        ),
        plain(fixture!("quota"), Degraded, QuotaExceeded, "exceeded quota: small, requested: pods=1"),
        explained(fixture!("quota_stateful_set"), rolling, Degraded, QuotaExceeded, "exceeded quota: small"),
        explained(fixture!("quota_job"), (Progressing, JobRunning), Degraded, QuotaExceeded, "exceeded quota: small"),
        plain(fixture!("webhook_unavailable"), Degraded, WebhookUnavailable, "failed calling webhook \"gone.example.com\""),
        plain(fixture!("job_complete"), Healthy, None, ""),
        plain(
            fixture!("job_failed"),
            Degraded,
            JobFailed,
            "backoff limit; pod job-failed-6xn2n: container main ended with exit code 1",
        ),
        plain(fixture!("job_out_of_memory"), Degraded, JobFailed, "container main used more memory than its limit"),
        plain(fixture!("job_deadline"), Degraded, DeadlineExceeded, "Job was active longer than specified deadline"),
        plain(fixture!("job_suspended"), Progressing, Suspended, "suspended"),
        explained(fixture!("claim_without_class"), unbound, Degraded, VolumeUnbound, "no storage class is set"),
        explained(
            fixture!("claim_of_unknown_class"),
            unbound,
            Degraded,
            VolumeUnbound,
            "storageclass.storage.k8s.io \"nowhere\" not found",
        ),
        explained(fixture!("claim_waits_for_its_pod"), unbound, Healthy, None, ""),
        plain(fixture!("claim_bound"), Healthy, None, ""),
        plain(fixture!("volume_bound"), Healthy, None, ""),
        plain(fixture!("load_balancer"), Progressing, NoAddress, "no address"),
        plain(fixture!("budget_unmet"), Progressing, BudgetUnmet, "0 of 1 pods"),
        plain(fixture!("budget_met"), Healthy, None, ""),
        plain(fixture!("autoscaler_without_metrics"), Degraded, ScalingInactive, "FailedGetResourceMetric"),
        plain(fixture!("definition"), Healthy, None, ""),
        plain(fixture!("api_service"), Progressing, ApiUnavailable, "ServiceNotFound"),
        plain(fixture!("namespace_stuck"), Degraded, FinalizersRemaining, "example.com/never in 1 resource instances"),
        plain(fixture!("namespace_stuck_by_discovery"), Degraded, DeletionFailed, "absent.example.com/v1"),
    ]
}

fn list(recorded: &Value, key: &str) -> Vec<Value> {
    recorded.get(key).and_then(Value::as_array).cloned().unwrap_or_default()
}

/// The whole of it without the cluster.
fn diagnosed(object: &Value, evidence: &Evidence) -> Assessment {
    let assessment = assess(object, &Rules::default());
    match Subject::of(object).filter(|_| needs_diagnosis(object, &assessment)) {
        Some(subject) => explain::explain(subject, object, assessment, evidence),
        None => assessment,
    }
}

#[test]
fn what_the_controllers_wrote_is_told_with_the_reason_that_a_person_needs() {
    for Case { file: (name, text), alone, explained, words } in cases() {
        let recorded: Value = serde_json::from_str(text).unwrap();
        let found = assess(&recorded["object"], &Rules::default());
        assert_eq!((found.status, found.reason), alone, "{name}: {found:?}");
        let evidence = Evidence { pods: list(&recorded, "pods"), events: list(&recorded, "events"), pod_events: Vec::new() };
        let found = diagnosed(&recorded["object"], &evidence);
        assert_eq!((found.status, found.reason), explained, "{name}: {found:?}");
        let message = found.message.unwrap_or_default();
        assert!(message.contains(words), "{name}: {message}");
        assert!(!message.contains("hunter2"), "{name}: {message}");
    }
}

#[test]
fn without_an_answer_from_the_cluster_the_plain_assessment_stays() {
    for Case { file: (name, text), alone, .. } in cases() {
        let recorded: Value = serde_json::from_str(text).unwrap();
        let found = diagnosed(&recorded["object"], &Evidence::default());
        assert_eq!((found.status, found.reason), alone, "{name}: {found:?}");
    }
}

fn deployment(conditions: &Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "uid": "1"}, "spec": {"replicas": 1},
        "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "conditions": conditions}})
}

fn pod(status: &Value) -> Value {
    json!({"metadata": {"name": "web-1", "uid": "2"}, "status": status})
}

fn event(reason: &str, at: &str, message: &str) -> Value {
    json!({"reason": reason, "lastTimestamp": at, "message": message})
}

#[test]
fn a_probe_or_a_mount_that_fails_is_told_from_the_events_of_the_pod() {
    let not_ready = pod(&json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}));
    let evidence = |events: Vec<Value>| Evidence { pods: vec![not_ready.clone()], events: Vec::new(), pod_events: events };
    let unhealthy =
        || event("Unhealthy", "2030-01-01T00:00:02Z", "Readiness probe failed: HTTP probe failed with statuscode: 503");

    let starting = diagnosed(&deployment(&json!([])), &evidence(vec![unhealthy()]));
    assert_eq!(starting, Assessment::progressing(ProbeFailed, "pod web-1: Readiness probe failed with HTTP status 503"));
    let late = json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]);
    let late = diagnosed(&deployment(&late), &evidence(vec![unhealthy()]));
    assert_eq!((late.status, late.reason), (Degraded, Some(ProbeFailed)));

    let mount =
        event("FailedMount", "2030-01-01T00:00:01Z", "MountVolume.SetUp failed for volume \"a\" : secret \"b\" not found");
    let mounting = diagnosed(&deployment(&json!([])), &evidence(vec![mount.clone()]));
    assert_eq!((mounting.status, mounting.reason), (Degraded, Some(VolumeMountFailed)));
    // What was overcome since explains nothing.
    let overcome = diagnosed(&deployment(&json!([])), &evidence(vec![mount, event("Started", "2030-01-01T00:00:03Z", "")]));
    assert_eq!((overcome.status, overcome.reason), (Progressing, Some(RollingOut)));
}

#[test]
fn pods_that_ended_and_are_replaced_explain_nothing() {
    let gone = json!({"phase": "Failed", "reason": "Evicted"});
    let mut leaving = pod(
        &json!({"phase": "Running", "containerStatuses": [{"name": "a", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}),
    );
    leaving["metadata"]["deletionTimestamp"] = json!("2030-01-01T00:00:00Z");
    let evidence = Evidence { pods: vec![pod(&gone), leaving], ..Evidence::default() };
    let found = diagnosed(&deployment(&json!([])), &evidence);
    assert_eq!((found.status, found.reason), (Progressing, Some(RollingOut)));
}

#[test]
fn a_refusal_that_is_over_explains_nothing() {
    let set = |replicas: i64| {
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"uid": "1"}, "spec": {"replicas": 2},
            "status": {"observedGeneration": 1, "replicas": replicas}})
    };
    let refused = event("FailedCreate", "2030-01-01T00:00:01Z", "pods \"a\" is forbidden: exceeded quota: small");
    let created = event("SuccessfulCreate", "2030-01-01T00:00:02Z", "created");
    let with = |events: Vec<Value>| Evidence { events, ..Evidence::default() };
    assert_eq!(diagnosed(&set(1), &with(vec![refused.clone()])).reason, Some(QuotaExceeded));
    assert_eq!(diagnosed(&set(1), &with(vec![refused.clone(), created])).reason, Some(RollingOut));
    assert_eq!(diagnosed(&set(2), &with(vec![refused])).reason, Some(RollingOut));
}

#[test]
fn only_what_pods_or_events_can_explain_is_asked_about() {
    let asked = |kind: &str, assessment: &Assessment| {
        let (api_version, kind) = kind.split_once(' ').unwrap();
        needs_diagnosis(&json!({"apiVersion": api_version, "kind": kind, "metadata": {"uid": "1"}}), assessment)
    };
    let (rolling, healthy) = (Assessment::progressing(RollingOut, ""), Assessment::healthy());
    assert!(asked("apps/v1 Deployment", &rolling) && asked("v1 Pod", &Assessment::progressing(NotReady, "")));
    assert!(!asked("apps/v1 Deployment", &healthy) && !asked("example.com/v1 Widget", &rolling));
    assert!(!asked("batch/v1 Job", &Assessment::progressing(Suspended, "")));
    assert!(!needs_diagnosis(&json!({"apiVersion": "apps/v1", "kind": "Deployment"}), &rolling));
}

#[test]
fn a_diagnosis_can_run_beside_others_on_any_thread() {
    fn any_thread<F: Future + Send>(_: impl FnOnce(&'static Cluster, &'static Resources, &'static Value, Assessment) -> F) {}
    any_thread(diagnose);
}
