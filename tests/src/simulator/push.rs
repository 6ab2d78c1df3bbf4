//! What is measured inside the simulator, where the clock of whoever asks is the clock of whoever receives.

use std::{io, sync::Arc, time::Duration};

use brokkr_api::{deployment_objects::AcceptedDeploymentObject, routes};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use super::{
    shared::Shared,
    wire::{Request, Wire},
};

const LIMIT: Duration = Duration::from_secs(60);

/// Content to send to a stack.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Push {
    /// The stack.
    pub stack: String,
    /// How many config maps.
    pub objects: u32,
    /// Characters of data in each.
    pub bytes: usize,
    /// Makes this content differ from the one before.
    pub value: String,
}

/// How a push went, in milliseconds from sending it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pushed {
    /// Until it was accepted.
    pub accepted: f64,
    /// How many agents it is for.
    pub agents: u64,
    /// Until each agent had the content, sorted.
    pub arrivals: Vec<f64>,
}

/// Polls that find nothing, one after the other on one connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hammered {
    /// Microseconds of each, sorted.
    pub micros: Vec<f64>,
}

impl Push {
    fn manifest(&self) -> String {
        let objects = (0..self.objects).map(|number| {
            let data = format!("{}-{}", self.value, "x".repeat(self.bytes));
            serde_json::json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "default", "name": format!("{}-{number}", self.stack)},
                "data": {"value": data},
            })
        });
        serde_json::Value::Array(objects.collect()).to_string()
    }
}

/// Sends content, and waits until every agent that it is for has it.
pub(super) async fn push(shared: &Arc<Shared>, key: &str, push: &Push) -> io::Result<Pushed> {
    let body = push.manifest();
    let target = routes::DEPLOYMENT_OBJECTS.replace("{stack}", &push.stack);
    let body = Some(("application/json", body.as_bytes()));
    let mut wire = Wire::connect(&shared.dial).await?;
    shared.watch(&push.stack);
    let began = Instant::now();
    let answer = wire.exchange(Request { method: "PUT", target: &target, key, etag: None, body }).await?;
    let accepted = began.elapsed();
    if answer.status != StatusCode::CREATED {
        let why = String::from_utf8_lossy(&answer.body);
        return Err(io::Error::other(format!("the content was answered {}: {why}", answer.status)));
    }
    let outcome: AcceptedDeploymentObject = serde_json::from_slice(&answer.body)?;
    let generation = outcome.deployment_object.generation;
    let deadline = began + LIMIT;
    let arrivals = loop {
        let arrivals = shared.arrivals(generation);
        if arrivals.len() as u64 >= outcome.agents {
            break arrivals;
        }
        let seen = arrivals.len();
        timeout_at(deadline, shared.arrived.notified())
            .await
            .map_err(|_| io::Error::other(format!("only {seen} of {} agents have the content", outcome.agents)))?;
    };
    let mut arrivals: Vec<_> = arrivals.into_iter().map(|at| millis(at - began)).collect();
    arrivals.sort_by(f64::total_cmp);
    Ok(Pushed { accepted: millis(accepted), agents: outcome.agents, arrivals })
}

/// Polls as the agent of this key, without waiting and with its current tag.
pub(super) async fn hammer(shared: &Arc<Shared>, key: &str, polls: u32) -> io::Result<Hammered> {
    let mut wire = Wire::connect(&shared.dial).await?;
    let poll = |etag| Request { method: "GET", target: routes::DESIRED_STATE, key, etag, body: None };
    let etag = wire.exchange(poll(None)).await?.etag;
    let mut micros = Vec::with_capacity(polls as usize);
    for _ in 0..polls {
        let began = Instant::now();
        let answer = wire.exchange(poll(etag.as_deref())).await?;
        micros.push(millis(began.elapsed()) * 1_000.0);
        if answer.status != StatusCode::NOT_MODIFIED {
            return Err(io::Error::other(format!("a poll that should find nothing was answered {}", answer.status)));
        }
    }
    micros.sort_by(f64::total_cmp);
    Ok(Hammered { micros })
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
