use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    fleet::Command,
    push::{Hammered, Push, Pushed},
    shared::Counts,
};
use crate::{
    fleet::Broker,
    lab::{LabError, Supervisor},
};

/// A simulated fleet in a process of its own; it ends with this value, or with this process.
#[derive(Debug)]
pub struct Simulator {
    supervisor: Supervisor,
    process: u32,
}

#[derive(Deserialize)]
struct Ready {
    process: u32,
}

impl Simulator {
    /// Makes so many agents at a broker and lets them poll. Blocks until the last one is made.
    ///
    /// # Errors
    /// When the broker refuses one.
    pub fn start(broker: &Broker, agents: u32, wait_seconds: u64) -> Result<Self, LabError> {
        let address = broker.base.trim_start_matches("http://").trim_start_matches("https://");
        let (key_file, certificate) = (broker.key_file().to_string_lossy(), broker.certificate_file());
        let certificate = certificate.map(|path| path.display().to_string());
        let (agents, wait) = (agents.to_string(), wait_seconds.to_string());
        let args = ["fleet", "--broker", address, "--key-file", &key_file, "--agents", &agents, "--wait", &wait];
        let args = args.into_iter().chain(certificate.iter().flat_map(|path| ["--authority", path]));
        let (supervisor, Ready { process }) = Supervisor::start(args)?;
        Ok(Self { supervisor, process })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process
    }

    /// What the agents did so far.
    ///
    /// # Errors
    /// When the simulator is gone.
    pub fn counts(&self) -> Result<Counts, LabError> {
        self.ask(&Command::Counts)
    }

    /// Ends all connections, or makes them again.
    ///
    /// # Errors
    /// When the simulator is gone.
    pub fn switch(&self, on: bool) -> Result<(), LabError> {
        self.ask::<Value>(if on { &Command::On } else { &Command::Off }).map(drop)
    }

    /// Sends content and waits until all its agents have it.
    ///
    /// # Errors
    /// When the broker refuses, or agents do not get it.
    pub fn push(&self, push: Push) -> Result<Pushed, LabError> {
        self.ask(&Command::Push(push))
    }

    /// Polls as one agent, again and again, without waiting.
    ///
    /// # Errors
    /// When a poll finds something.
    pub fn hammer(&self, agent: u32, polls: u32) -> Result<Hammered, LabError> {
        self.ask(&Command::Hammer { agent, polls })
    }

    fn ask<T: DeserializeOwned>(&self, command: &Command) -> Result<T, LabError> {
        let line = serde_json::to_string(command).map_err(|error| LabError::Refused(error.to_string()))?;
        self.supervisor.ask(&line)
    }
}
