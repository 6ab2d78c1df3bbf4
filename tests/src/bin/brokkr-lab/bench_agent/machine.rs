//! What the operating system says about the agent.

use std::fs;

use brokkr_tests::{fleet::Agent, lab::LabError};

use crate::{bench_table::fail, memory::memory_kb};

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
    Ok(memory_kb(pid, field)? / 1_024.0)
}
