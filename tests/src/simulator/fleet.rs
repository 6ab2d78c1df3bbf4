//! `brokkr-lab fleet`: makes agents, keeps them polling, and carries out commands.

use std::{collections::HashMap, fs, io, path::PathBuf, sync::Arc, time::Duration};

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    dial::Dial,
    enrol::enrol,
    push::{Push, hammer, push},
    shared::Shared,
};
use crate::lab::{LabError, Service};

/// Which fleet.
#[derive(Debug, Clone, Args)]
pub struct FleetOptions {
    /// The broker, as HOST:PORT.
    #[arg(long)]
    pub broker: String,
    /// File with the certificate to believe; the broker is spoken to over TLS then.
    #[arg(long)]
    pub authority: Option<PathBuf>,
    /// File with an admin's key.
    #[arg(long)]
    pub key_file: PathBuf,
    /// How many agents to make.
    #[arg(long, default_value_t = 100)]
    pub agents: u32,
    /// They are called PREFIX-0, PREFIX-1, …
    #[arg(long, default_value = "sim")]
    pub prefix: String,
    /// Seconds that a poll waits; at the start polls are spread over as many.
    #[arg(long, default_value_t = 30)]
    pub wait: u64,
}

/// What a fleet can be told, one JSON object a line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(super) enum Command {
    /// What the agents did so far.
    Counts,
    /// Ends all connections.
    Off,
    /// Connects again, spread over a wait.
    On,
    /// Sends content and waits until all its agents have it.
    Push(Push),
    /// Polls as one agent, again and again, without waiting.
    Hammer {
        /// Its number.
        agent: u32,
        /// How often.
        polls: u32,
    },
}

/// A fleet at work.
#[derive(Debug)]
pub struct Fleet {
    shared: Arc<Shared>,
    admin: String,
    keys: HashMap<u32, String>,
    agents: JoinSet<()>,
}

impl Fleet {
    /// Makes the agents and lets them go.
    ///
    /// # Errors
    /// When the broker refuses one.
    pub async fn start(options: &FleetOptions) -> Result<Self, LabError> {
        let admin = fs::read_to_string(&options.key_file).map_err(LabError::io("the admin's key"))?.trim().to_owned();
        let dial = Dial::new(&options.broker, options.authority.as_deref()).map_err(LabError::io("the certificate"))?;
        let made = enrol(options, &dial, &admin).await.map_err(LabError::io("make agents"))?;
        let shared = Arc::new(Shared::new(dial, Duration::from_secs(options.wait)));
        let keys = made.iter().map(|agent| (agent.number, agent.key.clone())).collect();
        let mut agents = JoinSet::new();
        for agent in made {
            agents.spawn(agent.run(Arc::clone(&shared)));
        }
        Ok(Self { shared, admin, keys, agents })
    }

    async fn obey(&self, command: Command) -> io::Result<Value> {
        Ok(match command {
            Command::Counts => json!(self.shared.counts()),
            Command::Off => {
                self.shared.on.send_replace(false);
                Value::Null
            }
            Command::On => {
                self.shared.on.send_replace(true);
                Value::Null
            }
            Command::Push(wish) => json!(push(&self.shared, &self.admin, &wish).await?),
            Command::Hammer { agent, polls } => {
                let key = self.keys.get(&agent).ok_or_else(|| io::Error::other("there is no such agent"))?;
                json!(hammer(&self.shared, key, polls).await?)
            }
        })
    }
}

impl Service for Fleet {
    fn description(&self) -> Value {
        json!({"agents": self.agents.len(), "process": std::process::id()})
    }

    fn check(&mut self) -> Result<(), LabError> {
        match self.agents.try_join_next() {
            None => Ok(()),
            Some(_) => Err(LabError::Refused("an agent ended by itself".to_owned())),
        }
    }

    async fn command(&mut self, line: &str) -> Result<Value, LabError> {
        let command =
            serde_json::from_str(line).map_err(|error| LabError::Refused(format!("{line:?} is no command: {error}")))?;
        self.obey(command).await.map_err(LabError::io("the fleet"))
    }

    async fn stop(mut self) {
        self.agents.shutdown().await;
    }
}
