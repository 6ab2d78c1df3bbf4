//! How long one change takes: one of ours to the cluster, and one of another's back.

use std::time::Instant;

use brokkr_tests::{
    cluster::Cluster,
    fleet::{LIMIT, config_map},
    lab::LabError,
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;

use super::{Plan, World};
use crate::bench_table::{Row, fail, percentile};

/// One object, one change after the other, by the broker's clock.
pub(super) async fn changes(world: &World, changes: usize) -> Result<Vec<Row>, LabError> {
    println!("{changes} changes of one object");
    let namespace = world.cluster.create_namespace("one").await?;
    let stack = world.broker.stack("one", &[&world.agent]).await;
    let client = world.broker.admin();
    let mut times = Vec::new();
    let warm_up = changes / 10;
    for round in 0..changes + warm_up {
        let manifest = config_map(&namespace, "one", &round.to_string());
        client.put_deployment_objects(&stack, "application/yaml", manifest.into_bytes()).await.map_err(fail)?;
        let rollout = client.rollout(&stack, Some(LIMIT)).await.map_err(fail)?;
        let took = rollout.deployments.first().and_then(|deployment| Some(deployment.finished_at?.since(deployment.desired_at)));
        let took = took.filter(|_| rollout.done).ok_or_else(|| fail(format!("round {round} was not applied: {rollout:?}")))?;
        if round >= warm_up {
            times.push(took.as_secs_f64() * 1_000.0);
        }
    }
    world.broker.delete(&stack).await;
    Ok(vec![
        Row::new("1 object: accept to applied, p50", percentile(&times, 0.5), "ms", Some(20.0)),
        Row::new("1 object: accept to applied, p99", percentile(&times, 0.99), "ms", Some(100.0)),
    ])
}

/// Another manager changes one object of the large stack after the other; each time until the value is back.
pub(super) async fn drift(world: &World, plan: &Plan) -> Result<Vec<Row>, LabError> {
    // Another object each time: an object that is changed again and again is contested.
    let rounds = plan.changes.min(plan.objects / 2);
    println!("{rounds} foreign changes");
    let api: Api<ConfigMap> = Api::all(world.cluster.client().clone());
    let members = api.list(&ListParams::default().labels("applyset.kubernetes.io/part-of")).await?;
    let mut times = Vec::new();
    for member in members.items.iter().take(rounds) {
        let api = world.cluster.api::<ConfigMap>(&member.namespace().unwrap_or_default());
        let (name, wanted) = (member.name_any(), member.data.clone());
        let began = Instant::now();
        let change = json!({"data": {"value": "somebody else's"}});
        api.patch(&name, &PatchParams::apply("somebody"), &Patch::Merge(change)).await?;
        let is_back = |found: Option<&ConfigMap>| found.is_some_and(|found| found.data == wanted);
        Cluster::wait_until(&api, &name, "its value back", LIMIT, is_back).await?;
        times.push(began.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok(vec![
        Row::new("foreign change until it is repaired, p50", percentile(&times, 0.5), "ms", Some(500.0)),
        Row::new("foreign change until it is repaired, p99", percentile(&times, 0.99), "ms", None),
    ])
}
