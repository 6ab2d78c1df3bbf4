//! What a benchmark found: a table for people, JSON for comparison.

use std::{fs, path::Path};

use brokkr_tests::lab::LabError;
use serde::Serialize;

/// One number, with the goal that it should not exceed.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    name: String,
    value: f64,
    unit: &'static str,
    goal: Option<f64>,
    holds: Option<bool>,
}

impl Row {
    pub(crate) fn new(name: impl Into<String>, value: f64, unit: &'static str, goal: Option<f64>) -> Self {
        Self { name: name.into(), value, unit, goal, holds: goal.map(|goal| value <= goal) }
    }
}

/// The value that this part of them does not exceed.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "an index among some thousand values"
)]
pub(crate) fn percentile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = ((sorted.len() as f64 * part).ceil() as usize).saturating_sub(1);
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

/// Prints the table and writes `target/bench/{file}`.
pub(crate) fn write(rows: &[Row], file: &str) -> Result<(), LabError> {
    println!("\n{:<72} {:>10} {:<12} {:>8}  holds", "what", "value", "unit", "goal");
    for row in rows {
        let goal = row.goal.map_or_else(String::new, |goal| format!("<= {goal}"));
        let holds = row.holds.map_or("", |holds| if holds { "yes" } else { "NO" });
        println!("{:<72} {:>10.2} {:<12} {goal:>8}  {holds}", row.name, row.value, row.unit);
    }
    let folder = Path::new("target/bench");
    fs::create_dir_all(folder).map_err(LabError::io("target/bench"))?;
    let json = serde_json::to_vec_pretty(rows).map_err(fail)?;
    fs::write(folder.join(file), json).map_err(LabError::io(format!("target/bench/{file}")))
}

pub(crate) fn fail(error: impl std::fmt::Display) -> LabError {
    LabError::io("the benchmark")(std::io::Error::other(error.to_string()))
}
