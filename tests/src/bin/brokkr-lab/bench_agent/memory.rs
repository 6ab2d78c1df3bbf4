//! What the agent holds in memory: idle, and with many stacks of many kinds and one that is large.

use brokkr_tests::{fleet::config_map, lab::LabError};
use serde_json::{Value, json};

use super::{World, machine::memory_mb};
use crate::bench_table::Row;

const IDLE_GOAL_MB: f64 = 30.0;
const BUSY_GOAL_MB: f64 = 60.0;
const STACKS: usize = 20;
const OBJECTS: usize = 50;
/// Ten objects of half a megabyte.
const LARGE_OBJECTS: usize = 10;
const LARGE_BYTES: usize = 500_000;

pub(super) fn idle(world: &World) -> Result<Vec<Row>, LabError> {
    let resident = memory_mb(&world.agent, "VmRSS")?;
    Ok(vec![Row::new("memory of an idle agent", resident, "MB", Some(IDLE_GOAL_MB))])
}

pub(super) async fn run(world: &World) -> Result<Vec<Row>, LabError> {
    println!("{STACKS} stacks with {} objects of {} kinds, and one of 5 MB", STACKS * OBJECTS, kinds().len());
    let agent = world.broker.agent("memory", &[]).await?;
    let namespace = world.cluster.create_namespace("memory").await?;
    for number in 0..STACKS {
        let stack = world.broker.stack(&format!("memory-{number}"), &[&agent]).await;
        let kinds = kinds();
        let objects = kinds.iter().cycle().take(OBJECTS).enumerate();
        let objects = objects.map(|(index, object)| document(object, &namespace, &format!("m-{number}-{index}")));
        world.broker.apply(&stack, &objects.collect::<String>()).await;
    }
    let many = memory_mb(&agent, "VmRSS")?;
    let stack = world.broker.stack("memory-large", &[&agent]).await;
    let large = (0..LARGE_OBJECTS).map(|index| config_map(&namespace, &format!("large-{index}"), &"x".repeat(LARGE_BYTES)));
    world.broker.apply(&stack, &large.collect::<String>()).await;
    Ok(vec![
        Row::new("memory with 1,000 objects of 15 kinds in 20 stacks", many, "MB", Some(BUSY_GOAL_MB)),
        Row::new("memory with a bundle of 5 MB as well", memory_mb(&agent, "VmRSS")?, "MB", Some(BUSY_GOAL_MB)),
        Row::new("the most memory that it ever had", memory_mb(&agent, "VmHWM")?, "MB", None),
    ])
}

fn document(object: &Value, namespace: &str, name: &str) -> String {
    let mut object = object.clone();
    object["metadata"] = json!({"name": name, "namespace": namespace});
    format!("---\n{object}\n")
}

/// Fifteen kinds, none of which starts a pod.
fn kinds() -> Vec<Value> {
    let template =
        json!({"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "main", "image": "example.org/a:1"}]}});
    let mut never = template.clone();
    never["spec"]["restartPolicy"] = json!("Never");
    let selector = json!({"matchLabels": {"app": "a"}});
    let job = json!({"suspend": true, "template": never});
    vec![
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"value": "a"}}),
        json!({"apiVersion": "v1", "kind": "Secret", "data": {"value": "MDAwMA=="}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount"}),
        json!({"apiVersion": "v1", "kind": "Service", "spec": {"clusterIP": "None", "ports": [{"port": 80}]}}),
        json!({"apiVersion": "v1", "kind": "LimitRange", "spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}}]}}),
        json!({"apiVersion": "v1", "kind": "PodTemplate", "template": template}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "rules": []}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "a"}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 0, "selector": selector, "template": template}}),
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet",
            "spec": {"replicas": 0, "serviceName": "a", "selector": selector, "template": template}}),
        json!({"apiVersion": "batch/v1", "kind": "Job", "spec": job}),
        json!({"apiVersion": "batch/v1", "kind": "CronJob",
            "spec": {"schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": {"spec": {"template": never}}}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "spec": {"defaultBackend": {"service": {"name": "a", "port": {"number": 80}}}}}),
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "spec": {"maxUnavailable": 1, "selector": selector}}),
    ]
}
