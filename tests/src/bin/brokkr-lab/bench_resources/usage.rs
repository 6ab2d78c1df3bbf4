//! What a process has used, as `/proc` tells.

use std::{fs, time::Duration, time::Instant};

use brokkr_tests::{lab::LabError, process::Process};

use crate::{bench_table::fail, memory::memory_kb};

/// CPU time of a process over a while.
pub(super) struct Usage {
    pid: u32,
    cpu: Duration,
    began: Instant,
}

impl Usage {
    pub(super) fn of(process: &Process) -> Result<Self, LabError> {
        let pid = process.pid().ok_or_else(|| fail("the process has ended"))?;
        Ok(Self { pid, cpu: cpu(pid)?, began: Instant::now() })
    }

    /// CPU time since then.
    pub(super) fn spent(&self) -> Result<Duration, LabError> {
        Ok(cpu(self.pid)?.saturating_sub(self.cpu))
    }

    /// Thousandths of a core, as Kubernetes counts them.
    pub(super) fn millicores(&self) -> Result<f64, LabError> {
        Ok(self.spent()?.as_secs_f64() / self.began.elapsed().as_secs_f64() * 1_000.0)
    }
}

/// A line of `/proc/PID/status` (`VmRSS`, `VmHWM`), in MB.
pub(super) fn memory_mb(process: &Process, field: &str) -> Result<f64, LabError> {
    Ok(memory_kb(process.pid().ok_or_else(|| fail("the process has ended"))?, field)? / 1_024.0)
}

/// User and system time of all threads, those that have ended too.
fn cpu(pid: u32) -> Result<Duration, LabError> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(LabError::io("the CPU time of a process"))?;
    let ticks = ticks(&stat).ok_or_else(|| fail(format!("no CPU time in {stat}")))?;
    Ok(Duration::from_secs_f64(ticks / TICKS_PER_SECOND))
}

/// Linux has told programs so on every architecture for decades, whatever its own clock does.
const TICKS_PER_SECOND: f64 = 100.0;

/// The fields `utime` and `stime`; the name before them may hold anything.
fn ticks(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11).map(str::parse::<f64>);
    Some(fields.next()?.ok()? + fields.next()?.ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_found_behind_any_name() {
        assert_eq!(ticks("7 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 25 0 0 20"), Some(175.0));
        assert_eq!(ticks("7 (a) S 1 2"), None);
    }
}
