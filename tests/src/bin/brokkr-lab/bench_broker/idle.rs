//! A fleet in which nothing changes: what it costs to keep it waiting.

use std::{process::Command, time::Duration};

use brokkr_tests::{
    fleet::{Broker, Engine, LIMIT},
    lab::{LabError, on_path},
    postgres::Postgres,
};
use tokio::time::sleep;

use super::{
    fleet::{Way, World},
    machine::{Between, Moment, resident_kb},
};
use crate::bench_table::{Row, fail};

const CPU_GOAL: f64 = 0.4;
const MEMORY_GOAL_MB: f64 = 400.0;
const CONNECTION_GOAL_KB: f64 = 30.0;
const TLS_MEMORY_GOAL_MB: f64 = 700.0;
const TLS_CONNECTION_GOAL_KB: f64 = 60.0;
/// How long a broker without a fleet is watched, to know what it does by itself.
const ALONE: Duration = Duration::from_secs(20);
/// Rows of history that one statement writes: on SQLite the broker waits meanwhile.
const BATCH: u32 = 25_000;

/// Measures an idle fleet without and with history.
pub(super) async fn run(world: &mut World, engine: &str, seconds: u64, history: Option<u32>) -> Result<Vec<Row>, LabError> {
    let (memory, connection) = match world.way {
        Way::Plain => (MEMORY_GOAL_MB, CONNECTION_GOAL_KB),
        Way::Tls => (TLS_MEMORY_GOAL_MB, TLS_CONNECTION_GOAL_KB),
    };
    // A broker that did nothing but start: what it had to do for the set-up is not part of the memory of connections.
    world.switch_off().await?;
    world.broker.process.restart(LIMIT).await?;
    world.broker.process.wait_until_ok(&format!("{}/readyz", world.broker.base), LIMIT).await?;
    let alone = watch(&world.broker, world.engine, ALONE).await?;
    let without = resident_kb(&world.broker)?;
    world.simulator.switch(true)?;
    // They come back spread over one wait; within the next one each has been answered, and its presence written soon.
    sleep(Duration::from_secs(world.wait * 2)).await;
    world.settle(0).await?;
    println!("{engine}: {} agents wait, for {seconds} s", world.agents);
    let mut rows = measure(world, engine, "", seconds, &alone).await?;
    let with = resident_kb(&world.broker)?;
    rows.push(Row::new(format!("{engine}: resident memory of the broker"), with / 1_024.0, "MB", Some(memory)));
    let each = (with - without) / f64::from(world.agents);
    rows.push(Row::new(format!("{engine}: memory of an idle connection"), each, "kB", Some(connection)));
    let Some(history) = history else { return Ok(rows) };
    println!("{engine}: the same with {history} rows of history");
    write_history(world, history)?;
    sleep(Duration::from_secs(world.wait)).await;
    rows.extend(measure(world, engine, &format!(", {history} rows of history"), seconds, &alone).await?);
    Ok(rows)
}

async fn watch(broker: &Broker, engine: Engine, time: Duration) -> Result<Between, LabError> {
    let before = Moment::of(broker, engine).await?;
    sleep(time).await;
    before.until_now(broker, engine).await
}

#[expect(clippy::cast_precision_loss, reason = "counts of some hundred thousand")]
async fn measure(world: &World, engine: &str, with: &str, seconds: u64, alone: &Between) -> Result<Vec<Row>, LabError> {
    let before = world.simulator.counts()?;
    let idle = watch(&world.broker, world.engine, Duration::from_secs(seconds)).await?;
    let after = world.simulator.counts()?;
    let polls = (after.unchanged - before.unchanged) as f64;
    let missed = after.missed - before.missed;
    if let Some(trouble) = after.last_trouble.filter(|_| missed > 0) {
        println!("{engine}: the last poll was missed because: {trouble}");
    }
    let expected = f64::from(world.agents) * idle.seconds / world.wait as f64;
    let statements = idle.statements - alone.statements / alone.seconds * idle.seconds;
    let cpu = idle.cpu_ms / (f64::from(world.agents) * idle.seconds / 60.0);
    let row = |what: &str, value: f64, unit, goal| Row::new(format!("{engine}: {what}{with}"), value, unit, goal);
    Ok(vec![
        row("idle, polls answered", polls, "polls", None),
        row("idle, polls fewer than one a wait and agent", (expected * 0.99 - polls).max(0.0), "polls", Some(0.0)),
        row("idle, missed polls", missed as f64, "polls", Some(0.0)),
        row("idle, polls that found something", (after.changed - before.changed) as f64, "polls", Some(0.0)),
        // What is left beyond a broker without a fleet is the flush of presence: two statements a flush, whatever the polls.
        row("idle, statements per 1,000 polls", (statements / polls * 1_000.0).max(0.0), "statements", Some(1.0)),
        row("idle, CPU of broker and database per agent-minute", cpu, "ms", Some(CPU_GOAL)),
    ])
}

/// Writes events as they would be after a year, straight into the table: over the API it would take that year.
fn write_history(world: &World, rows: u32) -> Result<(), LabError> {
    let mut first = 0;
    while first < rows {
        let last = (first + BATCH).min(rows) - 1;
        let columns = "INSERT INTO events (id, position, type, data, created_at) SELECT";
        let newest = "(SELECT max(created_at) FROM events WHERE position IS NULL OR position < 1000000000)";
        match world.engine {
            Engine::Postgres => {
                let sql = format!(
                    "{columns} 'history-' || i, 1000000000 + i, 'deployment.applied', '{{\"agent\":\"sim-0\",\"stack\":\"everyone-0\"}}', {newest}
                     FROM generate_series({first}, {last}) AS i"
                );
                Postgres::shared().query(&world.broker.database, &sql)?;
            }
            Engine::Sqlite => {
                let sql = format!(
                    "PRAGMA busy_timeout = 10000; WITH RECURSIVE numbers(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM numbers WHERE i < {last})
                     {columns} 'history-' || i, 1000000000 + i, 'deployment.applied', '{{\"agent\":\"sim-0\",\"stack\":\"everyone-0\"}}', {newest}
                     FROM numbers"
                );
                sqlite(world.broker.database.trim_start_matches("sqlite:"), &sql)?;
            }
        }
        first = last + 1;
    }
    Ok(())
}

fn sqlite(file: &str, sql: &str) -> Result<(), LabError> {
    let program = on_path("sqlite3")
        .ok_or_else(|| LabError::Missing { name: "sqlite3".to_owned(), hint: "install the Debian package sqlite3".to_owned() })?;
    let output = Command::new(program).args(["-bail", file, sql]).output().map_err(LabError::io("sqlite3"))?;
    if output.status.success() { Ok(()) } else { Err(fail(String::from_utf8_lossy(&output.stderr))) }
}
