//! `promtool`: what Prometheus itself thinks of rules and metrics.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use super::installed;
use crate::lab::LabError;

/// Complaints about the text of `/metrics`, one line each.
///
/// # Errors
/// When promtool cannot be run.
pub fn check_metrics(exposition: &str) -> Result<Vec<String>, LabError> {
    let mut command = Command::new(installed("promtool")?);
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(LabError::io("promtool"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(exposition.as_bytes()).map_err(LabError::io("promtool's input"))?;
    }
    let output = child.wait_with_output().map_err(LabError::io("promtool"))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    let complaints: Vec<String> = said.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect();
    if complaints.is_empty() && !output.status.success() {
        return Err(LabError::Refused(format!("promtool ended with {}", output.status)));
    }
    Ok(complaints)
}

/// Whether a configuration of Prometheus is one, whatever files it refers to.
///
/// # Errors
/// What promtool says against it.
pub fn check_config(file: &Path) -> Result<(), LabError> {
    run(&["check", "config", "--syntax-only"], file)
}

/// Whether a file of rules is one.
///
/// # Errors
/// What promtool says against it.
pub fn check_rules(file: &Path) -> Result<(), LabError> {
    run(&["check", "rules", "--lint-fatal"], file)
}

/// Runs the unit tests of a file.
///
/// # Errors
/// What promtool says of those that fail.
pub fn test_rules(file: &Path) -> Result<(), LabError> {
    run(&["test", "rules"], file)
}

fn run(args: &[&str], file: &Path) -> Result<(), LabError> {
    let output = Command::new(installed("promtool")?).args(args).arg(file).output().map_err(LabError::io("promtool"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Err(LabError::Refused(format!("promtool {}: {said}", args.join(" "))))
}
