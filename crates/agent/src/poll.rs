//! The one connection to the broker: hello, then one long poll after the other. The poll is the heartbeat.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use brokkr_api::{
    ErrorCode,
    agents::Hello,
    client::{ClientError, Polled},
};
use brokkr_runtime::{Clock, Ids};
use brokkr_telemetry::{
    AgentMetrics,
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
    schedule::backoff,
    status::Status,
};

/// Polls.
pub(crate) struct Poller {
    pub(crate) workshop: Arc<Workshop>,
    pub(crate) status: Arc<Status>,
    pub(crate) metrics: AgentMetrics,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
    pub(crate) wait: Duration,
}

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
        let mut failures = 0;
        loop {
            let started = Instant::now();
            let span = spans::poll();
            let polled = self.workshop.client.desired_state(etag.as_deref(), self.wait).instrument(span.clone()).await;
            let result = match &polled {
                Ok(Polled::Unchanged) => PollResult::Empty,
                Ok(Polled::Changed { .. }) => PollResult::Success,
                Err(_) => PollResult::Error,
            };
            span.in_scope(|| self.metrics.poll(result, started.elapsed()));
            match result {
                PollResult::Success => spans::record_poll(&span, PollOutcome::Changed),
                PollResult::Empty => spans::record_poll(&span, PollOutcome::Unchanged),
                PollResult::Error => spans::record_error(&span, "poll_failed"),
            }
            drop(span);
            match polled {
                Ok(answer) => {
                    failures = 0;
                    self.answered();
                    if let Polled::Changed { etag: tag, mut state } = answer {
                        self.workshop.contents.take(&mut state);
                        etag = Some(tag).filter(|tag| !tag.is_empty());
                        desired.send_replace(Some(Arc::new(state)));
                    }
                }
                Err(error) => {
                    failures += 1;
                    self.troubled(&error);
                    tokio::time::sleep(backoff(failures, self.ids.fraction())).await;
                }
            }
        }
    }

    fn answered(&self) {
        self.metrics.heartbeat_sent();
        self.metrics.last_successful_poll_timestamp.set(self.clock.now().to_system_time());
        if self.status.broker(None) {
            info!(broker = %self.workshop.client.base(), "the broker answers again");
        }
    }

    /// Says once that the broker is in trouble, with the reason; more only when it is over.
    fn troubled(&self, error: &ClientError) {
        let reason = explain(error);
        if self.status.broker(Some(reason.clone())) {
            warn!(broker = %self.workshop.client.base(), reason, "the broker does not answer; the agent keeps what it has and tries again");
        }
    }

    /// Says hello until it is heard.
    async fn introduce(&self) {
        let mut failures = 0;
        loop {
            let heard = self.say_hello().instrument(spans::job("hello")).await;
            match heard {
                Ok(()) => return,
                Err(Unheard::Kubernetes(failure)) => {
                    if self.status.kubernetes(Some(failure.message.clone())) {
                        warn!(
                            reason = failure.class.as_str(),
                            detail = failure.message,
                            "the Kubernetes API does not answer; the agent tries again"
                        );
                    }
                }
                Err(Unheard::Broker(error)) => self.troubled(&error),
            }
            failures += 1;
            tokio::time::sleep(backoff(failures, self.ids.fraction())).await;
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
        let hello = Hello {
            cluster_uid,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kubernetes_version: text(&version, "/gitVersion").unwrap_or_else(|| "unknown".to_owned()),
            capabilities: Vec::new(),
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
}

impl From<KubeFailure> for Unheard {
    fn from(failure: KubeFailure) -> Self {
        Self::Kubernetes(failure)
    }
}

impl From<ClientError> for Unheard {
    fn from(error: ClientError) -> Self {
        Self::Broker(error)
    }
}

/// The reason in words, with what to do where the agent cannot help itself.
fn explain(error: &ClientError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    match error.code() {
        Some(ErrorCode::Unauthenticated) => text + " — check broker.key_file",
        Some(ErrorCode::ClusterMismatch) => text + " — every cluster needs an agent of its own",
        _ => text,
    }
}
