//! `make bench-loop`: how long a change takes from accept to applied, with real processes and the real kube-apiserver.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use brokkr_api::{
    Labels, Name, TargetSelector,
    agents::CreateAgent,
    client::{Client, ClientBuilder, KeySource},
    stacks::PutStack,
};
use brokkr_tests::{
    control_plane::{ControlPlane, Options},
    lab::{LabError, Scratch, free_port},
    postgres::Postgres,
    process::{Daemon, Process},
};
use clap::Args;
use serde::Serialize;

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

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    value: f64,
    unit: &'static str,
    goal: Option<f64>,
    holds: Option<bool>,
}

/// A broker and an agent.
struct Loop {
    client: Client,
    engine: &'static str,
    stack: Name,
    _processes: [Process; 2],
}

pub(crate) async fn run(rounds: Rounds) -> Result<(), LabError> {
    println!("starting the control plane and PostgreSQL");
    let control_plane = ControlPlane::start(&Options::default())?;
    let postgres = Postgres::start()?;
    let scratch = Scratch::new("bench-loop")?;
    let sqlite = format!("sqlite:{}", scratch.path().join("brokkr.db").display());
    let loops = [
        start(&control_plane, &scratch, "sqlite", &sqlite).await?,
        start(&control_plane, &scratch, "postgresql", &postgres.create_database()?).await?,
    ];
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
    write(&rows)
}

async fn start(control_plane: &ControlPlane, scratch: &Scratch, engine: &'static str, url: &str) -> Result<Loop, LabError> {
    let port = || free_port().map_err(LabError::io("find a port"));
    let (broker_port, agent_port) = (port()?, port()?);
    let base = format!("http://127.0.0.1:{broker_port}");
    let admin_key = scratch.path().join(format!("{engine}-admin.key"));
    let mut broker = Daemon::new("brokkr-broker")?
        .args(["serve"])
        .env("BROKKR__SERVER__LISTEN", format!("127.0.0.1:{broker_port}"))
        .env("BROKKR__DATABASE__URL", url)
        .env("BROKKR__BOOTSTRAP__ADMIN_KEY_FILE", &admin_key)
        .start()?;
    broker.wait_until_ok(&format!("{base}/readyz"), LIMIT).await?;
    let client = ClientBuilder::new(&base, KeySource::File(admin_key)).and_then(ClientBuilder::build).map_err(fail)?;
    let agent: Name = name(engine)?;
    let created = client
        .create_agent(&CreateAgent { name: agent.clone(), cluster: agent.clone(), labels: Labels::default() })
        .await
        .map_err(fail)?;
    let key = scratch.write(&format!("{engine}-agent.key"), created.secret)?;
    let mut process = Daemon::new("brokkr-agent")?
        .args(["run"])
        .env("BROKKR__SERVER__LISTEN", format!("127.0.0.1:{agent_port}"))
        .env("BROKKR__BROKER__URL", &base)
        .env("BROKKR__BROKER__KEY_FILE", key)
        .env("BROKKR__KUBERNETES__KUBECONFIG", control_plane.kubeconfig())
        .start()?;
    process.wait_for_line("the connection", LIMIT, |line| line.contains("the agent is connected")).await?;
    let stack = name(&format!("bench-{engine}"))?;
    let put = PutStack { labels: Labels::default(), targets: TargetSelector { labels: None, names: vec![agent] } };
    client.put_stack(&stack, &put).await.map_err(fail)?;
    Ok(Loop { client, engine, stack, _processes: [broker, process] })
}

/// One change. The first time is from the broker's acceptance to the agent's report, by the broker's clock; the second is what a
/// caller sees, from sending the change to the answer that it is applied.
async fn change(one: &Loop, round: u32) -> Result<(f64, f64), LabError> {
    let manifest = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: bench-{}, namespace: default}}\ndata: {{round: \"{round}\"}}\n",
        one.engine
    );
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
    let row = |what: &str, value: f64, goal: Option<f64>| Row {
        name: format!("{engine}: {what}"),
        value,
        unit: "ms",
        goal,
        holds: goal.map(|goal| value < goal),
    };
    vec![
        row("accept to applied, p50", percentile(&applied, 0.5), Some(GOAL_P50)),
        row("accept to applied, p99", percentile(&applied, 0.99), None),
        row("request to answer that it is applied, p50", percentile(&seen, 0.5), None),
        row("request to answer that it is applied, p99", percentile(&seen, 0.99), None),
    ]
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "an index among some hundred values"
)]
fn percentile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = ((sorted.len() as f64 * part).ceil() as usize).saturating_sub(1);
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

fn write(rows: &[Row]) -> Result<(), LabError> {
    println!("\n{:<55} {:>9}  {:>8}  holds", "what", "ms", "goal");
    for row in rows {
        let goal = row.goal.map_or_else(String::new, |goal| format!("< {goal}"));
        let holds = row.holds.map_or("", |holds| if holds { "yes" } else { "NO" });
        println!("{:<55} {:>9.1}  {goal:>8}  {holds}", row.name, row.value);
    }
    let folder = Path::new("target/bench");
    fs::create_dir_all(folder).map_err(LabError::io("target/bench"))?;
    let json = serde_json::to_vec_pretty(rows).map_err(fail)?;
    fs::write(folder.join("loop.json"), json).map_err(LabError::io("target/bench/loop.json"))
}

fn name(text: &str) -> Result<Name, LabError> {
    text.parse().map_err(fail)
}

fn fail(error: impl std::fmt::Display) -> LabError {
    LabError::io("the benchmark")(std::io::Error::other(error.to_string()))
}
