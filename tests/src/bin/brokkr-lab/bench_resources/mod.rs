//! `make bench-resources`: what the collector beside a daemon and the agent need, against what their charts ask for.

mod agent;
mod collector;
mod requested;
mod sidecar;
mod usage;

use brokkr_tests::lab::LabError;
use clap::Args;

use crate::bench_table::write;

/// How much to measure.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Plan {
    /// Seconds of each load.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Spans a second that a busy broker sends.
    #[arg(long, default_value_t = 200)]
    spans: u32,
    /// Spans a second of a broker that keeps every trace, or of a large rollout.
    #[arg(long, default_value_t = 2_000)]
    burst: u32,
    /// Stacks of the agent at rest.
    #[arg(long, default_value_t = 20)]
    stacks: usize,
    /// Objects that the agent applies, and holds at rest.
    #[arg(long, default_value_t = 1_000)]
    objects: usize,
}

pub(crate) async fn run(plan: &Plan) -> Result<(), LabError> {
    let mut rows = collector::run(plan).await?;
    rows.extend(agent::run(plan).await?);
    write(&rows, "resources.json")
}
