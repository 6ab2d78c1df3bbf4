//! Where metrics are served: beside everything else, or on a port of their own.

use std::{io, net::SocketAddr};

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use brokkr_telemetry::MetricsEndpoint;
use http::{HeaderMap, StatusCode, header};
use tokio::net::TcpListener;

use super::{Server, serve};

/// A port of their own, where nothing else is.
#[derive(Debug)]
pub struct MetricsPort {
    listener: TcpListener,
    endpoint: MetricsEndpoint,
}

impl MetricsPort {
    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `server` stops.
    pub async fn serve(self, server: Server) {
        let path = self.endpoint.path().to_owned();
        serve(self.listener, Router::new().route(&path, get(metrics_text)).with_state(Some(self.endpoint)), server).await;
    }
}

/// What is served on the port of the daemon, and what on one of its own, which listens when this returns.
///
/// # Errors
/// When `listen` cannot be had.
pub async fn place(
    endpoint: Option<MetricsEndpoint>,
    listen: Option<SocketAddr>,
) -> io::Result<(Option<MetricsEndpoint>, Option<MetricsPort>)> {
    match (endpoint, listen) {
        (Some(endpoint), Some(listen)) => {
            let listener = TcpListener::bind(listen).await?;
            Ok((None, Some(MetricsPort { listener, endpoint })))
        }
        (endpoint, _) => Ok((endpoint, None)),
    }
}

pub(super) async fn metrics_text(State(metrics): State<Option<MetricsEndpoint>>, headers: HeaderMap) -> Response {
    let Some(metrics) = metrics else {
        return (StatusCode::NOT_FOUND, "metrics are not served here: see enabled, exporter and listen of [metrics]\n")
            .into_response();
    };
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let rendered = metrics.render(accept);
    ([(header::CONTENT_TYPE, rendered.content_type)], rendered.body).into_response()
}
