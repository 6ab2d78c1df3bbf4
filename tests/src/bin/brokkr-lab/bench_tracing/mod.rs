//! `make bench-tracing`: what tracing costs the broker and the agent, the same load in turn with more and less of it.

mod agent;
mod broker;
mod effort;
mod mode;
mod sink;
mod statistics;

use brokkr_tests::{fleet::Engine, lab::LabError};
use clap::{Args, ValueEnum};

use crate::bench_table::{Row, write};
pub(crate) use sink::Sink;

/// Whose costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The broker's, under polls and writes.
    Broker,
    /// The agent's, applying a large stack.
    Agent,
}

/// How much to measure.
#[derive(Debug, Clone, Args)]
pub(crate) struct Plan {
    /// Rounds: in each, every mode is measured once. A multiple of 10, for the share of sampled rollouts to be right.
    #[arg(long, default_value_t = 20)]
    pairs: usize,
    /// Polls of one measurement, unchanged all of them.
    #[arg(long, default_value_t = 8_000)]
    polls: usize,
    /// Writes of one measurement, ten objects each.
    #[arg(long, default_value_t = 200)]
    writes: usize,
    /// Objects that the agent applies in one measurement.
    #[arg(long, default_value_t = 1_000)]
    objects: usize,
    /// Only these parts.
    #[arg(long, value_delimiter = ',', default_values = ["broker", "agent"])]
    parts: Vec<Part>,
    /// Only this engine: `sqlite` or `postgresql`.
    #[arg(long)]
    engine: Option<String>,
}

pub(crate) async fn run(plan: &Plan) -> Result<(), LabError> {
    let sink = Sink::start().await?;
    let mut rows = Vec::new();
    let measured = measure(plan, &sink, &mut rows).await;
    // What was measured before a failure took its time.
    write(&rows, "tracing.json")?;
    measured
}

async fn measure(plan: &Plan, sink: &Sink, rows: &mut Vec<Row>) -> Result<(), LabError> {
    for (engine, name) in [(Engine::Sqlite, "sqlite"), (Engine::Postgres, "postgresql")] {
        if plan.parts.contains(&Part::Broker) && plan.engine.as_deref().is_none_or(|wanted| wanted == name) {
            rows.extend(broker::run(plan, engine, name, sink).await?);
        }
    }
    if plan.parts.contains(&Part::Agent) {
        rows.extend(agent::run(plan, sink).await?);
    }
    Ok(())
}
