//! Our own executables as child processes of a test.

mod output;

pub use output::Output;

use crate::{
    http,
    lab::{Death, LabError, Scratch, bound, built, spawn},
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout_at};

/// Whose lines may hold no secret, whoever starts them. The command line shows some to whoever asks for them.
const DAEMONS: [&str; 2] = ["brokkr-broker", "brokkr-agent"];

/// What to run, and with what.
#[derive(Debug, Clone)]
pub struct Daemon {
    name: String,
    program: PathBuf,
    args: Vec<OsString>,
    vars: BTreeMap<OsString, OsString>,
    directory: Option<PathBuf>,
}

impl Daemon {
    /// An executable of this workspace: `brokkr-broker`, `brokkr-agent` or `brokkr`.
    ///
    /// # Errors
    /// [`LabError::Missing`] when it is not built.
    pub fn new(executable: &str) -> Result<Self, LabError> {
        Ok(Self::at(executable, built(executable)?))
    }

    /// Any executable, with the name it has in messages.
    pub fn at(name: &str, program: PathBuf) -> Self {
        Self { name: name.to_owned(), program, args: Vec::new(), vars: BTreeMap::new(), directory: None }
    }

    /// The name in messages, for a test that runs several of a kind.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable, for instance `BROKKR__SERVER__PORT`.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.vars.insert(name.as_ref().to_owned(), value.as_ref().to_owned());
        self
    }

    /// Where it runs, instead of an empty folder of its own.
    #[must_use]
    pub fn directory(mut self, directory: &Path) -> Self {
        self.directory = Some(directory.to_owned());
        self
    }

    /// Starts the process. It sees the caller's environment without what would configure it: `BROKKR_*`, `OTEL_*`,
    /// `TRACEPARENT`, `TRACESTATE` and `KUBECONFIG`.
    ///
    /// # Errors
    /// When it cannot be executed.
    pub fn start(self) -> Result<Process, LabError> {
        let scratch = Scratch::new("process")?;
        let ours = self.program.file_name().and_then(OsStr::to_str).filter(|name| DAEMONS.contains(name));
        let output = Output::to_file(scratch.path().join("output.log"), ours.map(str::to_owned));
        let work = scratch.path().join("work");
        std::fs::create_dir(&work).map_err(LabError::io("working folder"))?;
        let mut process = Process { daemon: self, work, output, child: None, _scratch: scratch };
        process.start()?;
        Ok(process)
    }
}

/// A running or ended child process. It is killed when dropped, and when this process dies; when the test has failed, its
/// last output is shown.
#[derive(Debug)]
pub struct Process {
    daemon: Daemon,
    child: Option<Child>,
    work: PathBuf,
    output: Output,
    _scratch: Scratch,
}

impl Process {
    /// Starts an ended process again, in the same folder and with the same settings; the output goes on.
    ///
    /// # Errors
    /// When it cannot be executed.
    pub fn start(&mut self) -> Result<(), LabError> {
        if self.child.is_some() {
            return Ok(());
        }
        let Daemon { name, program, args, vars, directory } = &self.daemon;
        let mut command = bound(program, Death::Kill);
        for (inherited, _) in env::vars_os() {
            if configures(&inherited.to_string_lossy()) {
                command.env_remove(&inherited);
            }
        }
        command.args(args).envs(vars).current_dir(directory.as_ref().unwrap_or(&self.work));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn(command).map_err(LabError::io(format!("start {name}")))?;
        if let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) {
            self.output.follow(out);
            self.output.follow(err);
        }
        self.child = Some(child);
        Ok(())
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// The folder it runs in.
    pub fn directory(&self) -> &Path {
        self.daemon.directory.as_deref().unwrap_or(&self.work)
    }

    /// What it has printed, on stdout and stderr together, over all its starts.
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// Waits for a line, seen or to come, that `wanted` accepts.
    ///
    /// # Errors
    /// After `limit`, or when the process ends first; both with the last lines.
    pub async fn wait_for_line(
        &mut self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<String, LabError> {
        let end = Instant::now() + limit;
        let output = self.output.clone();
        let found = output.line(wanted);
        tokio::pin!(found);
        loop {
            tokio::select! {
                line = &mut found => return Ok(line),
                () = sleep(Duration::from_millis(50)) => self.still_runs()?,
            }
            if Instant::now() >= end {
                return Err(LabError::Late { what: format!("{what} from {}", self.daemon.name), limit, seen: output.tail(20) });
            }
        }
    }

    /// Waits until a URL of the process answers with 2xx.
    ///
    /// # Errors
    /// After `limit`, or when the process ends first.
    pub async fn wait_until_ok(&mut self, url: &str, limit: Duration) -> Result<String, LabError> {
        let answer = http::wait_until_ok(url, limit);
        tokio::pin!(answer);
        loop {
            tokio::select! {
                answer = &mut answer => return answer,
                () = sleep(Duration::from_millis(50)) => self.still_runs()?,
            }
        }
    }

    fn still_runs(&mut self) -> Result<(), LabError> {
        let Some(child) = &mut self.child else { return Err(self.ended("stopped by the test".to_owned())) };
        match child.try_wait().map_err(LabError::io(self.daemon.name.as_str()))? {
            None => Ok(()),
            Some(status) => Err(self.ended(status.to_string())),
        }
    }

    fn ended(&self, status: String) -> LabError {
        let Self { daemon, output, .. } = self;
        LabError::Ended { name: daemon.name.clone(), status, log: output.file().to_owned(), tail: output.tail(20) }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            // Fails only for a process that has ended.
            let _ = kill_process(pid, signal);
        }
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// After `limit`; it goes on running then.
    pub async fn wait(&mut self, limit: Duration) -> Result<ExitStatus, LabError> {
        let end = Instant::now() + limit;
        let name = self.daemon.name.clone();
        let Some(child) = &mut self.child else { return Err(LabError::Refused(format!("{name} is not running"))) };
        loop {
            if let Some(status) = child.try_wait().map_err(LabError::io(name.as_str()))? {
                self.child = None;
                // A program that ends is quicker than the one that reads what it has printed. Late is what only others still hold open.
                drop(timeout_at(end, self.output.complete()).await);
                return Ok(status);
            }
            if Instant::now() >= end {
                return Err(LabError::Late { what: format!("{name} to end"), limit, seen: self.output.tail(20) });
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Sends SIGTERM and waits until it has ended.
    ///
    /// # Errors
    /// When it does not end within `limit`.
    pub async fn terminate(&mut self, limit: Duration) -> Result<ExitStatus, LabError> {
        self.signal(Signal::TERM);
        self.wait(limit).await
    }

    /// Ends it by SIGTERM and starts it again.
    ///
    /// # Errors
    /// When it does not end within `limit`, or cannot be started.
    pub async fn restart(&mut self, limit: Duration) -> Result<(), LabError> {
        self.terminate(limit).await?;
        self.start()
    }

    /// Sends SIGKILL; returns when the process is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only for a process that has been waited for.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn configures(name: &str) -> bool {
    ["BROKKR_", "OTEL_"].iter().any(|prefix| name.starts_with(prefix))
        || ["TRACEPARENT", "TRACESTATE", "KUBECONFIG"].contains(&name)
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- the last output of {}\n{}", self.daemon.name, self.output.tail(100));
        }
    }
}
