//! What a process holds in memory, as the operating system counts it.

use std::fs;

use brokkr_tests::lab::LabError;

use crate::bench_table::fail;

/// A line of `/proc/PID/status` (`VmRSS`, `VmHWM`), in kB.
pub(crate) fn memory_kb(pid: u32, field: &str) -> Result<f64, LabError> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(LabError::io("the memory of a process"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).ok_or_else(|| fail(format!("no {field}")))
}
