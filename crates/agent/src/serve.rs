//! `brokkr-agent run`, from configuration to exit code.

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use brokkr_api::client::{Client, ClientBuilder, KeySource, SharedKey};
use brokkr_runtime::{
    Clock, Drain, Ended, Ids, Lifecycle, Signals, SystemClock, SystemIds, daemon,
    server::{self, Limits, Server},
};
use brokkr_telemetry::{
    InitOptions, Service, Telemetry,
    http::{ClientTelemetry, ServerTelemetry},
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    attempt::{Approvals, Workshop},
    cluster::{Cluster, Resources},
    config::Config,
    desired::Contents,
    drift::Contests,
    identity::{Enrolment, Identity, KeyStore, SecretStore, TokenSource},
    leader::Candidate,
    ledger::Ledger,
    monitor::Monitor,
    poll::Poller,
    reconcile::Reconciler,
    sight::Sight,
    standing::Standing,
    status::{AgentProbe, Status},
};

/// Runs the agent until it is asked to end.
pub(crate) fn main(config: Config) -> ExitCode {
    let me = daemon::new_instance_id();
    let options = InitOptions {
        service: Service::Agent,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        instance_id: me.clone(),
        telemetry: config.telemetry.clone(),
        metrics: config.metrics,
        log: config.log.clone(),
    };
    daemon::run(options, async |telemetry, signals| serve(config, me, telemetry, signals).await)
}

/// Where the key is kept, and where requests have it from.
pub(crate) fn key(config: &Config, cluster: &Cluster) -> anyhow::Result<(KeyStore, KeySource)> {
    let broker = &config.broker;
    match (&broker.key_file, &broker.key_secret, &broker.key) {
        (Some(path), None, None) => Ok((KeyStore::File(path.clone()), KeySource::File(path.clone()))),
        (None, Some(place), None) => {
            let (namespace, name) = place.split_once('/').context("broker.key_secret: write it as namespace/name")?;
            let key = SharedKey::default();
            let (namespace, name) = (namespace.to_owned(), name.to_owned());
            let store = SecretStore { namespace, name, cluster: cluster.unconfined(), key: key.clone() };
            Ok((KeyStore::Secret(store), KeySource::Shared(key)))
        }
        (None, None, Some(key)) => Ok((KeyStore::Fixed, KeySource::Text(Arc::from(key.trim())))),
        (None, None, None) => bail!(
            "the agent needs a key: set broker.key_file or broker.key_secret, and agent.name and enrolment.token_file to get one"
        ),
        _ => bail!("set one of broker.key_file, broker.key_secret and broker.key"),
    }
}

/// The client for the broker.
pub(crate) fn client(config: &Config, key: KeySource) -> anyhow::Result<Client> {
    let broker = &config.broker;
    let mut builder = ClientBuilder::new(&broker.url, key)
        .context("broker.url")?
        .user_agent(concat!("brokkr-agent/", env!("CARGO_PKG_VERSION")))
        .middleware(Arc::new(ClientTelemetry));
    if let Some(path) = &broker.ca_file {
        let pem = std::fs::read(path).with_context(|| format!("broker.ca_file: {}", path.display()))?;
        builder = builder.authorities(&pem).with_context(|| format!("broker.ca_file: {}", path.display()))?;
    }
    if let Some(proxy) = &broker.proxy {
        builder = builder.proxy(proxy).context("broker.proxy")?;
    }
    Ok(builder.build()?)
}

/// How to get a key, when the configuration says so.
fn enrolment(config: &Config) -> anyhow::Result<Option<Enrolment>> {
    let token = match (&config.enrolment.token_file, &config.enrolment.token) {
        (Some(_), Some(_)) => bail!("set enrolment.token_file or enrolment.token, not both"),
        (Some(path), None) => TokenSource::File(path.clone()),
        (None, Some(token)) => TokenSource::Text(Arc::from(token.trim())),
        (None, None) if config.broker.key_secret.is_some() && config.agent.name.is_some() => TokenSource::Secret,
        (None, None) => return Ok(None),
    };
    let name = config.agent.name.clone().context("an agent that enrols needs a name: set agent.name")?;
    let cluster = config.agent.cluster.clone().unwrap_or_else(|| name.clone());
    Ok(Some(Enrolment { name, cluster, token }))
}

async fn serve(config: Config, me: String, telemetry: &Telemetry, mut signals: Signals) -> anyhow::Result<Ended> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ids: Arc<dyn Ids> = Arc::new(SystemIds);
    let metrics = telemetry.agent_metrics();
    let kubernetes = &config.kubernetes;
    let cluster = Cluster::new(kubernetes, Arc::clone(&ids), metrics.clone());
    let Some(cluster) = signals.unless_asked_to_end(cluster).await else { return Ok(Ended::Asked) };
    let cluster = cluster?;
    let (store, key) = key(&config, &cluster)?;
    let identity = Identity { store, enrolment: enrolment(&config)? };
    let client = client(&config, key)?;
    let listener =
        TcpListener::bind(config.server.listen).await.with_context(|| format!("server.listen: {}", config.server.listen))?;
    let (lifecycle, crashes) = Lifecycle::new();
    let stopping = || lifecycle.stopping().clone();
    let status = Arc::new(Status::default());
    let (candidate, leads) = candidate(&config, me, &cluster, &clock, &ids, &status);
    let (drifted, seen) = mpsc::unbounded_channel();
    let (suspects, suspected) = mpsc::unbounded_channel();
    let (touched, touches) = mpsc::unbounded_channel();
    let (applied, applies) = mpsc::unbounded_channel();
    let workshop = Arc::new(Workshop {
        client,
        cluster: candidate.as_ref().map_or_else(|| cluster.clone(), |candidate| cluster.guarded_by(candidate.standing.clone())),
        resources: Resources::default(),
        contents: Contents::default(),
        ledger: Ledger::default(),
        contests: Contests::default(),
        approvals: Approvals::default(),
        health: Monitor::default(),
        sight: Arc::new(Sight::new(drifted, suspects, touched)),
        applied,
        status: Arc::clone(&status),
        namespace: kubernetes.namespace.clone(),
        default_namespace: kubernetes.default_namespace.clone(),
        concurrency: kubernetes.concurrency.max(1),
    });
    let (sender, receiver) = watch::channel(None);
    let poller = Poller {
        workshop: Arc::clone(&workshop),
        identity,
        status: Arc::clone(&status),
        metrics,
        clock: Arc::clone(&clock),
        ids: Arc::clone(&ids),
        wait: Duration::from_secs(config.broker.wait_seconds.clamp(1, brokkr_api::wait::MAX_WAIT_SECONDS)),
    };
    let end = stopping();
    // Everything else follows from what the poll brings.
    lifecycle.spawn("poll", async move {
        tokio::select! {
            () = end.cancelled() => {}
            () = leads.cancelled() => poller.run(sender, end.clone()).await,
        }
    });
    lifecycle.spawn("watch", Sight::run(Arc::clone(&workshop), Arc::clone(&ids), stopping()));
    lifecycle.spawn("drift", Sight::judge_suspects(Arc::clone(&workshop), suspected, stopping()));
    lifecycle.spawn("health", Monitor::run(Arc::clone(&workshop), Arc::clone(&clock), touches, applies, stopping()));
    let reconciler = Reconciler {
        workshop,
        clock,
        ids,
        status: Arc::clone(&status),
        lifecycle: lifecycle.clone(),
        stacks: kubernetes.stacks.max(1),
        resync: Duration::from_secs(kubernetes.resync_seconds.max(1)),
    };
    lifecycle.spawn("reconcile", reconciler.run(receiver, seen));
    let router = server::probes(
        Arc::new(AgentProbe { status, spans: telemetry.status_handle() }),
        lifecycle.draining().clone(),
        telemetry.metrics_endpoint(),
    );
    let router = ServerTelemetry::new(telemetry, None).wrap(router);
    let address = listener.local_addr().unwrap_or(config.server.listen);
    info!(%address, version = env!("CARGO_PKG_VERSION"), broker = config.broker.url, "the agent runs");
    let server = Server {
        tls: None,
        limits: Limits::default(),
        draining: lifecycle.draining().clone(),
        stopping: lifecycle.stopping().clone(),
    };
    lifecycle.spawn("http-server", server::serve(listener, router, server));
    let drain = Drain { delay: Duration::ZERO, grace: Duration::from_secs(config.server.drain_seconds) };
    let Some(candidate) = candidate else { return Ok(lifecycle.run(crashes, signals, drain).await) };
    // The lead is kept until the work in flight has ended.
    let ended = tokio::select! {
        ended = lifecycle.run(crashes, signals, drain) => ended,
        () = candidate.run() => return Ok(Ended::Crashed("leader-election")),
    };
    candidate.release().await;
    Ok(ended)
}

/// The candidate for the lead, and what is cancelled when this agent may work: at once where nobody else is to.
fn candidate(
    config: &Config,
    me: String,
    cluster: &Cluster,
    clock: &Arc<dyn Clock>,
    ids: &Arc<dyn Ids>,
    status: &Arc<Status>,
) -> (Option<Candidate>, CancellationToken) {
    let leads = CancellationToken::new();
    if !config.leader_election.enabled {
        leads.cancel();
        return (None, leads);
    }
    status.stands_by("");
    let candidate = Candidate {
        cluster: cluster.apart(),
        namespace: config.kubernetes.namespace.clone(),
        lease: config.leader_election.lease_name.clone(),
        me,
        standing: Standing::default(),
        leads: leads.clone(),
        clock: Arc::clone(clock),
        ids: Arc::clone(ids),
        status: Arc::clone(status),
    };
    (Some(candidate), leads)
}
