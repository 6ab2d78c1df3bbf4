//! How much is traced, and the rounds in which that takes turns.

use brokkr_api::{
    Name, TargetSelector,
    client::Client,
    page::PageQuery,
    tracing::{SetTracing, TraceSettings},
};
use brokkr_tests::{
    fleet::LIMIT,
    lab::{LabError, until},
};

use super::{
    effort::Effort,
    statistics::{Estimate, estimate},
};
use crate::bench_table::{Row, fail};

/// How much is traced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Off,
    /// 10 % of everything, 1 % of polls.
    Tenth,
    All,
}

impl Mode {
    /// What is compared with off. Off itself differs by the error of the measurement.
    pub(super) const EACH: [Self; 3] = [Self::Off, Self::Tenth, Self::All];

    /// `[telemetry]` of a process that starts without tracing; whether it traces is switched while it runs.
    pub(super) fn settings(self, endpoint: &str) -> Vec<(&'static str, String)> {
        let (rate, poll) = match self {
            Self::Off | Self::Tenth => ("0.1", "0.01"),
            Self::All => ("1.0", "1.0"),
        };
        vec![
            ("BROKKR__TELEMETRY__ENABLED", "false".to_owned()),
            ("BROKKR__TELEMETRY__ENDPOINT", endpoint.to_owned()),
            ("BROKKR__TELEMETRY__SAMPLING_RATE", rate.to_owned()),
            ("BROKKR__TELEMETRY__RATES__POLL", poll.to_owned()),
            // A usual queue would drop most of what a load makes that never pauses, and dropping is cheap.
            ("BROKKR__TELEMETRY__BATCH__QUEUE_SIZE", "200000".to_owned()),
            ("BROKKR__TELEMETRY__BATCH__DELAY", "500ms".to_owned()),
        ]
    }

    /// Whether a rollout of this round is sampled: exactly as many as the share says, because each is sampled as a whole.
    pub(super) fn samples(self, round: usize) -> bool {
        match self {
            Self::Off => false,
            Self::Tenth => round % 10 == 4,
            Self::All => true,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Off => "off again",
            Self::Tenth => "10 %, polls 1 %",
            Self::All => "100 %",
        }
    }

    /// Per cent more than off, at most.
    fn goal(self) -> Option<f64> {
        match self {
            Self::Off => None,
            Self::Tenth => Some(1.0),
            Self::All => Some(3.0),
        }
    }
}

/// What a process spent in one round without tracing, and with it.
type Pair = (Effort, Effort);

/// Measures the process of every mode in each round, once without tracing and once with it, each round in another order: a process is
/// compared with itself, because two of the same settings differ by more than tracing costs.
pub(super) async fn compare(
    what: &str,
    rounds: usize,
    mut measure: impl AsyncFnMut(usize, Mode, bool) -> Result<Effort, LabError>,
) -> Result<Vec<Row>, LabError> {
    let mut found: [Vec<Pair>; Mode::EACH.len()] = Default::default();
    for round in 0..rounds {
        for turn in 0..Mode::EACH.len() {
            let index = (round + turn) % Mode::EACH.len();
            let mode = Mode::EACH[index];
            let first = measure(round, mode, round % 2 == 1).await?;
            let second = measure(round, mode, round % 2 == 0).await?;
            found[index].push(if round % 2 == 1 { (second, first) } else { (first, second) });
        }
    }
    let off: Vec<f64> = found.iter().flatten().map(|(off, _)| off.cpu_ms).collect();
    let mut rows = vec![Row::new(format!("{what}, tracing off: CPU time, mean"), estimate(&off).mean, "ms", None)];
    for (mode, pairs) in Mode::EACH.into_iter().zip(&found) {
        let more = |number: fn(&Effort) -> Option<f64>| -> Vec<f64> {
            pairs.iter().filter_map(|(off, on)| Some((number(on)? / number(off)? - 1.0) * 100.0)).collect()
        };
        rows.extend(of(what, mode, "CPU time", &estimate(&more(|effort| Some(effort.cpu_ms)))));
        let instructions = more(|effort| effort.instructions);
        if !instructions.is_empty() {
            rows.extend(of(what, mode, "instructions", &estimate(&instructions)));
        }
    }
    if found.iter().flatten().all(|(off, _)| off.instructions.is_none()) {
        println!("{what}: this machine does not count instructions");
    }
    Ok(rows)
}

/// Switches tracing of the broker, or of one agent and not the broker.
pub(super) async fn switch(admin: &Client, agent: Option<&Name>, on: bool) -> Result<(), LabError> {
    let settings = TraceSettings { enabled: Some(on), ..TraceSettings::default() };
    let agents = TargetSelector { labels: None, names: agent.into_iter().cloned().collect() };
    let request = SetTracing { settings, broker: agent.is_none(), agents: Some(agents) };
    let set = admin.set_tracing(&request).await.map_err(fail)?;
    until("tracing to be switched", LIMIT, || async {
        let follows = match agent {
            None => admin.tracing().await.map_err(|error| error.to_string())?.pipeline.enabled == on,
            Some(agent) => {
                let told = admin.tracing_of_agents(&PageQuery::default()).await.map_err(|error| error.to_string())?.items;
                told.iter().any(|one| one.agent == *agent && one.revision >= set.revision)
            }
        };
        if follows { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await
}

fn of(what: &str, mode: Mode, number: &str, estimate: &Estimate) -> [Row; 3] {
    let name = format!("{what}, {}: {number} more than off", mode.name());
    [
        Row::new(name.clone(), estimate.mean, "%", mode.goal()),
        Row::new(format!("{name}, from"), estimate.low, "%", None),
        Row::new(format!("{name}, to"), estimate.high, "%", None),
    ]
}
