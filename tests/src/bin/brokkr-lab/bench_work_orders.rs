//! `make bench-work-orders`: claims of work orders per second with a full table, and how long an order waits for an agent that waits for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use brokkr_api::{
    LabelSelector, Labels, Name, TargetSelector, WorkOrderId,
    agents::CreateAgent,
    client::{Client, FreeHands, Polled},
    work_orders::{ClaimWork, CreateWorkOrder, JobWork, ReportWork, Work, WorkKind, WorkOutcome},
};
use brokkr_tests::{
    fleet::{Broker, Engine},
    lab::LabError,
};
use clap::Args;
use serde_json::json;
use tokio::task::JoinSet;

use crate::bench_table::{Row, fail, percentile, write};

/// Agents that claim side by side.
const AGENTS: usize = 16;
/// Orders that are waited for, one after the other.
const ORDERS: usize = 200;
const GOAL_MS: f64 = 50.0;

/// How much to measure, and how long.
#[derive(Debug, Clone, Args)]
pub(crate) struct Plan {
    /// Orders in the table.
    #[arg(long, default_value_t = 100_000)]
    orders: u32,
    /// Seconds of claims.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Only this engine: `sqlite` or `postgresql`.
    #[arg(long)]
    engine: Option<String>,
}

const UNHINDERED: [(&str, &str); 2] =
    [("BROKKR__LIMITS__REQUESTS_PER_SECOND", "0"), ("BROKKR__LIMITS__AGENT_REQUESTS_PER_SECOND", "0")];

pub(crate) async fn run(plan: &Plan) -> Result<(), LabError> {
    let mut rows = Vec::new();
    for (engine, name, goal) in [(Engine::Sqlite, "sqlite", 150.0), (Engine::Postgres, "postgresql", 500.0)] {
        if plan.engine.as_deref().is_none_or(|wanted| wanted == name) {
            on(engine, name, goal, plan, &mut rows).await?;
        }
    }
    write(&rows, "work-orders.json")
}

async fn on(engine: Engine, name: &str, goal: f64, plan: &Plan, rows: &mut Vec<Row>) -> Result<(), LabError> {
    let broker = Broker::start(engine, &UNHINDERED).await?;
    let mut agents = Vec::new();
    for number in 0..AGENTS {
        agents.push(agent(&broker, number).await?);
    }
    println!("{name}: filling the table with {} orders", plan.orders);
    fill(&broker, engine, plan.orders).await?;
    println!("{name}: claims");
    let claims = claims(&agents, Duration::from_secs(plan.seconds)).await?;
    // The table says what does not exceed its goal: of a rate it is the time that each claim has.
    rows.push(Row::new(format!("{name}: claims per second, {} orders in the table", plan.orders), claims, "1/s", None));
    rows.push(Row::new(format!("{name}: time for each claim"), 1_000.0 / claims, "ms", Some(1_000.0 / goal)));
    println!("{name}: waits");
    let waits = waits(&broker).await?;
    for part in [0.5, 0.99] {
        let goal = (part < 0.9).then_some(GOAL_MS);
        rows.push(Row::new(format!("{name}: queued to claimed, p{:.0}", part * 100.0), percentile(&waits, part), "ms", goal));
    }
    Ok(())
}

/// An agent for each kind of order: those of the full table, and those that are waited for.
async fn agent(broker: &Broker, number: usize) -> Result<Client, LabError> {
    let name: Name = format!("bench-{number}").parse().map_err(fail)?;
    let labels = labels("bulk", "yes")?;
    let request = CreateAgent { name: name.clone(), cluster: name, labels };
    Ok(broker.client(&broker.admin().create_agent(&request).await.map_err(fail)?.secret))
}

fn labels(key: &str, value: &str) -> Result<Labels, LabError> {
    Labels::try_from(std::collections::BTreeMap::from([(key.to_owned(), value.to_owned())])).map_err(fail)
}

fn order(targets: &TargetSelector) -> Result<CreateWorkOrder, LabError> {
    let manifest = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "bench", "namespace": "default"},
        "spec": {"template": {"spec": {"containers": [{"name": "main", "image": "example/image:1"}]}}}});
    let request = json!({"name": "bench", "targets": targets, "work": Work::Job(JobWork { manifest })});
    serde_json::from_value(request).map_err(fail)
}

fn bulk() -> Result<TargetSelector, LabError> {
    let labels = LabelSelector { match_labels: labels("bulk", "yes")?, ..LabelSelector::default() };
    Ok(TargetSelector { labels: Some(labels), names: Vec::new() })
}

/// One order over the API, and its copies in the database: half of them wait, half of them are over.
async fn fill(broker: &Broker, engine: Engine, orders: u32) -> Result<(), LabError> {
    broker.admin().create_work_order(&order(&bulk()?)?, None).await.map_err(fail)?;
    let numbers = match engine {
        Engine::Sqlite => format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {orders})"),
        Engine::Postgres => format!("WITH n(i) AS (SELECT generate_series(1, {orders}))"),
    };
    let id = match engine {
        Engine::Sqlite => "substr(o.id, 1, 24) || printf('%012x', n.i)",
        Engine::Postgres => "substr(o.id, 1, 24) || lpad(to_hex(n.i), 12, '0')",
    };
    let columns = "name, kind, queue_id, terms, work, digest, priority, row_version, attempts, attempts_left, ready_at, token, created_by, created_at";
    let copied = columns.split(", ").map(|column| format!("o.{column}")).collect::<Vec<_>>().join(", ");
    let copy = format!(
        "{numbers} INSERT INTO work_orders (id, {columns}, state, finished_at)
         SELECT {id}, {copied}, CASE n.i % 2 WHEN 0 THEN 'queued' ELSE 'succeeded' END, CASE n.i % 2 WHEN 0 THEN NULL ELSE o.created_at END
         FROM n JOIN (SELECT * FROM work_orders LIMIT 1) o ON 1 = 1"
    );
    let Some(file) = broker.database.strip_prefix("sqlite:") else { return broker.query(&copy).map(drop) };
    let output = std::process::Command::new("sqlite3").args(["-cmd", ".timeout 60000", file, &copy]).output();
    let output = output.map_err(LabError::io("sqlite3 (scripts/setup.sh installs it)"))?;
    if output.status.success() { Ok(()) } else { Err(fail(String::from_utf8_lossy(&output.stderr))) }
}

/// Claims per second of agents that do nothing else.
async fn claims(agents: &[Client], time: Duration) -> Result<f64, LabError> {
    let (over, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let mut claimers = JoinSet::new();
    let began = Instant::now();
    for agent in agents {
        let (agent, over, count) = (agent.clone(), Arc::clone(&over), Arc::clone(&count));
        claimers.spawn(async move {
            let claim = ClaimWork { kinds: WorkKind::ALL.to_vec(), resume: false };
            while !over.load(Ordering::Relaxed) {
                let claimed = agent.claim_work(&claim).await.map_err(fail)?;
                if claimed.orders.is_empty() {
                    return Err(fail("there are not enough orders for so many seconds: name more with --orders"));
                }
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
    }
    tokio::time::sleep(time).await;
    over.store(true, Ordering::Relaxed);
    while let Some(claimer) = claimers.join_next().await {
        claimer.map_err(fail)??;
    }
    Ok(f64::from(count.load(Ordering::Relaxed)) / began.elapsed().as_secs_f64())
}

/// Milliseconds from the acceptance of an order until an agent has it that waits for one, by the broker's clock.
async fn waits(broker: &Broker) -> Result<Vec<f64>, LabError> {
    let admin = broker.admin();
    // Agents that nothing of the full table is for.
    let name: Name = "waits".parse().map_err(fail)?;
    let request = CreateAgent { name: name.clone(), cluster: name.clone(), labels: Labels::default() };
    let waiting = broker.client(&admin.create_agent(&request).await.map_err(fail)?.secret);
    let targets = TargetSelector { labels: None, names: vec![name] };
    let mut millis = Vec::with_capacity(ORDERS);
    let Polled::Changed { etag, .. } = waiting.desired_state(None, Duration::ZERO).await.map_err(fail)? else {
        return Err(fail("a first poll brings something"));
    };
    for _ in 0..ORDERS {
        let poll = waiting.desired_state_or_work(
            Some(&etag),
            Duration::from_secs(30),
            FreeHands { work_orders: Some(1), ..FreeHands::default() },
        );
        let made = async {
            // The poll is parked by then.
            tokio::time::sleep(Duration::from_millis(20)).await;
            admin.create_work_order(&order(&targets)?, None).await.map_err(fail)
        };
        let (polled, made) = tokio::join!(poll, made);
        let told = polled.map_err(fail)?.work;
        let id: WorkOrderId = made?.id;
        let claim = ClaimWork { kinds: WorkKind::ALL.to_vec(), resume: false };
        let claimed = waiting.claim_work(&claim).await.map_err(fail)?;
        let order =
            claimed.orders.first().filter(|order| told && order.id == id).ok_or_else(|| fail("the order is not announced"))?;
        millis.push(order.claimed_at.since(order.queued_at).as_secs_f64() * 1_000.0);
        let report = |outcome| ReportWork {
            id,
            token: order.token,
            outcome,
            reason: None,
            message: None,
            retry: false,
            object: None,
            log: None,
        };
        for outcome in [WorkOutcome::Started, WorkOutcome::Succeeded] {
            waiting.report_work(&report(outcome)).await.map_err(fail)?;
        }
    }
    Ok(millis)
}
