//! The agent: at rest with many stacks, and while it applies a large one.

use std::time::Duration;

use brokkr_tests::{
    cluster::Cluster,
    fleet::{Broker, Engine, config_map},
    lab::LabError,
};
use tokio::time::sleep;

use super::{
    Plan,
    requested::Requested,
    usage::{Usage, memory_mb},
};
use crate::bench_table::Row;

pub(super) async fn run(plan: &Plan) -> Result<Vec<Row>, LabError> {
    let Plan { stacks, objects, seconds, .. } = *plan;
    println!("the agent: at rest with {stacks} stacks of {objects} objects together, and applying {objects} at once");
    let asked = Requested::by_agent()?;
    let cluster = Cluster::shared().await?;
    let broker = Broker::start(Engine::Sqlite, &[]).await?;
    let agent = broker.agent(&cluster.unique("resources"), &[]).await?;
    let namespace = cluster.create_namespace("resources").await?;
    for number in 0..stacks {
        let stack = broker.stack(&format!("resources-{number}"), &[&agent]).await;
        let manifests = (0..objects / stacks).map(|index| config_map(&namespace, &format!("r-{number}-{index}"), "a"));
        broker.apply(&stack, &manifests.collect::<String>()).await;
    }
    let rest = Usage::of(&agent.process)?;
    sleep(Duration::from_secs(seconds)).await;
    let at_rest = format!("agent at rest with {stacks} stacks of {objects} objects");
    let mut rows = vec![
        Row::new(format!("{at_rest}: CPU"), rest.millicores()?, "m", Some(asked.cpu)),
        Row::new(format!("{at_rest}: memory"), memory_mb(&agent.process, "VmRSS")?, "MB", Some(asked.memory)),
    ];

    let stack = broker.stack("resources-large", &[&agent]).await;
    let manifests: String = (0..objects).map(|index| config_map(&namespace, &format!("large-{index}"), "a")).collect();
    let busy = Usage::of(&agent.process)?;
    broker.apply(&stack, &manifests).await;
    let applying = format!("agent applying {objects} objects");
    rows.extend([
        Row::new(format!("{applying}: CPU time"), busy.spent()?.as_secs_f64() * 1_000.0, "ms", None),
        Row::new(format!("{applying}: CPU meanwhile"), busy.millicores()?, "m", None),
        Row::new(format!("{applying}: the most memory"), memory_mb(&agent.process, "VmHWM")?, "MB", Some(asked.limit)),
    ]);
    cluster.delete_namespace(&namespace).await?;
    Ok(rows)
}
