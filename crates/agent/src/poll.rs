//! The one connection to the broker: hello, then one long poll after the other. The poll is the heartbeat.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use brokkr_api::{
    agents::{Hello, SENDS_WEBHOOKS},
    client::{ClientError, FreeHands, Polled},
};
use brokkr_runtime::{Clock, Ids};
use brokkr_telemetry::{
    AgentMetrics, Control,
    metrics::PollResult,
    spans::{self, PollOutcome},
};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info, warn};

use crate::{
    attempt::Workshop,
    cluster::{Class, KubeFailure, Resource},
    desired::Desired,
    hands::Hands,
    identity::{Identity, IdentityError},
    schedule::backoff,
    status::Status,
    trace_report::TraceReporter,
    trouble::{NO_KEY, Trouble},
};

/// What this agent can do, for those who look at the fleet.
const CAPABILITIES: [&str; 2] = ["suspension", "key-rotation"];

/// Polls.
pub(crate) struct Poller {
    pub(crate) workshop: Arc<Workshop>,
    pub(crate) identity: Identity,
    pub(crate) status: Arc<Status>,
    pub(crate) metrics: AgentMetrics,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
    pub(crate) tracing: Control,
    pub(crate) wait: Duration,
    /// Told when there may be work orders.
    pub(crate) hands: Arc<Hands>,
    /// Told when there may be deliveries of webhooks.
    pub(crate) couriers: Arc<Hands>,
}

/// The first wait after a refusal is as long as that after so many failures more: some seconds.
const REFUSED_LATER: u32 = 3;

impl Poller {
    /// Polls until `stopping`, and publishes each desired state.
    pub(crate) async fn run(self, desired: watch::Sender<Option<Desired>>, stopping: CancellationToken) {
        tokio::select! {
            () = stopping.cancelled() => {}
            () = self.poll_forever(&desired) => {}
        }
    }

    async fn poll_forever(&self, desired: &watch::Sender<Option<Desired>>) {
        self.introduce().await;
        let mut etag: Option<String> = None;
        let mut last: Option<Desired> = None;
        let (mut failures, mut rotation_wanted) = (0, false);
        let mut reporter = TraceReporter::new(self.tracing.clone());
        loop {
            let started = Instant::now();
            let span = spans::poll();
            // Whether the broker is back is to be known now, and not when something has changed.
            let wait = if failures == 0 { self.wait } else { Duration::ZERO };
            let free = |hands: &Hands| Some(u32::try_from(hands.free()).unwrap_or(u32::MAX)).filter(|free| *free > 0);
            let free = FreeHands { work_orders: free(&self.hands), deliveries: free(&self.couriers) };
            let timed = self.workshop.client.desired_state_or_work(etag.as_deref(), wait, free).instrument(span.clone()).await;
            let elapsed = started.elapsed();
            match &timed {
                Ok(timed) if timed.work => self.hands.ring_for_work(),
                Ok(timed) if timed.deliveries => self.couriers.ring_for_work(),
                // A change may be that an order is to be stopped.
                Ok(timed) if matches!(timed.polled, Polled::Changed { .. }) => self.hands.ring(),
                _ => {}
            }
            let parked = timed.as_ref().map(|timed| timed.parked).unwrap_or_default();
            let polled = timed.map(|timed| timed.polled);
            let result = match &polled {
                Ok(Polled::Unchanged) => PollResult::Empty,
                Ok(Polled::Changed { .. }) => PollResult::Success,
                Err(_) => PollResult::Error,
            };
            span.in_scope(|| self.metrics.poll(result, elapsed.saturating_sub(parked)));
            match &polled {
                Ok(Polled::Changed { .. }) => spans::record_poll(&span, PollOutcome::Changed),
                Ok(Polled::Unchanged) => spans::record_poll(&span, PollOutcome::Unchanged),
                Err(error) => spans::record_error(&span, Trouble::of(error).kind),
            }
            drop(span);
            match polled {
                Ok(answer) => {
                    failures = 0;
                    let is_back = self.answered();
                    if let Polled::Changed { etag: tag, mut state } = answer {
                        self.workshop.contents.take(&mut state);
                        rotation_wanted = state.rotate_key;
                        reporter.follow(state.tracing.as_ref());
                        etag = Some(tag).filter(|tag| !tag.is_empty());
                        last = Some(Arc::new(state));
                        desired.send_replace(last.clone());
                    } else if is_back {
                        // Nothing has changed meanwhile; what failed without the broker is tried again.
                        desired.send_replace(last.clone());
                    }
                    reporter.tell(&self.workshop.client).await;
                    if rotation_wanted {
                        // Asked again after the next poll if it fails; once kept, the next poll is the new key's first use.
                        rotation_wanted =
                            !self.identity.rotate(&self.workshop.client).instrument(spans::job("key-rotation")).await;
                    }
                }
                Err(error) => {
                    failures += 1;
                    let refused = self.troubled(Trouble::of(&error));
                    if refused {
                        // The tag stays: it is how a broker sees that its database is older than what it told.
                        desired.send_replace(None);
                        // Somebody may have given it another key; what cannot be read is told by the next request.
                        drop(self.identity.store.load().await);
                    }
                    tokio::time::sleep(self.pause(failures, refused)).await;
                }
            }
        }
    }

    /// Tells whether the broker was in trouble before.
    fn answered(&self) -> bool {
        self.metrics.heartbeat_sent();
        self.metrics.last_successful_poll_timestamp.set(self.clock.now().to_system_time());
        let is_back = self.status.broker(None);
        if is_back {
            info!(broker = %self.workshop.client.base(), "the broker answers again");
        }
        is_back
    }

    /// Says once that the broker is in trouble, with the reason; more only when that is another or over. Tells whether the broker
    /// refuses the agent.
    fn troubled(&self, trouble: Trouble) -> bool {
        if self.status.broker(Some(trouble.clone())) {
            let (broker, reason) = (self.workshop.client.base(), trouble.text);
            if trouble.refused {
                warn!(%broker, code = trouble.kind, reason, "the broker refuses this agent; nothing is changed in the cluster until it no longer does");
            } else if trouble.kind == NO_KEY {
                warn!(%broker, reason, "the agent has no key for the broker; it tries again");
            } else {
                warn!(%broker, reason, "the broker does not answer; the agent keeps what it has and tries again");
            }
        }
        trouble.refused
    }

    /// Who is refused asks seldom: only a person can change that.
    fn pause(&self, failures: u32, refused: bool) -> Duration {
        backoff(if refused { failures.saturating_add(REFUSED_LATER) } else { failures }, self.ids.fraction())
    }

    /// Says hello until it is heard.
    async fn introduce(&self) {
        let mut failures = 0;
        loop {
            let heard = self.say_hello().instrument(spans::job("hello")).await;
            let refused = match heard {
                Ok(()) => return,
                Err(Unheard::Kubernetes(failure)) => {
                    if self.status.kubernetes(Some(failure.message.clone())) {
                        warn!(
                            reason = failure.class.as_str(),
                            detail = failure.message,
                            "the Kubernetes API does not answer; the agent tries again"
                        );
                    }
                    false
                }
                Err(Unheard::Broker(error)) => self.troubled(Trouble::of(&error)),
                Err(Unheard::Identity(error)) => self.troubled(error.trouble()),
            };
            failures += 1;
            tokio::time::sleep(self.pause(failures, refused)).await;
        }
    }

    async fn say_hello(&self) -> Result<(), Unheard> {
        let version = self.workshop.cluster.read("version", "/version").await?;
        let namespace = self.workshop.cluster.get(&Resource::core("Namespace", "namespaces", false), None, "kube-system").await?;
        if self.status.kubernetes(None) {
            info!("the Kubernetes API answers again");
        }
        let text = |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let cluster_uid = namespace.as_ref().and_then(|namespace| text(namespace, "/metadata/uid"));
        let cluster_uid = cluster_uid.ok_or_else(|| {
            KubeFailure::new(Class::NotFound, "the namespace kube-system, which names the cluster, does not exist yet")
        })?;
        self.workshop.client.name_cluster(&cluster_uid)?;
        self.identity.ensure(&self.workshop.client, &cluster_uid).await?;
        let sends = (self.couriers.number() > 0).then_some(SENDS_WEBHOOKS);
        let hello = Hello {
            cluster_uid,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kubernetes_version: text(&version, "/gitVersion").unwrap_or_else(|| "unknown".to_owned()),
            capabilities: CAPABILITIES.into_iter().chain(sends).map(str::to_owned).collect(),
        };
        let welcome = self.workshop.client.hello(&hello).await?;
        self.status.welcomed(&welcome);
        self.status.broker(None);
        info!(agent = %welcome.agent, cluster = %welcome.cluster, broker = %self.workshop.client.base(), kubernetes = hello.kubernetes_version, "the agent is connected");
        if let Err(failure) = self.workshop.ensure_namespace().await {
            let namespace = self.workshop.namespace.as_str();
            warn!(
                namespace,
                reason = failure.class.as_str(),
                detail = failure.message,
                "the agent's namespace cannot be made; deployments will say so"
            );
        }
        Ok(())
    }
}

#[derive(Debug)]
enum Unheard {
    Kubernetes(KubeFailure),
    Broker(ClientError),
    Identity(IdentityError),
}

impl From<KubeFailure> for Unheard {
    fn from(failure: KubeFailure) -> Self {
        Self::Kubernetes(failure)
    }
}

impl From<IdentityError> for Unheard {
    fn from(error: IdentityError) -> Self {
        Self::Identity(error)
    }
}

impl From<ClientError> for Unheard {
    fn from(error: ClientError) -> Self {
        Self::Broker(error)
    }
}
