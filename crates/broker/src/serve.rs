//! `brokkr-broker serve`, from configuration to exit code.

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context;
use brokkr_runtime::{
    Clock, Drain, Ended, Ids, Lifecycle, Signals, SystemClock, SystemIds, daemon,
    server::{self, Limits, Server, tls::Tls},
};
use brokkr_telemetry::{BrokerMetrics, InitOptions, Service, Telemetry, http::ServerTelemetry, spans};
use brokkr_webhooks::Sender;
use tokio::{
    net::TcpListener,
    sync::{Notify, watch},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info};

use crate::{
    board::Board,
    bootstrap::{Bootstrap, first_admin_key},
    config::Config,
    courier::Courier,
    feed::Feed,
    http::{self, AppState},
    jobs::{self, Job, key_age::KeyAge, offline::Offline, retention::Retention, sequencer::Sequencer, work_orders::WorkOrders},
    keyring,
    presence::{self, Presence},
    sampler::Sampler,
    store,
};

/// Runs the broker until it is asked to end.
pub(crate) fn main(config: Config) -> ExitCode {
    let instance = daemon::new_instance_id();
    let options = InitOptions {
        service: Service::Broker,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        instance_id: instance.clone(),
        telemetry: config.telemetry.clone(),
        metrics: config.metrics.clone(),
    };
    daemon::run(options, async |telemetry, signals| serve(config, telemetry, signals, instance).await)
}

async fn serve(config: Config, telemetry: &Telemetry, mut signals: Signals, instance: String) -> anyhow::Result<Ended> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ids: Arc<dyn Ids> = Arc::new(SystemIds);
    let metrics = telemetry.broker_metrics();
    // The port first: a second broker that was started by mistake must not touch the database.
    let listener =
        TcpListener::bind(config.server.listen).await.with_context(|| format!("server.listen: {}", config.server.listen))?;
    let (metrics_beside, metrics_port) =
        server::metrics::place(telemetry.metrics_endpoint(), config.metrics.listen).await.context("metrics.listen")?;
    let tls = config.server.tls.files().map(Tls::load).transpose()?;
    let authorities = config.webhooks.ca_file.as_ref().map(|file| std::fs::read(file).context("webhooks.ca_file")).transpose()?;
    let agent = concat!("brokkr-webhooks/", env!("CARGO_PKG_VERSION"));
    let sender = Sender::new(config.webhooks.guard(), agent, authorities.as_deref()).context("webhooks.ca_file")?;
    let start = async {
        let (db, installation) = store::open(&config.database, metrics.clone(), &*clock, &*ids).await?;
        announce(first_admin_key(&db, &*clock, &*ids, config.bootstrap.admin_key_file.as_deref()).await?);
        let keyring = keyring::load(&config.encryption, &config.database, &*ids)?;
        let feed = Feed::load(db.clone()).await.context("the change feed cannot be read")?;
        anyhow::Ok((db, installation, feed, keyring))
    };
    // A database that does not answer must not keep a process that was asked to end.
    let started = signals.unless_asked_to_end(Box::pin(start.instrument(spans::job("start")))).await;
    let Some(started) = started else { return Ok(Ended::Asked) };
    let (db, installation, feed, keyring) = started?;
    let (lifecycle, crashes) = Lifecycle::new();
    let state = AppState::new(http::Shared {
        db: db.clone(),
        feed: Arc::clone(&feed),
        presence: Arc::new(Presence::default()),
        board: Arc::new(Board::default()),
        depot: Arc::default(),
        clock: Arc::clone(&clock),
        ids,
        keyring: Arc::new(keyring),
        guard: Arc::new(config.webhooks.guard()),
        webhooks_changed: Arc::new(Notify::new()),
        settings: http::Settings {
            handoff: config.telemetry.handoff,
            active: Duration::from_secs(config.agents.active_seconds),
            lease: Duration::from_secs(config.work_orders.lease_seconds),
            requests: http::RequestLimits {
                body: config.server.max_body_bytes,
                time: Duration::from_secs(config.server.request_timeout_seconds),
            },
            allowed_origins: config.server.cors.allowed_origins.into(),
            metrics_path: config.metrics.path.into(),
        },
        limits: Arc::new(http::Limits::new(config.limits)),
        tracing: telemetry.control(),
        totals_changed: Arc::new(Notify::new()),
        draining: lifecycle.draining().clone(),
        stopping: lifecycle.stopping().clone(),
    });
    let closing = db.clone();
    let stopping = || lifecycle.stopping().clone();
    lifecycle.spawn("tracing", http::follow_tracing(state.clone(), stopping()));
    lifecycle.spawn("change-feed", feed.follow(stopping()));
    let sequencer = Sequencer { db: db.clone() };
    lifecycle.spawn(Sequencer::NAME, jobs::run(sequencer, db.clone(), Arc::clone(&clock), instance.clone(), stopping()));
    let retention = Retention { db: db.clone(), clock: Arc::clone(&clock), config: config.retention };
    lifecycle.spawn(Retention::NAME, jobs::run(retention, db.clone(), Arc::clone(&clock), instance.clone(), stopping()));
    let offline =
        Offline { db: db.clone(), clock: Arc::clone(&clock), ids: Arc::clone(&state.ids), active: state.settings.active };
    lifecycle.spawn(Offline::NAME, jobs::run(offline, db.clone(), Arc::clone(&clock), instance.clone(), stopping()));
    let board = Arc::clone(&state.board);
    lifecycle.spawn("work-orders-board", Arc::clone(&board).follow(db.clone(), stopping()));
    let work_orders = WorkOrders { db: db.clone(), clock: Arc::clone(&clock), ids: Arc::clone(&state.ids), board };
    lifecycle.spawn(WorkOrders::NAME, jobs::run(work_orders, db.clone(), Arc::clone(&clock), instance.clone(), stopping()));
    let courier = Courier {
        db: db.clone(),
        clock: Arc::clone(&clock),
        ids: Arc::clone(&state.ids),
        keyring: Arc::clone(&state.keyring),
        sender,
        metrics: metrics.clone(),
        handoff: config.telemetry.handoff,
        installation: installation.id.clone(),
        holder: instance.clone(),
        nudge: Arc::clone(&state.webhooks_changed),
        depot: Arc::clone(&state.depot),
        at_once: config.webhooks.attempts_at_once as usize,
    };
    lifecycle.spawn("webhooks", courier.run(lifecycle.draining().clone(), stopping()));
    let key_age =
        KeyAge { db: db.clone(), clock: Arc::clone(&clock), ids: Arc::clone(&state.ids), most: config.agents.most_key_age() };
    lifecycle.spawn(KeyAge::NAME, jobs::run(key_age, db.clone(), Arc::clone(&clock), instance, stopping()));
    let changed = || Arc::clone(&state.totals_changed);
    lifecycle.spawn("presence", presence::keep(Arc::clone(&state.presence), db.clone(), changed(), stopping()));
    if telemetry.measures() {
        let sampler = Sampler { db, clock, metrics: metrics.clone(), active: state.settings.active };
        lifecycle.spawn("metrics", sampler.run(changed(), stopping()));
    }
    let router =
        http::router(&state, ServerTelemetry::new(telemetry, Some(metrics.clone())), telemetry.status_handle(), metrics_beside);
    let address = listener.local_addr().unwrap_or(config.server.listen);
    info!(%address, version = env!("CARGO_PKG_VERSION"), installation = installation.id, "the broker serves");
    if let Some(tls) = tls.clone() {
        lifecycle.spawn("certificate-expiry", tell_expiry(tls.expiry(), metrics.clone(), stopping()));
        lifecycle.spawn("certificate", tls.follow(stopping()));
    }
    if let Some(port) = metrics_port {
        let server =
            Server { tls: None, limits: Limits::default(), draining: lifecycle.draining().clone(), stopping: stopping() };
        lifecycle.spawn("metrics-server", port.serve(server));
    }
    let server = Server { tls, limits: Limits::default(), draining: lifecycle.draining().clone(), stopping: stopping() };
    lifecycle.spawn("http-server", server::serve(listener, router, server));
    let drain = Drain {
        delay: Duration::from_secs(config.server.drain_delay_seconds),
        grace: Duration::from_secs(config.server.drain_seconds),
    };
    let ended = lifecycle.run(crashes, signals, drain).await;
    closing.close().await;
    Ok(ended)
}

/// Keeps the gauge of the certificate that is served, until `stopping`.
async fn tell_expiry(mut expiry: watch::Receiver<Option<SystemTime>>, metrics: BrokerMetrics, stopping: CancellationToken) {
    loop {
        if let Some(at) = *expiry.borrow_and_update() {
            metrics.certificate_expiry.set(at);
        }
        tokio::select! {
            () = stopping.cancelled() => return,
            // Nobody follows the files any more only when the broker ends.
            changed = expiry.changed() => if changed.is_err() { return stopping.cancelled().await },
        }
    }
}

/// The one time that the first key is shown: on the standard output, never in the log.
#[expect(clippy::print_stdout, reason = "a person must see the first key once, and a log would keep it")]
fn announce(first: Bootstrap) {
    match first {
        Bootstrap::Unneeded => {}
        Bootstrap::Show(key) => println!("first admin key (shown once, keep it): {key}"),
        Bootstrap::Taken(path) => info!(file = %path.display(), "the first admin key was taken from its file"),
        Bootstrap::Written(path) => println!("the first admin key is in {}", path.display()),
    }
}
