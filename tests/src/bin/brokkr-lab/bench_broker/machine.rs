//! What the operating system and the broker's own metrics say about processes.

use std::{collections::HashMap, fs, time::Instant};

use brokkr_tests::{
    fleet::{Broker, Engine},
    http::client,
    lab::LabError,
    postgres::Postgres,
};

use crate::{bench_table::fail, memory::memory_kb};

/// `/proc` counts CPU time in hundredths of a second, on every architecture.
const TICK_MS: f64 = 10.0;

/// CPU time, statements and the clock at one moment.
pub(crate) struct Moment {
    at: Instant,
    cpu_ms: f64,
    statements: f64,
}

/// What happened between two moments.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Between {
    pub(crate) seconds: f64,
    pub(crate) cpu_ms: f64,
    pub(crate) statements: f64,
}

impl Moment {
    pub(crate) async fn of(broker: &Broker, engine: Engine) -> Result<Self, LabError> {
        let statements = statements(broker).await?;
        Ok(Self { at: Instant::now(), cpu_ms: cpu_ms(broker, engine)?, statements })
    }

    pub(crate) async fn until_now(&self, broker: &Broker, engine: Engine) -> Result<Between, LabError> {
        let now = Self::of(broker, engine).await?;
        Ok(Between {
            seconds: (now.at - self.at).as_secs_f64(),
            cpu_ms: now.cpu_ms - self.cpu_ms,
            statements: now.statements - self.statements,
        })
    }
}

/// Statements that the broker has executed.
pub(crate) async fn statements(broker: &Broker) -> Result<f64, LabError> {
    let answer = client()?.get(format!("{}/metrics", broker.base)).send().await.map_err(fail)?;
    let text = answer.text().await.map_err(fail)?;
    let counts = text.lines().filter(|line| line.starts_with("brokkr_database_queries_total{"));
    Ok(counts.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}

/// Resident memory of the broker in kB.
pub(crate) fn resident_kb(broker: &Broker) -> Result<f64, LabError> {
    let pid = broker.process.pid().ok_or_else(|| fail("the broker has ended"))?;
    memory_kb(pid, "VmRSS")
}

/// CPU time of the broker, and of PostgreSQL with all its children where that is the engine.
fn cpu_ms(broker: &Broker, engine: Engine) -> Result<f64, LabError> {
    let pid = broker.process.pid().ok_or_else(|| fail("the broker has ended"))?;
    let processes = processes()?;
    let server = match engine {
        Engine::Sqlite => None,
        Engine::Postgres => Postgres::shared().description().server,
    };
    let counted = processes
        .iter()
        .filter(|(of, process)| **of == pid || server.is_some_and(|server| **of == server || process.parent == server));
    Ok(counted.map(|(_, process)| process.cpu_ms).sum())
}

struct Found {
    parent: u32,
    cpu_ms: f64,
}

/// Every process, with its own CPU time and that of its children that have ended.
fn processes() -> Result<HashMap<u32, Found>, LabError> {
    let entries = fs::read_dir("/proc").map_err(LabError::io("/proc"))?;
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    // One that ends while it is being read is no longer of interest.
    Ok(pids.filter_map(|pid| Some((pid, found(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?))).collect())
}

fn found(stat: &str) -> Option<Found> {
    // The name in parentheses may hold anything; numbers begin behind the last one.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let ticks =
        |range: std::ops::Range<usize>| fields.get(range)?.iter().map(|field| field.parse::<f64>().ok()).sum::<Option<f64>>();
    Some(Found { parent: fields.get(1)?.parse().ok()?, cpu_ms: ticks(11..15)? * TICK_MS })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_a_name_with_spaces_and_parentheses() {
        let found = found("7 (a) b) S 3 7 7 0 -1 0 0 0 0 0 1 2 3 4 20 0 1 0 5").unwrap();
        assert_eq!((found.parent, found.cpu_ms), (3, 100.0));
    }
}
