//! What a process spends: CPU time, and instructions where the machine counts them.

use std::{collections::HashMap, fs, process::Stdio};

use brokkr_tests::lab::{LabError, on_path};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::bench_table::fail;

/// What was spent between two moments.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effort {
    pub(super) cpu_ms: f64,
    pub(super) instructions: Option<f64>,
}

/// A measurement that has begun.
pub(super) struct Measuring {
    pid: u32,
    before: HashMap<String, f64>,
    counter: Option<Child>,
}

impl Measuring {
    pub(super) fn begin(pid: Option<u32>) -> Result<Self, LabError> {
        let pid = pid.ok_or_else(|| fail("the process has ended"))?;
        let counter = on_path("perf").map(|perf| {
            let mut command = Command::new(perf);
            command.args(["stat", "--field-separator=,", "--event=instructions:u", "--pid", &pid.to_string()]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn()
        });
        let counter = counter.transpose().map_err(LabError::io("perf"))?;
        Ok(Self { pid, before: threads(pid)?, counter })
    }

    pub(super) async fn end(self) -> Result<Effort, LabError> {
        let after = threads(self.pid)?;
        // A thread that is new has spent all of its time since; one that has ended meanwhile was idle for seconds before.
        let spent = after.iter().map(|(thread, now)| now - self.before.get(thread).copied().unwrap_or_default());
        let cpu_ms = spent.sum::<f64>() / 1_000_000.0;
        Ok(Effort { cpu_ms, instructions: instructions(self.counter).await? })
    }
}

/// Nanoseconds of CPU time of each thread.
fn threads(pid: u32) -> Result<HashMap<String, f64>, LabError> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).map_err(LabError::io("the threads of a process"))?;
    let time = |task: fs::DirEntry| {
        // It may end while the others are read.
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        Some((task.file_name().to_string_lossy().into_owned(), text.split(' ').next()?.parse().ok()?))
    };
    Ok(tasks.flatten().filter_map(time).collect())
}

async fn instructions(counter: Option<Child>) -> Result<Option<f64>, LabError> {
    let Some(counter) = counter else { return Ok(None) };
    // Interrupted, it prints; it may have ended by itself where the machine counts nothing.
    if let Some(pid) = counter.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
        let _gone = kill_process(pid, Signal::INT);
    }
    let output = counter.wait_with_output().await.map_err(LabError::io("perf"))?;
    Ok(counted(&String::from_utf8_lossy(&output.stderr)))
}

/// The first field of the event's line; words where it is not counted.
fn counted(output: &str) -> Option<f64> {
    output.lines().find(|line| line.contains("instructions"))?.split(',').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_read_where_they_are_counted() {
        assert_eq!(counted("12345,,instructions:u,100,100.00,,\n"), Some(12_345.0));
        assert_eq!(counted("<not supported>,,instructions:u,0,100.00,,\n"), None);
        assert_eq!(counted("perf: no permission\n"), None);
    }
}
