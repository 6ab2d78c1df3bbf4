use brokkr_api::reports::HealthStatus::{self, Degraded, Healthy, Progressing, Unknown};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::health::{
    Assessment, HealthReason,
    HealthReason::{
        ApiUnavailable, ConfigError, ContainerFailed, CrashLoop, DeletionFailed, Evicted, FinalizersRemaining, ImagePullFailed,
        JobRunning, NamesRejected, NoAddress, NotObserved, NotReady, OutOfMemory, Paused, ProgressDeadlineExceeded,
        QuotaExceeded, RollingOut, ScalingInactive, Stalled, Suspended, Terminating, Unreadable, Unschedulable, VolumeFailed,
        VolumeLost,
    },
    Rules, assess,
};

fn check(what: &str, object: &Value, status: HealthStatus, reason: Option<HealthReason>) -> Assessment {
    let found = assess(object, &Rules::default());
    assert_eq!((found.status, found.reason), (status, reason), "{what}: {found:?}");
    found
}

fn object(api_version: &str, kind: &str, spec: Value, status: Value) -> Value {
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "a", "generation": 2}});
    (object["spec"], object["status"]) = (spec, status);
    object
}

#[test]
fn a_deployment_is_as_far_as_its_replicas() {
    let deployment = |spec, status| object("apps/v1", "Deployment", spec, status);
    let counts = |total: i64, updated: i64, ready: i64, available: i64| {
        json!({"observedGeneration": 2, "replicas": total, "updatedReplicas": updated, "readyReplicas": ready,
            "availableReplicas": available, "conditions": [{"type": "Available", "status": "True"}]})
    };
    let three = || json!({"replicas": 3});
    check("done", &deployment(three(), counts(3, 3, 3, 3)), Healthy, None);
    check("one by default", &deployment(json!({}), counts(1, 1, 1, 1)), Healthy, None);
    check("scaled to none", &deployment(json!({"replicas": 0}), json!({"observedGeneration": 2})), Healthy, None);
    check("new ones missing", &deployment(three(), counts(3, 1, 3, 3)), Progressing, Some(RollingOut));
    check("old ones left", &deployment(three(), counts(4, 3, 4, 4)), Progressing, Some(RollingOut));
    check("not available", &deployment(three(), counts(3, 3, 3, 2)), Progressing, Some(RollingOut));
    check("never seen", &deployment(json!({"replicas": 0}), json!({})), Progressing, Some(NotObserved));
    check("seen before the change", &deployment(three(), json!({"observedGeneration": 1})), Progressing, Some(NotObserved));
    let paused = json!({"replicas": 3, "paused": true});
    check("paused halfway", &deployment(paused.clone(), counts(3, 1, 3, 3)), Progressing, Some(Paused));
    check("paused and done", &deployment(paused, counts(3, 3, 3, 3)), Healthy, None);
    let with = |condition: Value| {
        let mut status = counts(3, 1, 1, 1);
        status["conditions"] = json!([condition]);
        deployment(three(), status)
    };
    let late =
        json!({"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "has timed out"});
    check("too late", &with(late), Degraded, Some(ProgressDeadlineExceeded));
    let quota = json!({"type": "ReplicaFailure", "status": "True", "message": "pods \"a\" is forbidden: exceeded quota: small"});
    check("quota", &with(quota), Degraded, Some(QuotaExceeded));
}

#[test]
fn a_stateful_set_waits_for_the_replicas_that_its_strategy_updates() {
    let set = |spec, status| object("apps/v1", "StatefulSet", spec, status);
    let status = |ready: i64, updated: i64, current: &str| {
        json!({"observedGeneration": 2, "replicas": 3, "readyReplicas": ready, "updatedReplicas": updated,
            "currentRevision": current, "updateRevision": "b"})
    };
    let rolling = |partition: i64| json!({"replicas": 3, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}});
    check("done", &set(rolling(0), status(3, 3, "b")), Healthy, None);
    check("not ready", &set(rolling(0), status(2, 3, "b")), Progressing, Some(RollingOut));
    check("old ones left", &set(rolling(0), status(3, 2, "a")), Progressing, Some(RollingOut));
    check("above the partition done", &set(rolling(2), status(3, 1, "a")), Healthy, None);
    check("above the partition to do", &set(rolling(1), status(3, 1, "a")), Progressing, Some(RollingOut));
    let on_delete = json!({"replicas": 3, "updateStrategy": {"type": "OnDelete"}});
    check("replaced by hand", &set(on_delete, status(3, 0, "a")), Healthy, None);
}

#[test]
fn a_daemon_set_waits_for_every_node() {
    let status = |updated: i64, available: i64| {
        json!({"observedGeneration": 2, "desiredNumberScheduled": 2, "currentNumberScheduled": 2, "updatedNumberScheduled": updated,
            "numberReady": available, "numberAvailable": available})
    };
    let set = |strategy: &str, status| object("apps/v1", "DaemonSet", json!({"updateStrategy": {"type": strategy}}), status);
    check("done", &set("RollingUpdate", status(2, 2)), Healthy, None);
    check("a node to update", &set("RollingUpdate", status(1, 2)), Progressing, Some(RollingOut));
    check("replaced by hand", &set("OnDelete", status(0, 2)), Healthy, None);
    check("a node not ready", &set("RollingUpdate", status(2, 1)), Progressing, Some(RollingOut));
    check("never seen", &set("RollingUpdate", json!({})), Progressing, Some(NotObserved));
}

fn waiting(reason: &str, message: &str) -> Value {
    object(
        "v1",
        "Pod",
        json!({}),
        json!({"phase": "Pending", "containerStatuses": [{"name": "main", "image": "example/a:1", "restartCount": 4,
        "state": {"waiting": {"reason": reason, "message": message}}}]}),
    )
}

#[test]
fn a_pod_says_what_is_wrong_with_its_containers_and_repeats_nothing_that_they_wrote() {
    let found = check("image", &waiting("ErrImagePull", "not found"), Degraded, Some(ImagePullFailed));
    assert_eq!(found.message.as_deref(), Some("container main: example/a:1 not found"));
    let found = check("config", &waiting("CreateContainerConfigError", "secret \"db\" not found"), Degraded, Some(ConfigError));
    assert_eq!(found.message.as_deref(), Some("container main: secret \"db\" not found"));
    let found = check("start", &waiting("RunContainerError", "exec hunter2"), Degraded, Some(ConfigError));
    assert_eq!(found.message.as_deref(), Some("container main cannot be started (RunContainerError)"));
    check("a usual start", &waiting("ContainerCreating", ""), Progressing, Some(NotReady));

    let mut crash = waiting("CrashLoopBackOff", "back-off");
    crash["status"]["containerStatuses"][0]["lastState"] =
        json!({"terminated": {"exitCode": 3, "reason": "Error", "message": "hunter2"}});
    let found = check("crash", &crash, Degraded, Some(CrashLoop));
    assert_eq!(found.message.as_deref(), Some("container main ended with exit code 3; started again 4 times"));
    crash["status"]["containerStatuses"][0]["lastState"]["terminated"]["reason"] = json!("OOMKilled");
    check("memory", &crash, Degraded, Some(OutOfMemory));

    let failed = json!({"phase": "Failed", "containerStatuses": [{"name": "main", "state": {"terminated": {"exitCode": 1, "message": "hunter2"}}}]});
    let found = check("failed", &object("v1", "Pod", json!({}), failed), Degraded, Some(ContainerFailed));
    assert_eq!(found.message.as_deref(), Some("container main ended with exit code 1"));
    let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."});
    check("evicted", &object("v1", "Pod", json!({}), evicted), Degraded, Some(Evicted));
    let alone = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}]});
    check("unschedulable", &object("v1", "Pod", json!({}), alone), Degraded, Some(Unschedulable));
    check("done", &object("v1", "Pod", json!({}), json!({"phase": "Succeeded"})), Healthy, None);
}

#[test]
fn what_is_deleted_never_becomes_healthy_and_a_namespace_says_what_holds_it() {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "deletionTimestamp": "2030-01-01T00:00:00Z", "finalizers": ["example.com/x"]}});
    let found = check("deleted", &map, Progressing, Some(Terminating));
    assert!(found.message.as_deref().is_some_and(|message| message.contains("example.com/x")), "{found:?}");

    let namespace = |kind: &str| {
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a", "deletionTimestamp": "2030-01-01T00:00:00Z"},
            "status": {"phase": "Terminating", "conditions": [{"type": kind, "status": "True", "reason": "Some", "message": "words"}]}})
    };
    check("content", &namespace("NamespaceContentRemaining"), Progressing, Some(Terminating));
    check("finalizers", &namespace("NamespaceFinalizersRemaining"), Degraded, Some(FinalizersRemaining));
    check("discovery", &namespace("NamespaceDeletionDiscoveryFailure"), Degraded, Some(DeletionFailed));
}

#[test]
fn other_kinds_are_judged_by_what_their_controllers_say() {
    let conditions = |list: Value| json!({"conditions": list});
    let condition =
        |kind: &str, status: &str| conditions(json!([{"type": kind, "status": status, "reason": "Some", "message": "words"}]));
    let (job, batch) = ("Job", "batch/v1");
    check("running", &object(batch, job, json!({"completions": 2}), json!({"active": 1})), Progressing, Some(JobRunning));
    check("suspended", &object(batch, job, json!({"suspend": true}), json!({})), Progressing, Some(Suspended));
    check("complete", &object(batch, job, json!({}), condition("Complete", "True")), Healthy, None);
    let crd = ("apiextensions.k8s.io/v1", "CustomResourceDefinition");
    check("established", &object(crd.0, crd.1, json!({}), condition("Established", "True")), Healthy, None);
    check("names", &object(crd.0, crd.1, json!({}), condition("NamesAccepted", "False")), Degraded, Some(NamesRejected));
    let api = ("apiregistration.k8s.io/v1", "APIService");
    check("absent", &object(api.0, api.1, json!({}), condition("Available", "False")), Progressing, Some(ApiUnavailable));
    check("no address", &object("v1", "Service", json!({"type": "LoadBalancer"}), json!({})), Progressing, Some(NoAddress));
    check("service", &object("v1", "Service", json!({"type": "ClusterIP"}), json!({})), Healthy, None);
    check("lost", &object("v1", "PersistentVolumeClaim", json!({}), json!({"phase": "Lost"})), Degraded, Some(VolumeLost));
    check(
        "failed volume",
        &object("v1", "PersistentVolume", json!({}), json!({"phase": "Failed"})),
        Degraded,
        Some(VolumeFailed),
    );
    let scaler = ("autoscaling/v2", "HorizontalPodAutoscaler");
    check(
        "no metrics",
        &object(scaler.0, scaler.1, json!({}), condition("ScalingActive", "False")),
        Degraded,
        Some(ScalingInactive),
    );
    let off = conditions(json!([{"type": "ScalingActive", "status": "False", "reason": "ScalingDisabled"}]));
    check("switched off", &object(scaler.0, scaler.1, json!({}), off), Healthy, None);
    check("ingress", &object("networking.k8s.io/v1", "Ingress", json!({}), json!({})), Healthy, None);
    check("data", &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}, "data": {}}), Healthy, None);
    check("nothing", &json!([]), Unknown, Some(Unreadable));

    let custom = |status| object("example.com/v1", "Widget", json!({}), status);
    check("no status", &custom(json!({})), Healthy, None);
    check("ready", &custom(condition("Ready", "True")), Healthy, None);
    check("not ready", &custom(condition("Ready", "False")), Progressing, Some(NotReady));
    check("unknown", &custom(condition("Ready", "Unknown")), Progressing, Some(NotReady));
    check("not available", &custom(condition("Available", "False")), Progressing, Some(NotReady));
    check("reconciling", &custom(condition("Reconciling", "True")), Progressing, Some(NotReady));
    check("stalled", &custom(condition("Stalled", "True")), Degraded, Some(Stalled));
    let old = conditions(json!([{"type": "Ready", "status": "True", "observedGeneration": 1}]));
    check("ready before the change", &custom(old), Progressing, Some(NotObserved));
}

fn any_json() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        Just("apiVersion"),
        Just("kind"),
        Just("metadata"),
        Just("spec"),
        Just("status"),
        Just("conditions"),
        Just("type"),
        Just("replicas"),
        Just("generation"),
        Just("observedGeneration"),
        Just("deletionTimestamp"),
        Just("finalizers"),
        Just("message"),
        Just("reason"),
        Just("containerStatuses"),
        Just("state"),
        Just("waiting"),
        Just("terminated"),
        Just("phase"),
        Just("updateStrategy"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(json!("True")),
        Just(json!("False")),
        Just(json!("Ready")),
        Just(json!("Failed")),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::hash_map(key.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_json_is_too_odd_to_be_assessed(spec in any_json(), status in any_json(), metadata in any_json(), alone in any_json()) {
        let kinds = [("apps/v1", "Deployment"), ("apps/v1", "StatefulSet"), ("apps/v1", "DaemonSet"), ("apps/v1", "ReplicaSet"), ("v1", "Pod"),
            ("batch/v1", "Job"), ("v1", "PersistentVolumeClaim"), ("v1", "PersistentVolume"), ("v1", "Service"), ("v1", "Namespace"),
            ("policy/v1", "PodDisruptionBudget"), ("autoscaling/v2", "HorizontalPodAutoscaler"), ("example.com/v1", "Widget"),
            ("apiextensions.k8s.io/v1", "CustomResourceDefinition"), ("apiregistration.k8s.io/v1", "APIService")];
        for (api_version, kind) in kinds {
            let object = json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec, "status": status});
            let found = assess(&object, &Rules::default());
            prop_assert!(found.is_healthy() == found.reason.is_none());
            prop_assert!(found.message.is_none_or(|message| message.chars().count() <= brokkr_api::reports::MAX_MESSAGE));
        }
        assess(&alone, &Rules::default());
    }
}
