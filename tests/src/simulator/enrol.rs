//! Making the agents, over the API like everybody else.

use std::{io, sync::Arc};

use brokkr_api::{
    Labels, Name,
    agents::{CreateAgent, CreatedAgent},
    routes,
};
use http::StatusCode;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::{
    agent::Agent,
    dial::Dial,
    fleet::FleetOptions,
    wire::{Request, Wire},
};

/// Connections that make agents side by side.
const MAKERS: usize = 8;

/// Makes the agents `{prefix}-0` to `{prefix}-{n-1}`.
pub(super) async fn enrol(options: &FleetOptions, dial: &Dial, key: &str) -> io::Result<Vec<Agent>> {
    let numbers = Arc::new(Mutex::new(0..options.agents));
    let mut makers = JoinSet::new();
    for _ in 0..MAKERS {
        let (numbers, options, dial, key) = (Arc::clone(&numbers), options.clone(), dial.clone(), key.to_owned());
        makers.spawn(async move { make(&options, &dial, &key, &numbers).await });
    }
    let mut agents = Vec::with_capacity(options.agents as usize);
    while let Some(made) = makers.join_next().await {
        agents.extend(made??);
    }
    Ok(agents)
}

async fn make(options: &FleetOptions, dial: &Dial, key: &str, numbers: &Mutex<std::ops::Range<u32>>) -> io::Result<Vec<Agent>> {
    let mut wire = Wire::connect(dial).await?;
    let mut agents = Vec::new();
    loop {
        let Some(number) = numbers.lock().next() else { return Ok(agents) };
        let name: Name = format!("{}-{number}", options.prefix).parse().map_err(io::Error::other)?;
        let request = CreateAgent { cluster: name.clone(), name, labels: Labels::default() };
        let body = serde_json::to_vec(&request)?;
        let body = Some(("application/json", body.as_slice()));
        let answer = wire.exchange(Request { method: "POST", target: routes::AGENTS, key, etag: None, body }).await?;
        if answer.status != StatusCode::CREATED {
            let why = String::from_utf8_lossy(&answer.body);
            return Err(io::Error::other(format!("agent {number} was answered {}: {why}", answer.status)));
        }
        let created: CreatedAgent = serde_json::from_slice(&answer.body)?;
        agents.push(Agent::new(created.agent.id, number, created.secret));
    }
}
