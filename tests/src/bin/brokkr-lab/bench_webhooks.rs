//! `make bench-webhooks`: a thousand receivers of which a hundred hang, and a million deliveries that wait. The receivers are in this
//! process; what broker and PostgreSQL spend is counted apart from it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use brokkr_api::{
    Labels, Name, Timestamp,
    agents::{CreateAgent, UpdateAgent},
    webhooks::WebhookSettings,
};
use brokkr_tests::{
    fleet::{Broker, Engine, borrowed},
    lab::LabError,
    receiver::{Received, Receiver},
};
use clap::Args;
use serde_json::json;
use tokio::time::sleep;

use crate::{
    bench_broker::machine::Moment,
    bench_table::{Row, fail, percentile, write},
};

/// How much to measure, and how long.
#[derive(Debug, Clone, Args)]
pub(crate) struct Plan {
    /// Webhooks; each change is told to all of them.
    #[arg(long, default_value_t = 1_000)]
    webhooks: u32,
    /// Of them those whose receivers hang.
    #[arg(long, default_value_t = 100)]
    hanging: u32,
    /// Changes, one a second.
    #[arg(long, default_value_t = 30)]
    changes: u32,
    /// Deliveries that wait in the last part.
    #[arg(long, default_value_t = 1_000_000)]
    waiting: u32,
}

/// Longest wait for what is still under way after the last change.
const REST: Duration = Duration::from_secs(20);

struct Bench {
    broker: Broker,
    receiver: Receiver,
    changes: u32,
}

/// What one part found.
struct Found {
    lags: Vec<f64>,
    bytes: f64,
    per_second: f64,
    cpu_ms: f64,
    statements: f64,
}

pub(crate) async fn run(plan: &Plan) -> Result<(), LabError> {
    let receiver = Receiver::start().await?;
    let mut settings = receiver.settings(Engine::Postgres);
    settings.push(("BROKKR__LIMITS__REQUESTS_PER_SECOND", "0".to_owned()));
    let broker = Broker::start(Engine::Postgres, &borrowed(&settings)).await?;
    let create = CreateAgent { name: agent()?, cluster: agent()?, labels: labels(0)? };
    broker.admin().create_agent(&create).await.map_err(fail)?;
    let mut bench = Bench { broker, receiver, changes: 0 };
    let mut rows = Vec::new();

    println!("{} webhooks that answer", plan.webhooks);
    bench.webhooks(0..plan.webhooks - plan.hanging, "/ok").await?;
    bench.webhooks(plan.webhooks - plan.hanging..plan.webhooks, "/ok").await?;
    let all = bench.part(plan, plan.webhooks).await?;
    report(&mut rows, "all answer", &all);
    // At a thousand a second two cores have two milliseconds for each.
    rows.push(Row::new("all answer: CPU of broker and PostgreSQL for each delivery", all.cpu_ms, "ms", Some(2.0)));

    println!("{} of them hang", plan.hanging);
    bench.hang(plan).await?;
    let some = bench.part(plan, plan.webhooks - plan.hanging).await?;
    report(&mut rows, "some hang", &some);

    println!("{} deliveries wait", plan.waiting);
    fill(&bench.broker, plan.waiting)?;
    let full = bench.part(plan, plan.webhooks - plan.hanging).await?;
    report(&mut rows, &format!("some hang, {} wait", plan.waiting), &full);
    let grown = full.cpu_ms / some.cpu_ms;
    rows.push(Row::new("CPU for each delivery with a full table, as a multiple", grown, "", Some(1.5)));
    write(&rows, "webhooks.json")
}

fn report(rows: &mut Vec<Row>, name: &str, found: &Found) {
    for part in [0.5, 0.99] {
        let goal = (part > 0.9).then_some(1_000.0);
        rows.push(Row::new(
            format!("{name}: event to receiver, p{:.0}", part * 100.0),
            percentile(&found.lags, part),
            "ms",
            goal,
        ));
    }
    rows.push(Row::new(format!("{name}: deliveries per second"), found.per_second, "1/s", None));
    rows.push(Row::new(format!("{name}: size of a message"), found.bytes, "bytes", None));
    rows.push(Row::new(format!("{name}: statements for each delivery"), found.statements, "", None));
}

impl Bench {
    async fn webhooks(&self, numbers: std::ops::Range<u32>, path: &str) -> Result<(), LabError> {
        let admin = self.broker.admin();
        for number in numbers {
            let name = format!("bench-{number:05}").parse().map_err(fail)?;
            let of_agents = WebhookSettings { events: vec!["agent.updated".to_owned()], ..WebhookSettings::default() };
            admin.create_webhook(&self.receiver.webhook(name, path, of_agents)).await.map_err(fail)?;
        }
        Ok(())
    }

    /// Lets the last of them hang.
    async fn hang(&self, plan: &Plan) -> Result<(), LabError> {
        let admin = self.broker.admin();
        for number in plan.webhooks - plan.hanging..plan.webhooks {
            let name: Name = format!("bench-{number:05}").parse().map_err(fail)?;
            let update = json!({"url": self.receiver.url("/hang"), "state": "enabled"});
            admin.update_webhook(&name, &serde_json::from_value(update).map_err(fail)?).await.map_err(fail)?;
        }
        Ok(())
    }

    /// One change a second, each told to so many that answer.
    async fn part(&mut self, plan: &Plan, answering: u32) -> Result<Found, LabError> {
        let admin = self.broker.admin();
        // Connections are made, and bad receivers known for what they are.
        for warm in 0..2 {
            self.change(&admin).await?;
            sleep(Duration::from_secs(2 + warm)).await;
        }
        self.receiver.drain();
        let before = Moment::of(&self.broker, Engine::Postgres).await?;
        let (began, wanted) = (Instant::now(), (plan.changes * answering) as usize);
        let mut arrived = Vec::with_capacity(wanted);
        for second in 1..=plan.changes {
            self.change(&admin).await?;
            sleep(Duration::from_secs(second.into()).saturating_sub(began.elapsed())).await;
            arrived.extend(self.take());
        }
        let mut last = Instant::now();
        while arrived.len() < wanted && last.elapsed() < REST {
            let more = self.take();
            if !more.is_empty() {
                last = Instant::now();
            }
            arrived.extend(more);
            sleep(Duration::from_millis(50)).await;
        }
        let between = before.until_now(&self.broker, Engine::Postgres).await?;
        if arrived.len() < wanted {
            return Err(fail(format!("{} of {wanted} messages have arrived", arrived.len())));
        }
        let count = f64::from(u32::try_from(arrived.len()).map_err(fail)?);
        let bytes: usize = arrived.iter().map(|one| one.body.len()).sum();
        let lags = arrived.iter().map(lag).collect::<Option<Vec<_>>>().ok_or_else(|| fail("a message without its time"))?;
        Ok(Found {
            lags,
            bytes: f64::from(u32::try_from(bytes).map_err(fail)?) / count,
            per_second: count / (between.seconds - last.elapsed().as_secs_f64()),
            cpu_ms: between.cpu_ms / count,
            statements: between.statements / count,
        })
    }

    async fn change(&mut self, admin: &brokkr_api::client::Client) -> Result<(), LabError> {
        self.changes += 1;
        let labels = Some(labels(self.changes)?);
        admin.update_agent(&agent()?, &UpdateAgent { labels }).await.map(drop).map_err(fail)
    }

    fn take(&self) -> Vec<Received> {
        self.receiver.drain().into_iter().filter(|one| one.path == "/ok").collect()
    }
}

/// The agent whose labels change.
fn agent() -> Result<Name, LabError> {
    "bench".parse().map_err(fail)
}

/// So many that the message that tells them has 1 kB.
fn labels(number: u32) -> Result<Labels, LabError> {
    let mut labels: BTreeMap<_, _> = (0..11).map(|team| (format!("team-{team:02}"), "a".repeat(60))).collect();
    labels.insert("number".to_owned(), number.to_string());
    Labels::try_from(labels).map_err(fail)
}

/// Milliseconds from the event until it arrived, on one machine's clock.
#[expect(clippy::cast_precision_loss, reason = "microseconds of a benchmark")]
fn lag(received: &Received) -> Option<f64> {
    let told: Timestamp = serde_json::from_value(received.json()["timestamp"].clone()).ok()?;
    Some((received.at - told.as_micros()) as f64 / 1_000.0)
}

/// Deliveries that wait: those of receivers that hang are due, the others' in an hour.
fn fill(broker: &Broker, waiting: u32) -> Result<(), LabError> {
    let hour = "(extract(epoch FROM now()) * 1000000)::bigint";
    broker.query(&format!(
        "INSERT INTO events (id, position, type, data, created_at)
         SELECT gen_random_uuid()::text, 1000000000 + n, 'bench.filled', '{{}}', {hour} FROM generate_series(1, GREATEST({waiting} / (SELECT count(*) FROM webhooks), 1)) n"
    ))?;
    broker.query(&format!(
        "INSERT INTO outbox (id, event_id, destination, position, state, attempts, next_attempt_at, created_at)
         SELECT gen_random_uuid()::text, e.id, w.id, e.position, 'pending', 0, CASE WHEN w.failing_since IS NULL THEN {hour} + 3600000000 ELSE {hour} END, {hour}
         FROM events e CROSS JOIN webhooks w WHERE e.type = 'bench.filled'"
    ))?;
    broker.query("ANALYZE outbox").map(drop)
}
