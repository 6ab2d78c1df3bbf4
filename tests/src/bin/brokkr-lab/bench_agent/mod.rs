//! `make bench-agent`: what the agent costs and how quick it is, against the real kube-apiserver.

mod apply;
mod machine;
mod memory;
mod quick;
mod resync;

use brokkr_tests::{
    cluster::Cluster,
    fleet::{Agent, Broker, Engine},
    lab::LabError,
};
use clap::Args;

use crate::bench_table::write;

/// How much to measure.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Plan {
    /// Objects of the large stack.
    #[arg(long, default_value_t = 1_000)]
    objects: usize,
    /// First applies, in turn with the bare loop.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Changes of one object, and foreign changes.
    #[arg(long, default_value_t = 200)]
    changes: usize,
    /// Seconds that the idle agent is watched, twice.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
}

/// A broker, an agent and a look into the cluster.
struct World {
    cluster: Cluster,
    broker: Broker,
    agent: Agent,
}

pub(crate) async fn run(plan: &Plan) -> Result<(), LabError> {
    println!("starting the control plane, a broker and an agent");
    let cluster = Cluster::shared().await?;
    let broker = Broker::start(Engine::Sqlite, &[]).await?;
    let agent = broker.agent("bench", &[]).await?;
    let mut world = World { cluster, broker, agent };
    let mut rows = memory::idle(&world)?;
    rows.extend(quick::changes(&world, plan.changes).await?);
    rows.extend(apply::run(&world, plan).await?);
    rows.extend(resync::run(&mut world, plan).await?);
    rows.extend(quick::drift(&world, plan).await?);
    rows.extend(memory::run(&world).await?);
    write(&rows, "agent.json")
}
