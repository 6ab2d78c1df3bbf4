//! A supervised child: its output with its name before each line, its end in order.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anstyle::{AnsiColor, Style};
use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::Command,
    task::JoinHandle,
};

/// A program that is being prepared, or runs.
pub(crate) struct Child {
    name: &'static str,
    command: Command,
    running: Option<tokio::process::Child>,
    copies: Vec<JoinHandle<()>>,
}

impl Child {
    /// Prepares a program.
    ///
    /// # Errors
    /// When there is no such program.
    pub(crate) fn new(name: &'static str, program: &Path) -> anyhow::Result<Self> {
        let found = resolve(program).with_context(|| format!("{} was not found", program.display()))?;
        // Ends the child with us, even when we are killed; util-linux has it on every Linux.
        let mut command = match resolve(Path::new("setpriv")) {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "TERM", "--"]).arg(found);
                command
            }
            None => Command::new(found),
        };
        // A group of its own, so that Ctrl-C reaches us alone and we end the children in order.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        Ok(Self { name, command, running: None, copies: Vec::new() })
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub(crate) fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// Starts it; its output is copied line by line.
    pub(crate) fn start(mut self, colour: AnsiColor) -> anyhow::Result<Self> {
        let mut running = self.command.spawn().with_context(|| format!("the {} cannot be started", self.name))?;
        let style = Style::new().fg_color(Some(colour.into()));
        let prefix = format!("{style}{:>6} │{style:#} ", self.name);
        if let Some(stdout) = running.stdout.take() {
            self.copies.push(copy(stdout, prefix.clone()));
        }
        if let Some(stderr) = running.stderr.take() {
            self.copies.push(copy(stderr, prefix));
        }
        self.running = Some(running);
        Ok(self)
    }

    /// Waits for it to end.
    pub(crate) async fn ended(&mut self) -> String {
        let Some(running) = &mut self.running else { return "it was not started".to_owned() };
        match running.wait().await {
            Ok(status) => describe(status),
            Err(error) => error.to_string(),
        }
    }

    /// Asks it to end, and ends it when it does not within `grace`.
    pub(crate) async fn end(&mut self, grace: Duration) {
        let Some(running) = &mut self.running else { return };
        if let Some(pid) = running.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
            // It may have ended a moment ago.
            kill_process(pid, Signal::TERM).ok();
        }
        if tokio::time::timeout(grace, running.wait()).await.is_err() {
            anstream::eprintln!("the {} did not end in time and is killed", self.name);
            drop(running.kill().await);
        }
        for copy in self.copies.drain(..) {
            drop(copy.await);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a command line has no lifecycle: the copy ends with the child that it copies")]
fn copy(from: impl AsyncRead + Unpin + Send + 'static, prefix: String) -> JoinHandle<()> {
    let mut lines = BufReader::new(from).lines();
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            anstream::println!("{prefix}{line}");
        }
    })
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown".to_owned(),
    }
}

/// The program itself when it has a folder, else the first of that name on PATH.
fn resolve(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.exists().then(|| program.to_owned());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}
