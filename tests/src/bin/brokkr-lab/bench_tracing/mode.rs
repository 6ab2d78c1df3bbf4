//! How much is traced, and the rounds in which that takes turns.

use brokkr_tests::lab::LabError;

use super::{
    effort::Effort,
    statistics::{Estimate, estimate},
};
use crate::bench_table::Row;

/// How much is traced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Off,
    /// The same again: what it differs by is the error of the measurement.
    OffAgain,
    /// 10 % of everything, 1 % of polls.
    Tenth,
    All,
}

impl Mode {
    pub(super) const EACH: [Self; 4] = [Self::Off, Self::OffAgain, Self::Tenth, Self::All];

    /// `[telemetry]` of a process.
    pub(super) fn settings(self, endpoint: &str) -> Vec<(&'static str, String)> {
        let (rate, poll) = match self {
            Self::Off | Self::OffAgain => return vec![("BROKKR__TELEMETRY__ENABLED", "false".to_owned())],
            Self::Tenth => ("0.1", "0.01"),
            Self::All => ("1.0", "1.0"),
        };
        vec![
            ("BROKKR__TELEMETRY__ENABLED", "true".to_owned()),
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
            Self::Off | Self::OffAgain => false,
            Self::Tenth => round % 10 == 4,
            Self::All => true,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::OffAgain => "off again",
            Self::Tenth => "10 %, polls 1 %",
            Self::All => "100 %",
        }
    }

    /// Per cent more than off, at most.
    fn goal(self) -> Option<f64> {
        match self {
            Self::Off | Self::OffAgain => None,
            Self::Tenth => Some(1.0),
            Self::All => Some(3.0),
        }
    }
}

/// Measures every mode once a round, each round in another order, and compares each with off in the same round.
pub(super) async fn compare(
    what: &str,
    rounds: usize,
    mut measure: impl AsyncFnMut(usize, Mode) -> Result<Effort, LabError>,
) -> Result<Vec<Row>, LabError> {
    let count = Mode::EACH.len();
    let mut efforts: Vec<[Option<Effort>; 4]> = Vec::new();
    for round in 0..rounds {
        let mut found = [None; 4];
        for turn in 0..count {
            let index = (round + turn) % count;
            found[index] = Some(measure(round, Mode::EACH[index]).await?);
        }
        efforts.push(found);
    }
    let off: Vec<f64> = efforts.iter().filter_map(|found| Some(found[0]?.cpu_ms)).collect();
    let mut rows = vec![Row::new(format!("{what}, tracing off: CPU time, mean of {rounds}"), estimate(&off).mean, "ms", None)];
    for (index, mode) in Mode::EACH.into_iter().enumerate().skip(1) {
        let more = |number: fn(&Effort) -> Option<f64>| -> Vec<f64> {
            let pair = |found: &[Option<Effort>; 4]| Some((number(&found[index]?)? / number(&found[0]?)? - 1.0) * 100.0);
            efforts.iter().filter_map(pair).collect()
        };
        rows.extend(of(what, mode, "CPU time", &estimate(&more(|effort| Some(effort.cpu_ms)))));
        let instructions = more(|effort| effort.instructions);
        if !instructions.is_empty() {
            rows.extend(of(what, mode, "instructions", &estimate(&instructions)));
        }
    }
    if efforts.iter().flatten().flatten().all(|effort| effort.instructions.is_none()) {
        println!("{what}: this machine does not count instructions");
    }
    Ok(rows)
}

fn of(what: &str, mode: Mode, number: &str, estimate: &Estimate) -> [Row; 3] {
    let name = format!("{what}, {}: {number} more than off", mode.name());
    [
        Row::new(name.clone(), estimate.mean, "%", mode.goal()),
        Row::new(format!("{name}, from"), estimate.low, "%", None),
        Row::new(format!("{name}, to"), estimate.high, "%", None),
    ]
}
