//! The `BuildRun` of one attempt: pure.

use brokkr_api::{
    Timestamp,
    builds::{BuildOutput, BuildParameter, BuildPlan, BuildWork, EmbeddedBuild, SecretKey, StrategyKind},
    reports::ObjectRef,
    work_orders::ClaimedOrder,
};
use brokkr_telemetry::TraceContext;
use serde_json::{Map, Value, json};

use super::job;
use crate::cluster::Resource;

/// The label that Shipwright gives what it makes for a `BuildRun`; its value is the name of that.
pub(super) const BUILD_RUN: &str = "buildrun.shipwright.io/name";
const API_VERSION: &str = "shipwright.io/v1beta1";
/// Longest part of the name that is the order's own: with the attempt's end, and with what Shipwright and Tekton put behind it, it
/// is the value of a label.
const MAX_OWN_NAME: usize = 35;
/// By how many seconds Shipwright's own limit is later than the deadline: the agent stops the build then, unless there is none any more.
const AFTER_DEADLINE: u64 = 60;

/// The kind.
pub(super) fn resource() -> Resource {
    Resource {
        group: "shipwright.io".to_owned(),
        version: "v1beta1".to_owned(),
        kind: "BuildRun".to_owned(),
        plural: "buildruns".to_owned(),
        namespaced: true,
    }
}

/// What Shipwright has Tekton run.
pub(super) fn task_runs() -> Resource {
    Resource {
        group: "tekton.dev".to_owned(),
        version: "v1".to_owned(),
        kind: "TaskRun".to_owned(),
        plural: "taskruns".to_owned(),
        namespaced: true,
    }
}

/// What the attempt's object is called, and where it is; the same for every process that carries the attempt out.
pub(super) fn object(order: &ClaimedOrder, build: &BuildWork, default_namespace: &str) -> ObjectRef {
    let own: String = order.name.as_str().chars().take(MAX_OWN_NAME).collect();
    let namespace = build.namespace.as_ref().map_or(default_namespace, |namespace| namespace.as_str());
    ObjectRef {
        api_version: API_VERSION.to_owned(),
        kind: "BuildRun".to_owned(),
        namespace: Some(namespace.to_owned()),
        name: job::name_of_attempt(order, own.trim_end_matches('-')),
    }
}

/// The manifest of the attempt. What is embedded may not be overridden beside it, so that environment and parameters stand where the
/// build does.
pub(super) fn manifest(order: &ClaimedOrder, build: &BuildWork, object: &ObjectRef, trace: Option<&TraceContext>) -> Value {
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), json!(object.name));
    metadata.insert("namespace".to_owned(), json!(object.namespace));
    job::label(&mut metadata, order);
    let said = said(order, build, trace);
    let mut spec = match &build.plan {
        BuildPlan::Named(named) => {
            let mut spec = said;
            if let Some(to) = &named.output {
                spec.insert("output".to_owned(), output(to));
            }
            spec.insert("build".to_owned(), json!({"name": named.name}));
            spec
        }
        BuildPlan::Embedded(embedded) => {
            let mut inner = embedded_spec(embedded);
            inner.extend(said);
            if let Some(seconds) = timeout(order.deadline, order.claimed_at) {
                inner.insert("timeout".to_owned(), json!(format!("{seconds}s")));
            }
            Map::from_iter([("build".to_owned(), json!({"spec": inner}))])
        }
    };
    if let Some(account) = &build.service_account {
        spec.insert("serviceAccount".to_owned(), json!(account));
    }
    let ttl = format!("{}s", order.ttl_seconds.max(job::LEAST_KEPT));
    spec.insert("retention".to_owned(), json!({"ttlAfterSucceeded": ttl, "ttlAfterFailed": ttl}));
    json!({"apiVersion": API_VERSION, "kind": "BuildRun", "metadata": metadata, "spec": spec})
}

/// Environment and parameters.
fn said(order: &ClaimedOrder, build: &BuildWork, trace: Option<&TraceContext>) -> Map<String, Value> {
    let mut said = Map::new();
    let variables = job::variables(order, trace);
    if !variables.is_empty() {
        said.insert("env".to_owned(), json!(variables));
    }
    if !build.parameters.is_empty() {
        let values: Vec<_> = build.parameters.iter().map(|(name, value)| parameter(name, value)).collect();
        said.insert("paramValues".to_owned(), json!(values));
    }
    said
}

fn parameter(name: &str, value: &BuildParameter) -> Value {
    match value {
        BuildParameter::Text(text) => json!({"name": name, "value": text}),
        BuildParameter::List(list) => {
            let values: Vec<_> = list.iter().map(|text| json!({"value": text})).collect();
            json!({"name": name, "values": values})
        }
        BuildParameter::Secret(SecretKey { secret, key }) => json!({"name": name, "secretValue": {"name": secret, "key": key}}),
    }
}

fn embedded_spec(embedded: &EmbeddedBuild) -> Map<String, Value> {
    let EmbeddedBuild { source, strategy, output: to } = embedded;
    let mut git = json!({"url": source.repository});
    if let Some(revision) = &source.revision {
        git["revision"] = json!(revision);
    }
    if let Some(secret) = &source.clone_secret {
        git["cloneSecret"] = json!(secret);
    }
    let mut from = json!({"type": "Git", "git": git});
    if let Some(folder) = &source.context_dir {
        from["contextDir"] = json!(folder);
    }
    let kind = match strategy.kind {
        StrategyKind::Cluster => "ClusterBuildStrategy",
        StrategyKind::Namespace => "BuildStrategy",
    };
    Map::from_iter([
        ("source".to_owned(), from),
        ("strategy".to_owned(), json!({"name": strategy.name, "kind": kind})),
        ("output".to_owned(), output(to)),
    ])
}

fn output(to: &BuildOutput) -> Value {
    let mut output = json!({"image": to.image});
    if let Some(secret) = &to.push_secret {
        output["pushSecret"] = json!(secret);
    }
    if to.insecure {
        output["insecure"] = json!(true);
    }
    output
}

/// When Shipwright ends the build by itself, in seconds from its start. A `Build` of the cluster keeps its own limit.
fn timeout(deadline: Option<Timestamp>, claimed_at: Timestamp) -> Option<u64> {
    Some(deadline?.since(claimed_at).as_secs() + AFTER_DEADLINE)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use brokkr_api::work_orders::{OnAgentLoss, SecretReference, Work};

    use super::*;

    fn order(build: Value) -> (ClaimedOrder, BuildWork) {
        let build: BuildWork = serde_json::from_value(build).unwrap();
        let at = Timestamp::from_micros(0);
        let order = ClaimedOrder {
            id: "0190aaaa-bbbb-7ccc-8ddd-0123456789ab".parse().unwrap(),
            name: "web".parse().unwrap(),
            token: 1,
            attempt: 2,
            started: false,
            cancel: false,
            on_agent_loss: OnAgentLoss::Unknown,
            work: Work::Build(Box::new(build.clone())),
            parameters: [("REGION".to_owned(), "eu".to_owned())].into(),
            secrets: vec![SecretReference { name: "TOKEN".to_owned(), secret: "keys".to_owned(), key: "token".to_owned() }],
            deadline: Some(at.after(Duration::from_secs(600))),
            ttl_seconds: 600,
            queued_at: at,
            claimed_at: at,
            trace: None,
        };
        (order, build)
    }

    fn made(order: &ClaimedOrder, build: &BuildWork) -> Value {
        let trace = TraceContext::from_parts("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03", Some("a=b"));
        manifest(order, build, &object(order, build, "default"), trace.as_ref())
    }

    fn env() -> Value {
        json!([
            {"name": "REGION", "value": "eu"},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}},
            {"name": "TRACEPARENT", "value": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
            {"name": "TRACESTATE", "value": "a=b"},
        ])
    }

    #[test]
    fn a_named_build_is_referenced_and_the_run_says_what_is_different() {
        let build = json!({"plan": {"named": {"name": "shop", "output": {"image": "images.example/shop:2"}}},
            "parameters": {"a": "b"}, "namespace": "builds", "service_account": "builder"});
        let (order, build) = order(build);
        assert_eq!(
            made(&order, &build),
            json!({"apiVersion": "shipwright.io/v1beta1", "kind": "BuildRun",
            "metadata": {"name": "web-0123456789ab-2", "namespace": "builds",
                "labels": {"brokkr.io/work-order": "0190aaaa-bbbb-7ccc-8ddd-0123456789ab"}},
            "spec": {
                "build": {"name": "shop"},
                "output": {"image": "images.example/shop:2"},
                "env": env(),
                "paramValues": [{"name": "a", "value": "b"}],
                "serviceAccount": "builder",
                "retention": {"ttlAfterSucceeded": "600s", "ttlAfterFailed": "600s"},
            }})
        );
    }

    #[test]
    fn an_embedded_build_holds_everything_because_nothing_may_be_overridden_beside_it() {
        let build = json!({"plan": {"embedded": {
                "source": {"repository": "https://git.example/shop.git", "revision": "v1", "context_dir": "web", "clone_secret": "git"},
                "strategy": {"name": "buildah", "kind": "namespace"},
                "output": {"image": "images.example/shop:1", "push_secret": "registry", "insecure": true}}},
            "parameters": {"list": ["a", "b"], "token": {"secret": "npm", "key": "token"}}});
        let (order, build) = order(build);
        let order = ClaimedOrder { ttl_seconds: 0, ..order };
        let made = made(&order, &build);
        assert_eq!(made["metadata"]["namespace"], "default");
        assert_eq!(
            made["spec"],
            json!({
                "build": {"spec": {
                    "source": {"type": "Git", "contextDir": "web",
                        "git": {"url": "https://git.example/shop.git", "revision": "v1", "cloneSecret": "git"}},
                    "strategy": {"name": "buildah", "kind": "BuildStrategy"},
                    "output": {"image": "images.example/shop:1", "pushSecret": "registry", "insecure": true},
                    "env": env(),
                    "paramValues": [
                        {"name": "list", "values": [{"value": "a"}, {"value": "b"}]},
                        {"name": "token", "secretValue": {"name": "npm", "key": "token"}},
                    ],
                    "timeout": "660s",
                }},
                "retention": {"ttlAfterSucceeded": "300s", "ttlAfterFailed": "300s"},
            })
        );
    }

    #[test]
    fn a_long_name_leaves_room_for_what_shipwright_and_tekton_put_behind_it() {
        let (order, build) = order(json!({"plan": {"named": {"name": "shop"}}}));
        let long = format!("{}-{}", "a".repeat(MAX_OWN_NAME - 1), "b".repeat(20));
        let order = ClaimedOrder { name: long.parse().unwrap(), attempt: 20, ..order };
        let object = object(&order, &build, "default");
        assert_eq!(object.name, format!("{}-0123456789ab-20", "a".repeat(MAX_OWN_NAME - 1)));
        assert!(format!("{}-12345-pod", object.name).len() <= 63, "{}", object.name);
    }
}
