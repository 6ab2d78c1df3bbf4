//! `make bench-loop`: how long a change takes from accept to applied, with real processes and the real kube-apiserver.

use std::time::{Duration, Instant};

use brokkr_api::{Name, client::Client};
use brokkr_tests::{
    fleet::{Agent, Broker, Engine, config_map},
    lab::LabError,
};
use clap::Args;

use crate::bench_table::{Row, fail, percentile, write};

const LIMIT: Duration = Duration::from_secs(30);
/// The goal of the median, in milliseconds.
const GOAL_P50: f64 = 100.0;

/// How much to measure.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Rounds {
    /// Changes on each engine; a tenth more come first and are not counted.
    #[arg(long, default_value_t = 300)]
    rounds: u32,
}

/// A broker and an agent, and one client for all changes: its connection is made once.
struct Loop {
    client: Client,
    engine: &'static str,
    stack: Name,
    _broker: Broker,
    _agent: Agent,
}

pub(crate) async fn run(rounds: Rounds) -> Result<(), LabError> {
    println!("starting the control plane and PostgreSQL");
    let loops = [start(Engine::Sqlite, "sqlite").await?, start(Engine::Postgres, "postgresql").await?];
    let mut times = [Vec::new(), Vec::new()];
    println!("measuring {} changes on each engine, in turn", rounds.rounds);
    let warm_up = rounds.rounds / 10;
    for round in 0..rounds.rounds + warm_up {
        // In turn, so that a slow moment of the machine meets both.
        for (one, times) in loops.iter().zip(&mut times) {
            let took = change(one, round).await?;
            if round >= warm_up {
                times.push(took);
            }
        }
    }
    let rows: Vec<_> = loops.iter().zip(times).flat_map(|(one, times)| rows(one.engine, times)).collect();
    write(&rows, "loop.json")
}

async fn start(engine: Engine, name: &'static str) -> Result<Loop, LabError> {
    let broker = Broker::start(engine, &[]).await?;
    let agent = broker.agent(name, &[]).await?;
    let stack = broker.stack(&format!("bench-{name}"), &[&agent]).await;
    Ok(Loop { client: broker.admin(), engine: name, stack, _broker: broker, _agent: agent })
}

/// One change. The first time is from the broker's acceptance to the agent's report, by the broker's clock; the second is what a
/// caller sees, from sending the change to the answer that it is applied.
async fn change(one: &Loop, round: u32) -> Result<(f64, f64), LabError> {
    let manifest = config_map("default", &format!("bench-{}", one.engine), &round.to_string());
    let began = Instant::now();
    one.client.put_deployment_objects(&one.stack, "application/yaml", manifest.into_bytes()).await.map_err(fail)?;
    let rollout = one.client.rollout(&one.stack, Some(LIMIT)).await.map_err(fail)?;
    let seen = began.elapsed().as_secs_f64() * 1_000.0;
    let finished = rollout.deployments.first().and_then(|deployment| Some(deployment.finished_at?.since(deployment.desired_at)));
    let (Some(took), true) = (finished, rollout.done) else {
        return Err(fail(format!("{}: round {round} was not applied: {:?}", one.engine, rollout.deployments)));
    };
    Ok((took.as_secs_f64() * 1_000.0, seen))
}

fn rows(engine: &str, times: Vec<(f64, f64)>) -> Vec<Row> {
    let (applied, seen): (Vec<_>, Vec<_>) = times.into_iter().unzip();
    let row = |what: &str, value: f64, goal: Option<f64>| Row::new(format!("{engine}: {what}"), value, "ms", goal);
    vec![
        row("accept to applied, p50", percentile(&applied, 0.5), Some(GOAL_P50)),
        row("accept to applied, p99", percentile(&applied, 0.99), None),
        row("request to answer that it is applied, p50", percentile(&seen, 0.5), None),
        row("request to answer that it is applied, p99", percentile(&seen, 0.99), None),
    ]
}
