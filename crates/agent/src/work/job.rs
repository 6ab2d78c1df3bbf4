//! The Job of one attempt: pure.

use brokkr_api::{
    reports::ObjectRef,
    work_orders::{ClaimedOrder, JobWork, SecretReference},
};
use brokkr_telemetry::TraceContext;
use serde_json::{Map, Value, json};

use super::WORK_ORDER;
use crate::cluster::Resource;

/// Seconds that Kubernetes keeps a finished Job at least: so long an agent that was away finds out how it ended. One that is there deletes
/// the Job itself, when it has told.
pub(super) const LEAST_KEPT: u32 = 300;

/// The kind.
pub(super) fn resource() -> Resource {
    Resource {
        group: "batch".to_owned(),
        version: "v1".to_owned(),
        kind: "Job".to_owned(),
        plural: "jobs".to_owned(),
        namespaced: true,
    }
}

/// What the attempt's object is called, and where it is. The same for every process that carries the attempt out, so that it is never
/// started twice.
pub(super) fn object(order: &ClaimedOrder, job: &JobWork, default_namespace: &str) -> ObjectRef {
    let text = |pointer: &str| job.manifest.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    let name = text("/metadata/name").unwrap_or(order.name.as_str());
    // The random end of the id: its beginning is a time that several orders may share.
    let id = order.id.0.simple().to_string();
    let end = id.get(20..).unwrap_or_default();
    ObjectRef {
        api_version: "batch/v1".to_owned(),
        kind: "Job".to_owned(),
        namespace: Some(text("/metadata/namespace").unwrap_or(default_namespace).to_owned()),
        name: format!("{name}-{end}-{}", order.attempt),
    }
}

/// The manifest of the attempt: named, labelled, with its parameters and its place in the trace in the environment of every container.
pub(super) fn manifest(order: &ClaimedOrder, job: &JobWork, object: &ObjectRef, trace: Option<&TraceContext>) -> Value {
    let mut manifest = job.manifest.as_object().cloned().unwrap_or_default();
    let variables = variables(order, trace);
    edit(&mut manifest, "metadata", |metadata| {
        metadata.insert("name".to_owned(), json!(object.name));
        metadata.insert("namespace".to_owned(), json!(object.namespace));
        metadata.remove("generateName");
        label(metadata, order);
    });
    edit(&mut manifest, "spec", |spec| {
        let asked = spec.get("ttlSecondsAfterFinished").and_then(Value::as_u64).unwrap_or(u64::from(order.ttl_seconds));
        spec.insert("ttlSecondsAfterFinished".to_owned(), json!(asked.max(u64::from(LEAST_KEPT))));
        // The order counts attempts, unless the Job says how often its pods may fail.
        spec.entry("backoffLimit").or_insert(json!(0));
        edit(spec, "template", |template| {
            edit(template, "metadata", |metadata| label(metadata, order));
            edit(template, "spec", |pod| {
                pod.entry("restartPolicy").or_insert(json!("Never"));
                for list in ["initContainers", "containers"] {
                    for container in pod.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                        set_variables(container, &variables);
                    }
                }
            });
        });
    });
    Value::Object(manifest)
}

/// Changes the mapping under a key; what is there and is no mapping makes room for one.
fn edit(map: &mut Map<String, Value>, key: &str, change: impl FnOnce(&mut Map<String, Value>)) {
    let mut inner = match map.remove(key) {
        Some(Value::Object(inner)) => inner,
        _ => Map::new(),
    };
    change(&mut inner);
    map.insert(key.to_owned(), Value::Object(inner));
}

fn variables(order: &ClaimedOrder, trace: Option<&TraceContext>) -> Vec<Value> {
    let mut variables: Vec<_> = order.parameters.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    let secret = |reference: &SecretReference| json!({"name": reference.name, "valueFrom": {"secretKeyRef": {"name": reference.secret, "key": reference.key}}});
    variables.extend(order.secrets.iter().map(secret));
    if let Some(trace) = trace.map(TraceContext::with_flags_masked) {
        variables.push(json!({"name": "TRACEPARENT", "value": trace.traceparent}));
        if let Some(state) = trace.tracestate {
            variables.push(json!({"name": "TRACESTATE", "value": state}));
        }
    }
    variables
}

/// Ours win over those of the same name in the manifest.
fn set_variables(container: &mut Value, variables: &[Value]) {
    let Some(container) = container.as_object_mut() else { return };
    let env = container.entry("env").or_insert_with(|| json!([]));
    let Some(env) = env.as_array_mut() else { return };
    env.retain(|known| !variables.iter().any(|ours| ours["name"] == known["name"]));
    env.extend(variables.iter().cloned());
}

pub(super) fn label(metadata: &mut Map<String, Value>, order: &ClaimedOrder) {
    edit(metadata, "labels", |labels| {
        labels.insert(WORK_ORDER.to_owned(), json!(order.id));
    });
}

/// Whether the Job is over, and was not done.
pub(super) fn has_failed(job: &Value) -> bool {
    let conditions = job.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|condition| condition["type"] == "Failed" && condition["status"] == "True")
}

/// Names of the Secrets that the pods see, so that their values can be masked.
pub(super) fn secrets(manifest: &Value) -> Vec<String> {
    let mut names = Vec::new();
    collect(manifest.pointer("/spec/template/spec").unwrap_or(&Value::Null), &mut names);
    names.sort_unstable();
    names.dedup();
    names
}

fn collect(value: &Value, names: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                let field = match key.as_str() {
                    "secretKeyRef" | "secretRef" => "name",
                    "secret" => "secretName",
                    _ => "",
                };
                // In a projected volume a Secret has a name, too.
                let named = inner.get(field).or_else(|| inner.get("name").filter(|_| key == "secret"));
                names.extend(named.filter(|_| !field.is_empty()).and_then(Value::as_str).map(str::to_owned));
                collect(inner, names);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use brokkr_api::{
        Timestamp, WorkOrderId,
        work_orders::{OnAgentLoss, Work},
    };

    use super::*;

    fn order(manifest: Value) -> (ClaimedOrder, JobWork) {
        let job = JobWork { manifest };
        let at = Timestamp::from_micros(0);
        let secret = SecretReference { name: "TOKEN".to_owned(), secret: "keys".to_owned(), key: "token".to_owned() };
        let order = ClaimedOrder {
            id: "0190aaaa-bbbb-7ccc-8ddd-0123456789ab".parse::<WorkOrderId>().unwrap(),
            name: "import".parse().unwrap(),
            token: 1,
            attempt: 2,
            started: false,
            cancel: false,
            on_agent_loss: OnAgentLoss::Unknown,
            work: Work::Job(job.clone()),
            parameters: [("REGION".to_owned(), "eu".to_owned())].into(),
            secrets: vec![secret],
            deadline: None,
            ttl_seconds: 60,
            queued_at: at,
            claimed_at: at,
            trace: None,
        };
        (order, job)
    }

    #[test]
    fn the_object_is_named_after_the_attempt_and_carries_parameters_and_trace() {
        let (order, job) = order(
            json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "load", "labels": {"app": "a"}},
            "spec": {"template": {"spec": {"containers": [{"name": "main", "image": "a:1", "env": [{"name": "REGION", "value": "us"}, {"name": "X", "value": "1"}]}]}}}}),
        );
        let object = object(&order, &job, "default");
        assert_eq!((object.namespace.as_deref(), object.name.as_str()), (Some("default"), "load-0123456789ab-2"));
        let trace = TraceContext::from_parts("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03", Some("a=b"));
        let made = manifest(&order, &job, &object, trace.as_ref());
        let label = "0190aaaa-bbbb-7ccc-8ddd-0123456789ab";
        assert_eq!(made["metadata"]["labels"], json!({"app": "a", WORK_ORDER: label}));
        assert_eq!(made["spec"]["template"]["metadata"]["labels"], json!({WORK_ORDER: label}));
        assert_eq!((&made["spec"]["ttlSecondsAfterFinished"], &made["spec"]["backoffLimit"]), (&json!(300), &json!(0)));
        let env = &made["spec"]["template"]["spec"]["containers"][0]["env"];
        assert_eq!(
            *env,
            json!([
                {"name": "X", "value": "1"},
                {"name": "REGION", "value": "eu"},
                {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}},
                {"name": "TRACEPARENT", "value": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
                {"name": "TRACESTATE", "value": "a=b"},
            ])
        );
    }

    #[test]
    fn a_manifest_that_is_none_is_sent_as_it_is_for_the_api_server_to_judge() {
        let (order, job) = order(json!({"apiVersion": "batch/v1", "kind": "Job", "spec": 7}));
        let made = manifest(&order, &job, &object(&order, &job, "default"), None);
        assert_eq!(made["spec"]["template"]["spec"]["restartPolicy"], "Never");
    }

    #[test]
    fn every_secret_that_the_pods_see_is_known() {
        let pod = json!({"spec": {"template": {"spec": {
            "volumes": [{"secret": {"secretName": "a"}}, {"projected": {"sources": [{"secret": {"name": "b"}}]}}],
            "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "c", "key": "k"}}}], "envFrom": [{"secretRef": {"name": "d"}}]}]}}}});
        assert_eq!(secrets(&pod), ["a", "b", "c", "d"]);
    }
}
