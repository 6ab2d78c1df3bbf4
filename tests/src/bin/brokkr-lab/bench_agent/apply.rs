//! The first apply of a large stack, in turn with a bare loop of as many server-side-apply calls.

use std::time::Instant;

use brokkr_tests::{fleet::config_map, lab::LabError};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::{Plan, World};
use crate::bench_table::{Row, fail, percentile};

/// Calls in flight, for the bare loop as for the agent.
const IN_FLIGHT: usize = 16;

pub(super) async fn run(world: &World, plan: &Plan) -> Result<Vec<Row>, LabError> {
    println!("first apply of {} ConfigMaps, {} times in turn with a bare loop", plan.objects, plan.rounds);
    let (mut bare, mut ours, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..plan.rounds {
        // In turn and each time the other way round: a slow moment of the machine meets both.
        let (one, other) = if round % 2 == 0 {
            let one = loop_of_calls(world, plan.objects).await?;
            (one, stack(world, round, plan.objects).await?)
        } else {
            let other = stack(world, round, plan.objects).await?;
            (loop_of_calls(world, plan.objects).await?, other)
        };
        bare.push(one);
        ours.push(other);
        ratios.push(other / one);
    }
    let row = |what: &str, value: f64, unit, goal| {
        Row::new(format!("first apply of {} ConfigMaps: {what}", plan.objects), value, unit, goal)
    };
    Ok(vec![
        row("a bare loop of calls, p50", percentile(&bare, 0.5), "ms", None),
        row("accept to applied, p50", percentile(&ours, 0.5), "ms", None),
        // Four fifths of the throughput are five quarters of the time.
        row("time as a multiple of the bare loop's, p50", percentile(&ratios, 0.5), "", Some(1.25)),
    ])
}

async fn loop_of_calls(world: &World, objects: usize) -> Result<f64, LabError> {
    let namespace = world.cluster.create_namespace("bare").await?;
    let api = world.cluster.api::<ConfigMap>(&namespace);
    let params = PatchParams::apply("bare-loop");
    let began = Instant::now();
    let calls = stream::iter(0..objects).map(|index| {
        let (api, params, name) = (api.clone(), params.clone(), name(index));
        async move {
            let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"value": "0"}});
            api.patch(&name, &params, &Patch::Apply(body)).await.map(drop)
        }
    });
    calls.buffer_unordered(IN_FLIGHT).try_collect::<Vec<()>>().await?;
    let took = began.elapsed().as_secs_f64() * 1_000.0;
    world.cluster.delete_namespace(&namespace).await?;
    Ok(took)
}

/// By the broker's clock, from accepting the manifests to the agent's report.
async fn stack(world: &World, round: usize, objects: usize) -> Result<f64, LabError> {
    let namespace = world.cluster.create_namespace("first").await?;
    let stack = world.broker.stack(&format!("first-{round}"), &[&world.agent]).await;
    world.broker.apply(&stack, &manifests(&namespace, objects, "0")).await;
    let rollout = world.broker.admin().rollout(&stack, None).await.map_err(fail)?;
    let deployment = rollout.deployments.first().ok_or_else(|| fail("no deployment"))?;
    let finished = deployment.finished_at.ok_or_else(|| fail("not finished"))?;
    let took = finished.since(deployment.desired_at).as_secs_f64() * 1_000.0;
    world.broker.delete(&stack).await;
    world.cluster.delete_namespace(&namespace).await?;
    Ok(took)
}

pub(super) fn name(index: usize) -> String {
    format!("object-{index:05}")
}

pub(super) fn manifests(namespace: &str, objects: usize, value: &str) -> String {
    (0..objects).map(|index| config_map(namespace, &name(index), value)).collect()
}
