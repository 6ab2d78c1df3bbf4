use super::{LabError, Reply, built};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::Duration,
};

const GRACE: Duration = Duration::from_secs(15);

/// A running `brokkr-lab SUBCOMMAND`, which ends when this value is dropped or this process ends, in whatever way.
///
/// It holds on to nothing but a pipe: the end of the pipe is the order to stop, and the operating system closes pipes
/// of dead processes.
#[derive(Debug)]
pub struct Supervisor {
    child: Child,
    pipes: Mutex<Option<(ChildStdin, BufReader<ChildStdout>)>>,
}

impl Supervisor {
    /// Starts a subcommand of `brokkr-lab` and waits for the line that says it is ready. Blocks, for minutes where
    /// programs are to be built; the subcommand has deadlines of its own, and says on stderr what it is doing.
    ///
    /// # Errors
    /// When the executable is missing, or what the subcommand says.
    pub fn start<T: DeserializeOwned>(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<(Self, T), LabError> {
        let mut child = Command::new(built("brokkr-lab")?)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(LabError::io("start brokkr-lab"))?;
        let pipes = child.stdin.take().zip(child.stdout.take().map(BufReader::new));
        let supervisor = Self { child, pipes: Mutex::new(pipes) };
        let ready = supervisor.read()?;
        Ok((supervisor, ready))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends one command and waits for its answer.
    ///
    /// # Errors
    /// What the supervisor answered, or that it is gone.
    pub fn ask<T: DeserializeOwned>(&self, command: &str) -> Result<T, LabError> {
        let mut pipes = self.pipes.lock();
        let (stdin, stdout) = pipes.as_mut().ok_or_else(gone)?;
        writeln!(stdin, "{command}").and_then(|()| stdin.flush()).map_err(LabError::io("tell brokkr-lab"))?;
        reply(stdout)
    }

    fn read<T: DeserializeOwned>(&self) -> Result<T, LabError> {
        let mut pipes = self.pipes.lock();
        let (_, stdout) = pipes.as_mut().ok_or_else(gone)?;
        reply(stdout)
    }
}

fn gone() -> LabError {
    LabError::Refused("brokkr-lab ended without an answer; its messages are above".to_owned())
}

fn reply<T: DeserializeOwned>(stdout: &mut BufReader<ChildStdout>) -> Result<T, LabError> {
    let mut line = String::new();
    if stdout.read_line(&mut line).map_err(LabError::io("listen to brokkr-lab"))? == 0 {
        return Err(gone());
    }
    match serde_json::from_str(&line) {
        Ok(Reply::Ok(value)) => Ok(value),
        Ok(Reply::Error(message)) => Err(LabError::Refused(message)),
        Err(error) => Err(LabError::Refused(format!("brokkr-lab said {line:?}: {error}"))),
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.pipes.lock().take();
        let step = Duration::from_millis(10);
        for _ in 0..GRACE.as_millis() / step.as_millis() {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(step);
        }
        // Its children are bound to its life, so even this leaves nothing running.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
