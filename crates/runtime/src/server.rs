//! The HTTP server of a daemon, and the routes that every daemon has: `/healthz`, `/readyz`, `/metrics`.

mod connection;
pub mod metrics;
#[cfg(test)]
mod tests;
pub mod tls;

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use brokkr_api::{
    readiness::{Check, Readiness},
    routes,
};
use brokkr_telemetry::{MetricsEndpoint, PipelineStatus};
use http::StatusCode;
use tokio_util::sync::CancellationToken;

pub use connection::{Limits, Server, serve};

/// What `/readyz` asks of a daemon.
pub trait Probe: Send + Sync + 'static {
    /// The state of each part. Answers at once: it looks at what the parts last saw and asks nobody.
    fn checks(&self) -> BTreeMap<String, Check>;
}

#[derive(Clone)]
struct Probes {
    probe: Arc<dyn Probe>,
    draining: CancellationToken,
}

/// `/healthz`, `/readyz` and the metrics, by default `/metrics`. Without a metrics endpoint that is not found.
///
/// From `draining` on `/readyz` answers 503, so that load balancers send nobody any more.
pub fn probes(probe: Arc<dyn Probe>, draining: CancellationToken, metrics: Option<MetricsEndpoint>) -> Router {
    let path = metrics.as_ref().map_or(routes::METRICS, MetricsEndpoint::path).to_owned();
    Router::new()
        .route(routes::HEALTHZ, get(|| async { "ok\n" }))
        .route(routes::READYZ, get(readyz))
        .with_state(Probes { probe, draining })
        .merge(Router::new().route(&path, get(metrics::metrics_text)).with_state(metrics))
}

/// What became of the spans, as a part of `/readyz`.
#[must_use]
pub fn telemetry_check(status: &PipelineStatus) -> Check {
    if !status.enabled {
        return Check::ok("tracing is off");
    }
    let counts = format!("spans exported {}, failed {}, dropped {}", status.exported, status.failed, status.dropped);
    match &status.last_error {
        Some(error) => Check::failing(format!("{counts}; last error: {error}")),
        None => Check::ok(counts),
    }
}

async fn readyz(State(state): State<Probes>) -> Response {
    // Ready is "started and not draining": a part in trouble is no reason to take the replica out of service.
    let ready = !state.draining.is_cancelled();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, checks: state.probe.checks() })).into_response()
}
