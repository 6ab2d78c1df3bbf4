//! A large stack that is as it should be: what it costs to see that, and to change one object of it.

use std::time::Duration;

use brokkr_tests::{
    control_plane::ControlPlane,
    fleet::{LIMIT, config_map},
    lab::{LabError, until},
};

use super::{
    Plan, World,
    apply::{manifests, name},
    machine::cpu_ms,
};
use crate::bench_table::{Row, fail};

const CPU_GOAL_MS: f64 = 150.0;
/// Stack and namespace, which the measurement of drift uses as well.
pub(super) const LARGE: &str = "large";
/// Agents that compare everything with the cluster this often, to be watched for some seconds.
const OFTEN_SECONDS: u64 = 2;

pub(super) async fn run(world: &mut World, plan: &Plan) -> Result<Vec<Row>, LabError> {
    println!("{} unchanged objects", plan.objects);
    let namespace = world.cluster.create_namespace(LARGE).await?;
    let stack = world.broker.stack(LARGE, &[&world.agent]).await;
    let all = manifests(&namespace, plan.objects, "0");
    world.broker.apply(&stack, &all).await;
    let mut rows = Vec::new();
    let mut row =
        |what: &str, value: f64, unit, goal| rows.push(Row::new(format!("{} objects: {what}", plan.objects), value, unit, goal));

    let control_plane = ControlPlane::shared();
    // A process that starts knows nothing: it compares everything.
    let (_, from) = control_plane.agent_writes(0)?;
    let lines = world.agent.process.output().lines().len();
    world.agent.process.restart(LIMIT).await?;
    let carried_out = || async {
        let said = world.agent.process.output().lines().split_off(lines);
        let done = said.iter().any(|line| line.contains("a deployment was carried out") && line.contains("stack.name=large"));
        if done { Ok(()) } else { Err(said.join("\n")) }
    };
    until("the restarted agent to compare everything", LIMIT, carried_out).await?;
    let cpu = cpu_ms(&world.agent)?;
    let (written, from) = control_plane.agent_writes(from)?;
    row("start and resync of a new process, writes", count(&written), "", Some(0.0));
    row("start and resync of a new process, CPU", cpu, "ms", Some(CPU_GOAL_MS));

    let mut changed = manifests(&namespace, plan.objects - 1, "0");
    changed.push_str(&config_map(&namespace, &name(plan.objects - 1), "1"));
    world.broker.apply(&stack, &changed).await;
    let (written, from) = control_plane.agent_writes(from)?;
    row("one of them changed, writes", count(&written), "", Some(1.0));

    // Idle, and then comparing everything again and again: the difference is the price of the comparisons.
    let idle = watch(world, plan.seconds).await?;
    let settings = OFTEN_SECONDS.to_string();
    let other = world.broker.agent("often", &[("BROKKR__KUBERNETES__RESYNC_SECONDS", &settings)]).await?;
    let second = world.cluster.create_namespace("often").await?;
    let stack = world.broker.stack("often", &[&other]).await;
    world.broker.apply(&stack, &manifests(&second, plan.objects, "0")).await;
    let (_, from) = control_plane.agent_writes(from)?;
    let before = cpu_ms(&other)?;
    tokio::time::sleep(Duration::from_secs(plan.seconds)).await;
    let spent = cpu_ms(&other)? - before - idle;
    let times = whole(plan.seconds / OFTEN_SECONDS);
    let (written, _) = control_plane.agent_writes(from)?;
    row("periodic resync, writes", count(&written), "", Some(0.0));
    row("periodic resync, CPU of one", spent / times, "ms", Some(CPU_GOAL_MS));
    row("idle, CPU of a second", idle / whole(plan.seconds), "ms", None);
    world.broker.delete(&stack).await;
    Ok(rows)
}

async fn watch(world: &World, seconds: u64) -> Result<f64, LabError> {
    let before = cpu_ms(&world.agent)?;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    Ok(cpu_ms(&world.agent)? - before)
}

fn count(written: &[String]) -> f64 {
    if let Some(first) = written.first() {
        println!("  for example: {first}");
    }
    u32::try_from(written.len()).map_or(f64::NAN, f64::from)
}

fn whole(number: u64) -> f64 {
    u32::try_from(number).map_err(fail).map_or(f64::NAN, f64::from)
}
