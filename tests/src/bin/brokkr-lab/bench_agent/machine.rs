//! What the operating system and the API server's audit log say about the agent.

use std::fs;

use brokkr_tests::{control_plane::ControlPlane, fleet::Agent, lab::LabError};
use serde_json::Value;

use crate::bench_table::fail;

/// CPU time of all its threads so far, in milliseconds.
pub(super) fn cpu_ms(agent: &Agent) -> Result<f64, LabError> {
    let pid = agent.process.pid().ok_or_else(|| fail("the agent has ended"))?;
    let mut nanoseconds = 0.0;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).map_err(LabError::io("the agent's threads"))? {
        let file = thread.map_err(LabError::io("a thread"))?.path().join("schedstat");
        // A thread may end while the others are read; threads of the runtime stay.
        let Ok(text) = fs::read_to_string(file) else { continue };
        nanoseconds += text.split(' ').next().and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
    }
    Ok(nanoseconds / 1_000_000.0)
}

/// A line of `/proc/PID/status`, in MB.
pub(super) fn memory_mb(agent: &Agent, field: &str) -> Result<f64, LabError> {
    let pid = agent.process.pid().ok_or_else(|| fail("the agent has ended"))?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(LabError::io("the agent's memory"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kilobytes = line.and_then(|line| line.trim_start_matches(':').trim().split(' ').next()?.parse::<f64>().ok());
    Ok(kilobytes.ok_or_else(|| fail(format!("no {field}")))? / 1_024.0)
}

/// The agent's writes since `from`, and where the log ends now. Its election is no part of its work.
pub(super) fn writes(from: usize) -> Result<(Vec<String>, usize), LabError> {
    let events = ControlPlane::shared().audit_events()?;
    let text = |event: &Value, pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let is_write = |event: &&Value| {
        text(event, "/userAgent").starts_with("brokkr-agent")
            && ["create", "patch", "update", "delete"].contains(&text(event, "/verb").as_str())
            && !text(event, "/requestURI").contains("dryRun=")
            && text(event, "/objectRef/resource") != "leases"
    };
    let said = |event: &Value| format!("{} {}", text(event, "/verb"), text(event, "/requestURI"));
    Ok((events.iter().skip(from).filter(is_write).map(said).collect(), events.len()))
}
