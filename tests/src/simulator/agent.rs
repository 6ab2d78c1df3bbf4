//! One agent: a connection, an `ETag`, and the revisions that it knows.

use std::{
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use brokkr_api::{
    AgentId, StackId,
    agents::Hello,
    desired_state::Action,
    reports::{ObjectOutcome, ObjectRef, ObjectReport, Report, Reports},
    rollouts::Phase,
    routes,
};
use http::StatusCode;
use serde::Deserialize;
use tokio::time::{sleep, timeout};

use super::{
    shared::Shared,
    wire::{Answer, Request, Wire},
};

/// Time that an answer may take beyond the wait.
const GRACE: Duration = Duration::from_secs(10);
/// Longest pause before an agent comes back.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// An agent and what it remembers between polls.
#[derive(Debug)]
pub(super) struct Agent {
    id: AgentId,
    pub(super) number: u32,
    pub(super) key: String,
    /// Its share of the fleet's spread, 0 to 1: agents start, poll and come back at different moments.
    phase: f64,
    etag: Option<String>,
    revisions: Vec<(StackId, u64)>,
}

/// What the simulator needs of a desired state; real agents read all of it.
#[derive(Deserialize)]
struct Index {
    epoch: String,
    deployments: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    stack_id: StackId,
    stack: String,
    revision: u64,
    action: Action,
    generation: u64,
    digest: Option<String>,
    content: Option<Vec<Object>>,
}

#[derive(Deserialize)]
struct Object {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    namespace: Option<String>,
}

impl Agent {
    pub(super) fn new(id: AgentId, number: u32, key: String) -> Self {
        // By the golden ratio: spread evenly for every number of agents, and neighbours in number are no neighbours in time.
        let phase = (f64::from(number) * 0.618_033_988_749_895).fract();
        Self { id, number, key, phase, etag: None, revisions: Vec::new() }
    }

    /// Polls for ever; while the fleet is switched off, without a connection.
    pub(super) async fn run(mut self, shared: Arc<Shared>) {
        let mut on = shared.on.subscribe();
        let mut troubles = 0;
        loop {
            if on.wait_for(|on| *on).await.is_err() {
                return;
            }
            sleep(self.pause(&shared, troubles)).await;
            let session = self.session(&shared);
            let ended = tokio::select! {
                ended = session => Some(ended),
                _ = on.wait_for(|on| !on) => None,
            };
            match ended {
                // Switched off: whoever comes back then comes back spread out, as at the start.
                None => troubles = 0,
                Some(Ended { served, why }) => {
                    troubles = if served { 1 } else { troubles + 1 };
                    shared.missed(why);
                }
            }
        }
    }

    /// At the start polls are spread over a wait, so that they stay spread; later, full jitter on a growing pause.
    fn pause(&self, shared: &Shared, troubles: u32) -> Duration {
        if troubles == 0 {
            return shared.wait.mul_f64(self.phase);
        }
        let ceiling = Duration::from_secs(1 << troubles.min(5)).min(MAX_PAUSE);
        // Another point each time, and another one for each agent.
        ceiling.mul_f64((self.phase * 7_919.0 + f64::from(troubles) * 0.618).fract())
    }

    async fn session(&mut self, shared: &Shared) -> Ended {
        let mut served = false;
        match self.polls(shared, &mut served).await {
            Ok(never) => match never {},
            Err(error) => Ended { served, why: format!("agent {}: {error}", self.id) },
        }
    }

    async fn polls(&mut self, shared: &Shared, served: &mut bool) -> io::Result<std::convert::Infallible> {
        let mut wire = Wire::connect(&shared.dial).await?;
        shared.connections.fetch_add(1, Relaxed);
        if self.etag.is_none() {
            self.hello(&mut wire).await?;
        }
        let target = format!("{}?wait={}s", routes::DESIRED_STATE, shared.wait.as_secs());
        loop {
            let request = Request { method: "GET", target: &target, key: &self.key, etag: self.etag.as_deref(), body: None };
            let answer = {
                let _parked = Parked::new(shared);
                timeout(shared.wait + GRACE, wire.exchange(request)).await.map_err(|_| io::ErrorKind::TimedOut)??
            };
            *served = true;
            match answer.status {
                StatusCode::NOT_MODIFIED => drop(shared.unchanged.fetch_add(1, Relaxed)),
                StatusCode::OK => {
                    shared.changed.fetch_add(1, Relaxed);
                    // Boxed: most agents never need it, and a parked one must not carry its room.
                    Box::pin(self.obey(&mut wire, shared, &answer)).await?;
                }
                status => return Err(io::Error::other(format!("a poll was answered {status}"))),
            }
            if answer.closes {
                return Err(io::Error::other("the broker ended the connection"));
            }
        }
    }

    async fn hello(&self, wire: &mut Wire) -> io::Result<()> {
        let version = "simulated".to_owned();
        let hello = Hello {
            cluster_uid: self.id.to_string(),
            version: version.clone(),
            kubernetes_version: version,
            capabilities: Vec::new(),
        };
        let body = serde_json::to_vec(&hello)?;
        let request = Request {
            method: "PUT",
            target: routes::AGENT_CLUSTER,
            key: &self.key,
            etag: None,
            body: Some(("application/json", &body)),
        };
        let answer = timeout(GRACE, wire.exchange(request)).await.map_err(|_| io::ErrorKind::TimedOut)??;
        if answer.status.is_success() {
            Ok(())
        } else {
            Err(io::Error::other(format!("the hello was answered {}", answer.status)))
        }
    }

    /// Takes what is new, and reports it as done.
    async fn obey(&mut self, wire: &mut Wire, shared: &Shared, answer: &Answer) -> io::Result<()> {
        let index: Index = serde_json::from_slice(&answer.body)?;
        let (mut reports, mut taken) = (Vec::new(), Vec::new());
        for entry in index.deployments {
            if self.revisions.iter().any(|(stack, revision)| *stack == entry.stack_id && *revision >= entry.revision) {
                continue;
            }
            taken.push((entry.stack_id, entry.revision));
            reports.push(take(wire, shared, &self.key, entry).await?);
        }
        for reports in reports.chunks(brokkr_api::reports::MAX_REPORTS) {
            self.report(wire, shared, &index.epoch, reports.to_vec()).await?;
        }
        // Only now: what could not be told is taken and told again.
        self.revisions.retain(|(stack, _)| !taken.iter().any(|(other, _)| other == stack));
        self.revisions.extend(taken);
        self.etag.clone_from(&answer.etag);
        Ok(())
    }

    async fn report(&self, wire: &mut Wire, shared: &Shared, epoch: &str, reports: Vec<Report>) -> io::Result<()> {
        let count = reports.len() as u64;
        let body = serde_json::to_vec(&Reports { epoch: epoch.to_owned(), reports })?;
        let body = Some(("application/json", body.as_slice()));
        let request = Request { method: "POST", target: routes::REPORTS, key: &self.key, etag: None, body };
        // Repeated as a real agent does: a report that was refused for a moment must arrive all the same.
        for pause in [1, 2, 4, 8, 16] {
            let answer = wire.exchange(request).await?;
            if answer.status.is_success() {
                shared.reports.fetch_add(count, Relaxed);
                return Ok(());
            }
            shared.refused(format!("a report was answered {}: {}", answer.status, String::from_utf8_lossy(&answer.body)));
            sleep(Duration::from_secs(pause).mul_f64(0.5 + self.phase)).await;
        }
        Err(io::Error::other("a report is refused again and again"))
    }
}

/// Gets the content of one entry, where it has any, and says what its report is.
async fn take(wire: &mut Wire, shared: &Shared, key: &str, entry: Entry) -> io::Result<Report> {
    let objects = match (entry.action, entry.content, &entry.digest) {
        (Action::Apply, None, Some(digest)) => {
            let target = routes::CONTENT.replace("{stack}", &entry.stack_id.to_string()).replace("{digest}", digest);
            let answer = wire.exchange(Request { method: "GET", target: &target, key, etag: None, body: None }).await?;
            shared.contents.fetch_add(1, Relaxed);
            if !answer.status.is_success() {
                shared.refused(format!("content was answered {}", answer.status));
            }
            serde_json::from_slice(&answer.body)?
        }
        (_, content, _) => content.unwrap_or_default(),
    };
    let phase = if entry.action == Action::Apply { Phase::Applied } else { Phase::Deleted };
    if phase == Phase::Applied {
        shared.arrived(&entry.stack, entry.generation);
    }
    let objects = objects.into_iter().map(|Object { api_version, kind, metadata }| ObjectReport {
        object: ObjectRef { api_version, kind, namespace: metadata.namespace, name: metadata.name },
        outcome: ObjectOutcome::Configured,
        reason: None,
        message: None,
    });
    let objects = objects.collect();
    Ok(Report {
        stack_id: entry.stack_id,
        revision: entry.revision,
        phase,
        attempt: 1,
        objects,
        error: None,
        health: None,
        scope: None,
        held: None,
        drift: Vec::new(),
    })
}

struct Ended {
    /// Whether any poll of the session was answered.
    served: bool,
    why: String,
}

/// Counts an open poll for as long as it is open.
struct Parked<'a>(&'a Shared);

impl<'a> Parked<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.parked.fetch_add(1, Relaxed);
        Self(shared)
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.0.parked.fetch_sub(1, Relaxed);
    }
}
