//! `brokkr-agent run`, from configuration to exit code.

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use brokkr_api::{
    StackId,
    client::Client,
    desired_state::{Action, DesiredDeployment},
};
use brokkr_runtime::{
    Clock, Drain, Ended, Ids, Lifecycle, Signals, SystemClock, SystemIds, daemon,
    server::{self, Limits, Server},
};
use brokkr_telemetry::{AgentMetrics, InitOptions, Service, Telemetry, TelemetryConfig, http::ServerTelemetry};
use brokkr_webhooks::Sender;
use parking_lot::Mutex;
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
    courier::Courier,
    desired::{Contents, Desired},
    drift::Contests,
    hands::Hands,
    identity::Identity,
    leader::Candidate,
    ledger::Ledger,
    link,
    monitor::Monitor,
    object::ObjectId,
    phases::Phases,
    poll::Poller,
    reconcile::Reconciler,
    sight::Sight,
    standing::Standing,
    status::{AgentProbe, Status},
    work::Workforce,
};

/// Runs the agent until it is asked to end.
pub(crate) fn main(config: Config) -> ExitCode {
    let me = daemon::new_instance_id();
    let options = InitOptions {
        service: Service::Agent,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        instance_id: me.clone(),
        telemetry: telemetry(&config),
        metrics: config.metrics.clone(),
    };
    daemon::run(options, async |telemetry, signals| serve(config, me, telemetry, signals).await)
}

/// Spans say which cluster they are from, where that is known before the first of them.
fn telemetry(config: &Config) -> TelemetryConfig {
    let mut telemetry = config.telemetry.clone();
    if let Some(cluster) = config.agent.cluster.as_ref().or(config.agent.name.as_ref()) {
        telemetry.resource.entry("k8s.cluster.name".to_owned()).or_insert_with(|| cluster.to_string());
    }
    telemetry
}

async fn serve(config: Config, me: String, telemetry: &Telemetry, mut signals: Signals) -> anyhow::Result<Ended> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ids: Arc<dyn Ids> = Arc::new(SystemIds);
    let metrics = telemetry.agent_metrics();
    let kubernetes = &config.kubernetes;
    let cluster = Cluster::new(kubernetes, Arc::clone(&ids), metrics.clone());
    let Some(cluster) = signals.unless_asked_to_end(cluster).await else { return Ok(Ended::Asked) };
    let cluster = cluster?;
    let (store, key) = link::key(&config, &cluster)?;
    let identity = Identity { store, enrolment: link::enrolment(&config)? };
    let client = link::client(&config, key)?;
    let listener =
        TcpListener::bind(config.server.listen).await.with_context(|| format!("server.listen: {}", config.server.listen))?;
    let (metrics_beside, metrics_port) =
        server::metrics::place(telemetry.metrics_endpoint(), config.metrics.listen).await.context("metrics.listen")?;
    let (lifecycle, crashes) = Lifecycle::new();
    let stopping = || lifecycle.stopping().clone();
    let status = Arc::new(Status::default());
    let (candidate, leads) = candidate(&config, me, &cluster, &clock, &ids, &status);
    let guarded = candidate.as_ref().map_or_else(|| cluster.clone(), |candidate| cluster.guarded_by(candidate.standing.clone()));
    let (workshop, news) = workshop(&config, client, guarded, &status);
    let (sender, receiver) = watch::channel(None);
    let hands = Arc::new(Hands::new(config.work_orders.at_once));
    let courier = courier(&config, &workshop, &clock, &ids)?;
    measure(&metrics, &workshop, &status, receiver.clone());
    let poller = Poller {
        workshop: Arc::clone(&workshop),
        identity,
        status: Arc::clone(&status),
        metrics: metrics.clone(),
        clock: Arc::clone(&clock),
        ids: Arc::clone(&ids),
        hands: Arc::clone(&hands),
        couriers: Arc::clone(&courier.hands),
        tracing: telemetry.control(),
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
    lifecycle.spawn("drift", Sight::judge_suspects(Arc::clone(&workshop), news.suspected, stopping()));
    lifecycle.spawn("health", Monitor::run(Arc::clone(&workshop), Arc::clone(&clock), news.touched, news.applied, stopping()));
    lifecycle.spawn("webhooks", courier.run(stopping()));
    let workforce = Workforce {
        workshop: Arc::clone(&workshop),
        clock: Arc::clone(&clock),
        ids: Arc::clone(&ids),
        status: Arc::clone(&status),
        hands,
        patience: Duration::from_secs(config.work_orders.patience_seconds),
        lifecycle: lifecycle.clone(),
        held: Mutex::default(),
    };
    lifecycle.spawn("work-orders", Arc::new(workforce).run());
    let reconciler = Reconciler {
        workshop,
        metrics,
        clock,
        ids,
        status: Arc::clone(&status),
        lifecycle: lifecycle.clone(),
        stacks: kubernetes.stacks.max(1),
        resync: Duration::from_secs(kubernetes.resync_seconds.max(1)),
    };
    lifecycle.spawn("reconcile", reconciler.run(receiver, news.drifted));
    let router = server::probes(
        Arc::new(AgentProbe { status, spans: telemetry.status_handle() }),
        lifecycle.draining().clone(),
        metrics_beside,
    );
    let router = ServerTelemetry::new(telemetry, None).wrap(router);
    let address = listener.local_addr().unwrap_or(config.server.listen);
    info!(%address, version = env!("CARGO_PKG_VERSION"), broker = config.broker.url, "the agent runs");
    let server = || Server {
        tls: None,
        limits: Limits::default(),
        draining: lifecycle.draining().clone(),
        stopping: lifecycle.stopping().clone(),
    };
    if let Some(port) = metrics_port {
        lifecycle.spawn("metrics-server", port.serve(server()));
    }
    lifecycle.spawn("http-server", server::serve(listener, router, server()));
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

/// Who sends webhooks for the broker.
fn courier(config: &Config, workshop: &Workshop, clock: &Arc<dyn Clock>, ids: &Arc<dyn Ids>) -> anyhow::Result<Courier> {
    let webhooks = &config.webhooks;
    let authorities = webhooks.ca_file.as_ref().map(|file| std::fs::read(file).context("webhooks.ca_file")).transpose()?;
    let name = concat!("brokkr-webhooks/", env!("CARGO_PKG_VERSION"));
    Ok(Courier {
        client: workshop.client.clone(),
        sender: Sender::new(webhooks.guard(), name, authorities.as_deref()).context("webhooks.ca_file")?,
        hands: Arc::new(Hands::new(webhooks.hands())),
        clock: Arc::clone(clock),
        ids: Arc::clone(ids),
    })
}

/// Where the gauges are read when somebody looks: all of it is in memory.
fn measure(metrics: &AgentMetrics, workshop: &Arc<Workshop>, status: &Arc<Status>, desired: watch::Receiver<Option<Desired>>) {
    let status = Arc::clone(status);
    metrics.leader.by(move || i64::from(status.may_act()));
    let is_applied = |deployment: &&DesiredDeployment| deployment.action == Action::Apply;
    let applied = move |state: &Desired| state.deployments.iter().filter(is_applied).count();
    metrics.stacks.by(move || number(desired.borrow().as_ref().map_or(0, applied)));
    let contests = Arc::clone(workshop);
    metrics.drift_contested.by(move || number(contests.contests.contested(Instant::now())));
    let objects = Arc::clone(workshop);
    metrics.count_objects(move || objects.health.by_health());
}

fn number(of: usize) -> i64 {
    i64::try_from(of).unwrap_or(i64::MAX)
}

/// What those who work tell those who look after what was done.
struct News {
    drifted: mpsc::UnboundedReceiver<StackId>,
    suspected: mpsc::UnboundedReceiver<(Instant, ObjectId)>,
    touched: mpsc::UnboundedReceiver<(StackId, ObjectId)>,
    applied: mpsc::UnboundedReceiver<()>,
}

fn workshop(config: &Config, client: Client, cluster: Cluster, status: &Arc<Status>) -> (Arc<Workshop>, News) {
    let (drifts, drifted) = mpsc::unbounded_channel();
    let (suspects, suspected) = mpsc::unbounded_channel();
    let (touches, touched) = mpsc::unbounded_channel();
    let (applies, applied) = mpsc::unbounded_channel();
    let workshop = Workshop {
        client,
        cluster,
        resources: Resources::default(),
        contents: Contents::default(),
        ledger: Ledger::default(),
        contests: Contests::default(),
        approvals: Approvals::default(),
        health: Monitor::default(),
        phases: Phases::default(),
        sight: Sight::new(drifts, suspects, touches),
        applied: applies,
        status: Arc::clone(status),
        namespace: config.kubernetes.namespace.clone(),
        default_namespace: config.kubernetes.default_namespace.clone(),
        concurrency: config.kubernetes.concurrency.max(1),
    };
    (Arc::new(workshop), News { drifted, suspected, touched, applied })
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
