use super::{Description, binaries};
use crate::{
    control_plane::secret,
    lab::{Death, LabError, Program, Scratch, Service, Spec, free_port, until},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::{
    ffi::OsString,
    fs,
    os::unix::{fs::chown, process::CommandExt},
    path::Path,
    process::Command,
    time::Duration,
};

const USER: &str = "brokkr";
const READY: Duration = Duration::from_secs(60);
/// An immediate shutdown takes milliseconds; a server that hangs is killed.
const STOP: Duration = Duration::from_secs(10);

/// A PostgreSQL server that belongs to this process.
#[derive(Debug)]
pub struct Launch {
    server: Program,
    description: Description,
    _scratch: Scratch,
}

impl Launch {
    /// Makes a cluster in a folder of its own and starts the server. It keeps nothing safe (`fsync=off`): it is for tests.
    ///
    /// # Errors
    /// When PostgreSQL is missing or does not start, with the end of its log.
    pub async fn start() -> Result<Self, LabError> {
        let programs = binaries::folder()?;
        let user = binaries::user();
        let scratch = Scratch::new("postgres")?;
        let password = secret()?;
        let password_file = scratch.write("password", &password)?;
        if let Some((uid, gid)) = user {
            for path in [scratch.path(), &password_file] {
                chown(path, Some(uid), Some(gid)).map_err(LabError::io("give the folder to PostgreSQL's user"))?;
            }
        }
        let data = scratch.path().join("data");
        initialise(&programs, &data, &password_file, user)?;
        fs::remove_file(&password_file).map_err(LabError::io("remove the password file"))?;
        let port = free_port().map_err(LabError::io("choose a port"))?;
        let server = Program::start(Spec {
            name: "postgres",
            path: programs.join("postgres"),
            args: arguments(&data, port),
            log: scratch.path().join("postgres.log"),
            user,
            death: Death::Quit,
        })?;
        let directory = scratch.path().to_owned();
        let supervisor = std::process::id();
        let description = Description { port, user: USER.to_owned(), password, programs, directory, supervisor, server: None };
        let mut launch = Self { server, description, _scratch: scratch };
        launch.ready().await?;
        Ok(launch)
    }

    /// Where everything is.
    pub fn describe(&self) -> Description {
        Description { server: self.server.pid(), ..self.description.clone() }
    }

    /// Signals the server and the processes that serve its connections: frozen, they answer nothing and close nothing. The
    /// server first, because it starts the others; it must be awake to end them.
    fn signal_all(&self, signal: Signal) {
        let Some(server) = self.server.pid() else { return };
        for pid in std::iter::once(server).chain(children(server)) {
            // Fails only for a process that has ended.
            let _ = Pid::from_raw(pid.cast_signed()).map(|pid| kill_process(pid, signal));
        }
    }

    async fn ready(&mut self) -> Result<(), LabError> {
        let Self { server, description, .. } = self;
        let probe = description.programs.join("pg_isready");
        let port = description.port.to_string();
        let answering = until("PostgreSQL to answer", READY, || async {
            let output = tokio::process::Command::new(&probe).args(["-h", "127.0.0.1", "-p", &port]).output().await;
            match output {
                Ok(output) if output.status.success() => Ok(()),
                Ok(output) => Err(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
                Err(error) => Err(error.to_string()),
            }
        });
        tokio::pin!(answering);
        let mut pulse = tokio::time::interval(Duration::from_millis(50));
        loop {
            tokio::select! {
                outcome = &mut answering => return outcome,
                _ = pulse.tick() => server.check()?,
            }
        }
    }
}

fn children(parent: u32) -> impl Iterator<Item = u32> {
    let is_child = move |stat: &str| {
        let parent_of = |rest: &str| rest.split(' ').nth(1)?.parse::<u32>().ok();
        stat.rsplit_once(") ").and_then(|(_, rest)| parent_of(rest)) == Some(parent)
    };
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(move |pid| fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| is_child(&stat)))
}

fn initialise(programs: &Path, data: &Path, password_file: &Path, user: Option<(u32, u32)>) -> Result<(), LabError> {
    let mut command = Command::new(programs.join("initdb"));
    command.arg("--pgdata").arg(data).arg("--pwfile").arg(password_file);
    command.args([
        "--username",
        USER,
        "--auth",
        "password",
        "--encoding",
        "UTF8",
        "--locale",
        "C",
        "--no-sync",
        "--no-instructions",
    ]);
    if let Some(parent) = data.parent() {
        command.current_dir(parent);
    }
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    let output = command.output().map_err(LabError::io("initdb"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(LabError::Refused(format!("initdb failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim())))
}

fn arguments(data: &Path, port: u16) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["-D".into(), data.into()];
    let port = format!("port={port}");
    let settings = [
        port.as_str(),
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "max_connections=300",
        // What is committed has reached the operating system, so it outlives the server, but not the machine.
        "fsync=off",
        "full_page_writes=off",
        // Files instead of /dev/shm: they go away with the folder however the server ends.
        "dynamic_shared_memory_type=mmap",
    ];
    arguments.extend(settings.iter().flat_map(|setting| [OsString::from("-c"), OsString::from(setting)]));
    arguments
}

impl Service for Launch {
    fn description(&self) -> Value {
        json!(self.describe())
    }

    fn check(&mut self) -> Result<(), LabError> {
        self.server.check()
    }

    async fn command(&mut self, line: &str) -> Result<Value, LabError> {
        match line {
            "stop postgres" => {
                self.signal_all(Signal::CONT);
                self.server.stop(Signal::QUIT, STOP).await;
            }
            "freeze postgres" => self.signal_all(Signal::STOP),
            "thaw postgres" => self.signal_all(Signal::CONT),
            "start postgres" => {
                self.server.restart()?;
                self.ready().await?;
            }
            _ => {
                let known = "stop postgres, start postgres, freeze postgres, thaw postgres";
                return Err(LabError::Refused(format!("unknown command {line:?}; known: {known}")));
            }
        }
        Ok(json!(self.describe()))
    }

    async fn stop(mut self) {
        self.signal_all(Signal::CONT);
        self.server.stop(Signal::QUIT, STOP).await;
    }
}
