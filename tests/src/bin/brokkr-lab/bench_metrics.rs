//! `make bench-metrics`: what a look at the metrics costs while a fleet of thousands waits, on both database engines.

use std::time::Instant;

use brokkr_tests::{
    fleet::Engine,
    http::client,
    lab::{LabError, raise_file_limit, until},
};
use clap::Args;

use crate::{
    bench_broker::{Way, World},
    bench_table::{Row, fail, percentile, write},
};

const TIME_GOAL_MS: f64 = 20.0;
const SIZE_GOAL_KB: f64 = 200.0;
/// Longer than the time between two counts of the fleet.
const COUNTED: std::time::Duration = std::time::Duration::from_secs(120);

/// How much to measure.
#[derive(Debug, Clone, Args)]
pub(crate) struct Plan {
    /// Agents of the fleet.
    #[arg(long, default_value_t = 10_000)]
    agents: u32,
    /// Stacks of each of them.
    #[arg(long, default_value_t = 10)]
    stacks: u32,
    /// Looks at the metrics, in each format.
    #[arg(long, default_value_t = 200)]
    scrapes: u32,
    /// Only this engine: `sqlite` or `postgresql`.
    #[arg(long)]
    engine: Option<String>,
}

pub(crate) async fn run(plan: &Plan) -> Result<(), LabError> {
    raise_file_limit();
    let mut rows = Vec::new();
    for (engine, name) in [(Engine::Sqlite, "sqlite"), (Engine::Postgres, "postgresql")] {
        if plan.engine.as_deref().is_none_or(|wanted| wanted == name) {
            println!("{name}: making {} agents with {} stacks each", plan.agents, plan.stacks);
            let world = World::start(engine, Way::Plain, plan.agents, plan.stacks, 30).await?;
            rows.extend(on(&world, name, plan).await?);
        }
    }
    write(&rows, "metrics.json")
}

async fn on(world: &World, name: &str, plan: &Plan) -> Result<Vec<Row>, LabError> {
    let client = client()?;
    let url = format!("{}/metrics", world.broker.base);
    let scrape = async |accept: &str| {
        let began = Instant::now();
        let answer = client.get(&url).header("accept", accept).send().await.map_err(fail)?;
        let text = answer.text().await.map_err(fail)?;
        Ok::<_, LabError>((began.elapsed().as_secs_f64() * 1_000.0, text))
    };
    let deployments = f64::from(plan.agents) * f64::from(plan.stacks);
    until("the fleet to be counted", COUNTED, || async {
        let (_, text) = scrape("text/plain").await.map_err(|error| error.to_string())?;
        let counted = text.lines().filter(|line| line.starts_with("brokkr_deployments{")).filter_map(value).sum::<f64>();
        let online = text.lines().find(|line| line.starts_with("brokkr_active_agents ")).and_then(value);
        if counted >= deployments && online == Some(f64::from(plan.agents)) {
            Ok(())
        } else {
            Err(format!("{counted} {online:?}"))
        }
    })
    .await?;
    let mut rows = Vec::new();
    for (format, accept) in [("text", "text/plain"), ("OpenMetrics", "application/openmetrics-text; version=1.0.0")] {
        let (mut times, mut size, mut series) = (Vec::new(), 0, 0);
        for _ in 0..plan.scrapes {
            let (time, text) = scrape(accept).await?;
            times.push(time);
            size = text.len();
            series = text.lines().filter(|line| !line.starts_with('#')).count();
        }
        let row = |what: &str, value: f64, unit, goal| Row::new(format!("{name}: {format}, {what}"), value, unit, goal);
        #[expect(clippy::cast_precision_loss, reason = "some thousand")]
        let (size, series) = (size as f64 / 1_024.0, series as f64);
        rows.push(row("one scrape, p50", percentile(&times, 0.5), "ms", None));
        rows.push(row("one scrape, p99", percentile(&times, 0.99), "ms", Some(TIME_GOAL_MS)));
        rows.push(row("size", size, "kB", Some(SIZE_GOAL_KB)));
        rows.push(row("series", series, "series", None));
    }
    Ok(rows)
}

fn value(line: &str) -> Option<f64> {
    line.rsplit(' ').next()?.parse().ok()
}
