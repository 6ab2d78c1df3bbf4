//! A private PostgreSQL server for one test run, with one database per test.
//!
//! [`Postgres`] is the handle for tests; [`Launch`] is what `brokkr-lab postgres` runs.

mod binaries;
mod launch;

pub use launch::Launch;

use crate::lab::{LabError, Supervisor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    path::PathBuf,
    process::{self, Command},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// The line of JSON with which `brokkr-lab postgres` says that it is ready.
#[derive(Clone, Serialize, Deserialize)]
pub struct Description {
    /// On 127.0.0.1.
    pub port: u16,
    /// The superuser's name.
    pub user: String,
    /// The superuser's password, new with each server.
    pub password: String,
    /// Folder of `createdb`, `psql` and the other programs.
    pub programs: PathBuf,
    /// Folder with the data and the log.
    pub directory: PathBuf,
    /// Process id of the supervisor.
    pub supervisor: u32,
    /// Process id of the server.
    pub server: Option<u32>,
}

impl Description {
    /// The URL of a database.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{}:{}@127.0.0.1:{}/{database}", self.user, self.password, self.port)
    }
}

impl std::fmt::Debug for Description {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Description").field("port", &self.port).field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// A running PostgreSQL server; it ends with this value, or with this process.
#[derive(Debug)]
pub struct Postgres {
    supervisor: Supervisor,
    description: Description,
    databases: AtomicU64,
}

impl Postgres {
    /// Starts a server of its own, for a test that stops it. Blocks for about two seconds.
    ///
    /// # Errors
    /// When PostgreSQL is not installed (the message names the Debian package) or does not start.
    pub fn start() -> Result<Self, LabError> {
        let (supervisor, description) = Supervisor::start(["postgres"])?;
        Ok(Self { supervisor, description, databases: AtomicU64::new(0) })
    }

    /// The one that all tests of this process share, started by whoever asks first.
    ///
    /// # Panics
    /// When it does not start: a test that needs PostgreSQL fails without it, and is never skipped.
    #[expect(clippy::panic, reason = "a shared fixture that is missing fails every test that needs it, with the reason")]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Result<Postgres, String>> = OnceLock::new();
        match SHARED.get_or_init(|| Self::start().map_err(|error| error.to_string())) {
            Ok(postgres) => postgres,
            Err(error) => panic!("no PostgreSQL: {error}"),
        }
    }

    /// Where everything is.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Makes an empty database with a new name and returns its URL. Blocks for some tens of milliseconds.
    ///
    /// # Errors
    /// What `createdb` says.
    pub fn create_database(&self) -> Result<String, LabError> {
        let name = format!("test_{}_{}", process::id(), self.databases.fetch_add(1, Ordering::Relaxed));
        self.run("createdb", &[&name])?;
        Ok(self.description.url(&name))
    }

    /// What one SQL statement answers in a database, as `psql` prints it without decoration.
    ///
    /// # Errors
    /// What `psql` says.
    pub fn query(&self, url: &str, sql: &str) -> Result<String, LabError> {
        self.run("psql", &["--no-psqlrc", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--command", sql, url])
    }

    fn run(&self, program: &str, args: &[&str]) -> Result<String, LabError> {
        let Description { port, user, password, programs, .. } = &self.description;
        let output = Command::new(programs.join(program))
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", port.to_string())
            .env("PGUSER", user)
            .env("PGPASSWORD", password)
            .args(args)
            .output()
            .map_err(LabError::io(program))?;
        if !output.status.success() {
            return Err(LabError::Refused(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Ends the server at once, with all its connections; returns when it is gone.
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub fn stop_server(&self) -> Result<(), LabError> {
        self.supervisor.ask::<Value>("stop postgres").map(drop)
    }

    /// Starts the server again, on the same port; returns when it answers.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn start_server(&self) -> Result<(), LabError> {
        self.supervisor.ask::<Value>("start postgres").map(drop)
    }

    /// Stops every process of the server by SIGSTOP: connections stay open and nothing is answered.
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub fn freeze_server(&self) -> Result<(), LabError> {
        self.supervisor.ask::<Value>("freeze postgres").map(drop)
    }

    /// Lets a frozen server go on.
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub fn thaw_server(&self) -> Result<(), LabError> {
        self.supervisor.ask::<Value>("thaw postgres").map(drop)
    }
}
