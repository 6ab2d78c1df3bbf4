//! `make bench-broker`: the broker under a simulated fleet, on both database engines.

mod changes;
mod fleet;
mod idle;
pub(crate) mod machine;
mod requests;
mod statements;

use brokkr_tests::{
    fleet::Engine,
    lab::{LabError, raise_file_limit},
};
use clap::{Args, ValueEnum};

use crate::bench_table::{Row, write};
use fleet::WAIT;
pub(crate) use fleet::{Way, World};

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// A fleet in which nothing changes.
    Idle,
    /// Changes for one agent of all.
    One,
    /// Time of lists and writes.
    Requests,
    /// Statements of lists and writes.
    Statements,
    /// Changes for a thousand agents at once.
    All,
    /// A fleet in which nothing changes, over TLS, on SQLite.
    Tls,
}

/// How much to measure, and how long.
#[derive(Debug, Clone, Args)]
pub(crate) struct Plan {
    /// Seconds that the idle fleet is watched, twice on each engine.
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// Agents of the large fleet.
    #[arg(long, default_value_t = 10_000)]
    agents: u32,
    /// Stacks of each of them.
    #[arg(long, default_value_t = 10)]
    stacks: u32,
    /// Rows of history.
    #[arg(long, default_value_t = 500_000)]
    history: u32,
    /// Only these parts.
    #[arg(long, value_delimiter = ',', default_values = ["idle", "one", "requests", "statements", "all", "tls"])]
    parts: Vec<Part>,
    /// Only this engine: `sqlite` or `postgresql`.
    #[arg(long)]
    engine: Option<String>,
}

pub(crate) async fn run(plan: &Plan) -> Result<(), LabError> {
    raise_file_limit();
    let mut rows = Vec::new();
    for (engine, name) in [(Engine::Sqlite, "sqlite"), (Engine::Postgres, "postgresql")] {
        if plan.engine.as_deref().is_none_or(|wanted| wanted == name) {
            let measured = on(engine, name, plan, &mut rows).await;
            // What was measured before a failure took half an hour.
            if measured.is_err() {
                write(&rows, "broker.json")?;
            }
            measured?;
        }
    }
    write(&rows, "broker.json")
}

async fn on(engine: Engine, name: &'static str, plan: &Plan, rows: &mut Vec<Row>) -> Result<(), LabError> {
    let wanted = |part| plan.parts.contains(&part);
    if [Part::Idle, Part::One, Part::Requests].into_iter().any(wanted) {
        println!("{name}: making {} agents with {} stacks each", plan.agents, plan.stacks);
        let began = std::time::Instant::now();
        let mut world = World::start(engine, Way::Plain, plan.agents, plan.stacks, WAIT).await?;
        rows.push(Row::new(format!("{name}: set-up of the fleet"), began.elapsed().as_secs_f64(), "s", None));
        if wanted(Part::Idle) {
            rows.extend(idle::run(&mut world, name, plan.seconds, Some(plan.history)).await?);
        }
        if wanted(Part::One) {
            rows.extend(changes::for_one(&world, name).await?);
        }
        if wanted(Part::Requests) {
            rows.extend(requests::run(&world, name).await?);
        }
    }
    if wanted(Part::Statements) {
        rows.extend(statements::run(engine, name).await?);
    }
    if wanted(Part::Tls) && engine == Engine::Sqlite {
        println!("{name}: making {} agents with {} stacks each, over TLS", plan.agents, plan.stacks);
        let mut world = World::start(engine, Way::Tls, plan.agents, plan.stacks, WAIT).await?;
        rows.extend(idle::run(&mut world, "sqlite, TLS", plan.seconds, None).await?);
    }
    if wanted(Part::All) {
        rows.extend(changes::for_all(engine, name, 1_000).await?);
    }
    Ok(())
}
