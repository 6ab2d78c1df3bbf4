use super::{Death, LabError, bound, spawn};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    ffi::OsString,
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// How a program is started, the first time and after a stop.
#[derive(Debug, Clone)]
pub struct Spec {
    /// What it is called in messages and commands.
    pub name: &'static str,
    /// The executable.
    pub path: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Where its output goes; further starts append.
    pub log: PathBuf,
    /// Numeric user and group to run as, when this process is root and the program refuses root.
    pub user: Option<(u32, u32)>,
    /// The signal it gets when this process dies.
    pub death: Death,
}

/// A program of a lab, running or stopped; killed when dropped.
#[derive(Debug)]
pub struct Program {
    spec: Spec,
    child: Option<Child>,
}

impl Program {
    /// Starts the program; that it runs says nothing about its being ready.
    ///
    /// # Errors
    /// When it cannot be executed.
    pub fn start(spec: Spec) -> Result<Self, LabError> {
        let mut program = Self { spec, child: None };
        program.restart()?;
        Ok(program)
    }

    /// Starts the program again, unless it runs.
    ///
    /// # Errors
    /// When it cannot be executed.
    pub fn restart(&mut self) -> Result<(), LabError> {
        if self.child.is_some() {
            return Ok(());
        }
        let Spec { name, path, args, log, user, death } = &self.spec;
        let failed = || LabError::io(format!("start {name}"));
        let out = File::options().create(true).append(true).open(log).map_err(failed())?;
        let mut command = bound(path, *death);
        command.args(args).stdin(Stdio::null()).stderr(out.try_clone().map_err(failed())?).stdout(out);
        if let Some(parent) = log.parent() {
            command.current_dir(parent);
        }
        if let Some((uid, gid)) = user {
            command.uid(*uid).gid(*gid);
        }
        self.child = Some(spawn(command).map_err(failed())?);
        Ok(())
    }

    /// What the program is called.
    pub fn name(&self) -> &'static str {
        self.spec.name
    }

    /// Its process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Complains when the program ended although nobody stopped it.
    ///
    /// # Errors
    /// [`LabError::Ended`] with the end of its log.
    pub fn check(&mut self) -> Result<(), LabError> {
        let Some(child) = &mut self.child else { return Ok(()) };
        let Some(status) = child.try_wait().map_err(LabError::io(self.spec.name))? else { return Ok(()) };
        self.child = None;
        let Spec { name, log, .. } = &self.spec;
        Err(LabError::Ended { name: (*name).to_owned(), status: status.to_string(), log: log.clone(), tail: tail(log, 25) })
    }

    /// Ends the program at once and returns when the process is gone, so that its ports are free.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only when the process has already been waited for.
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Asks the program to end by a signal, kills it when it does not within `limit`, and returns when it is gone.
    pub async fn stop(&mut self, signal: Signal, limit: Duration) {
        let end = Instant::now() + limit;
        if let Some(pid) = self.pid().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            let _ = kill_process(pid, signal);
        }
        while let Some(child) = &mut self.child {
            match child.try_wait() {
                Ok(None) if Instant::now() < end => sleep(Duration::from_millis(5)).await,
                Ok(None) => self.kill(),
                Ok(Some(_)) | Err(_) => self.child = None,
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last lines of a log file, or why there are none.
pub(crate) fn tail(log: &Path, lines: usize) -> String {
    match fs::read(log) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let all: Vec<&str> = text.lines().collect();
            all[all.len().saturating_sub(lines)..].join("\n")
        }
        Err(error) => format!("(unreadable: {error})"),
    }
}
