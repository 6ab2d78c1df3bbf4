use super::{
    Missing, Span, Trace,
    collection::Collection,
    service::{Grpc, routes},
};
use crate::lab::LabError;
use opentelemetry_proto::tonic::collector::{
    metrics::v1::metrics_service_server::MetricsServiceServer, trace::v1::trace_service_server::TraceServiceServer,
};
use serde::{Deserialize, Serialize};
use std::{
    future::IntoFuture,
    net::{Ipv4Addr, SocketAddr},
    sync::{OnceLock, mpsc},
    thread,
    time::Duration,
};
use tokio::{net::TcpListener, sync::oneshot};
use tonic::{codec::CompressionEncoding, transport::server::TcpIncoming};

/// Where a receiver listens; 0 chooses a free port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
pub struct Where {
    /// Port for OTLP over gRPC on 127.0.0.1.
    #[arg(long, default_value_t = 0)]
    pub grpc_port: u16,
    /// Port for OTLP over HTTP and for `/traces` on 127.0.0.1.
    #[arg(long, default_value_t = 0)]
    pub http_port: u16,
}

/// An OTLP receiver on a thread of its own; it stops when dropped. Spans are kept, metrics are not; [`crate::watch`] searches both.
///
/// gRPC, and HTTP with protobuf at `/v1/traces` and `/v1/metrics`, both with or without gzip. The HTTP side also shows what arrived:
/// `GET /traces` and `GET /traces/{id}`, as JSON, or as text for `Accept: text/plain`.
#[derive(Debug)]
pub struct Receiver {
    collection: Collection,
    grpc: SocketAddr,
    http: SocketAddr,
    /// Dropping it ends the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Receiver {
    /// Starts a receiver; it listens when this returns.
    ///
    /// # Errors
    /// When a port is taken.
    pub fn start(at: Where) -> Result<Self, LabError> {
        Self::into(Collection::new(false), at)
    }

    /// Starts one that takes everything and keeps nothing.
    pub(crate) fn start_forgetful(at: Where) -> Result<Self, LabError> {
        Self::into(Collection::new(true), at)
    }

    fn into(collection: Collection, at: Where) -> Result<Self, LabError> {
        let (ready, listening) = mpsc::sync_channel(1);
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::spawn({
            let collection = collection.clone();
            move || run(at, &collection, &ready, stopped)
        });
        let ended = |_gone| LabError::Refused("the OTLP receiver's thread ended".to_owned());
        let (grpc, http) = listening.recv().map_err(ended)?.map_err(LabError::io("listen for OTLP"))?;
        Ok(Self { collection, grpc, http, stop: Some(stop), thread: Some(thread) })
    }

    /// The one of this process, to which the shared control plane's API server exports.
    ///
    /// # Panics
    /// When it cannot listen.
    #[expect(clippy::panic, reason = "a shared fixture that is missing fails every test that needs it, with the reason")]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Receiver> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(Where::default()).unwrap_or_else(|error| panic!("no OTLP receiver: {error}")))
    }

    /// Address for gRPC.
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc
    }

    /// Endpoint for `protocol = "grpc"`.
    pub fn grpc_endpoint(&self) -> String {
        format!("http://{}", self.grpc)
    }

    /// Endpoint for `protocol = "http"`, without `/v1/traces`. The same address shows what arrived.
    pub fn http_endpoint(&self) -> String {
        format!("http://{}", self.http)
    }

    /// All spans so far, in order of arrival.
    pub fn spans(&self) -> Vec<Span> {
        self.collection.all()
    }

    /// One trace, as far as it has arrived.
    pub fn trace(&self, id: &str) -> Trace {
        self.collection.trace(id)
    }

    /// Waits until `enough` accepts the spans so far, and returns them; asked at once and after each arrival.
    ///
    /// # Errors
    /// After `limit`, with the names of what did arrive.
    pub async fn wait_for(&self, what: &str, limit: Duration, enough: impl FnMut(&[Span]) -> bool) -> Result<Vec<Span>, Missing> {
        self.collection.wait_for(what, limit, enough).await
    }

    /// Waits until spans of all these names have arrived in one trace, and returns that trace.
    ///
    /// # Errors
    /// After `limit`, with the names of what did arrive.
    pub async fn wait_for_trace(&self, id: &str, names: &[&str], limit: Duration) -> Result<Trace, Missing> {
        let what = format!("trace {id} with {}", names.join(", "));
        let has = |spans: &[Span], name: &str| spans.iter().any(|span| span.trace_id == id && span.name == name);
        self.wait_for(&what, limit, |spans| names.iter().all(|name| has(spans, name))).await?;
        Ok(self.trace(id))
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed already.
            drop(thread.join());
        }
    }
}

type Addresses = std::io::Result<(SocketAddr, SocketAddr)>;

fn run(at: Where, collection: &Collection, ready: &mpsc::SyncSender<Addresses>, stopped: oneshot::Receiver<()>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return drop(ready.send(Err(error))),
    };
    runtime.block_on(async {
        let listeners = async {
            let grpc = TcpListener::bind((Ipv4Addr::LOCALHOST, at.grpc_port)).await?;
            let http = TcpListener::bind((Ipv4Addr::LOCALHOST, at.http_port)).await?;
            let addresses = (grpc.local_addr()?, http.local_addr()?);
            std::io::Result::Ok((grpc, http, addresses))
        };
        let (grpc, http, addresses) = match listeners.await {
            Ok(listeners) => listeners,
            Err(error) => return drop(ready.send(Err(error))),
        };
        drop(ready.send(Ok(addresses)));
        let service = TraceServiceServer::new(Grpc(collection.clone()))
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(64 << 20);
        let metrics = MetricsServiceServer::new(Grpc(collection.clone()))
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(64 << 20);
        let server = tonic::transport::Server::builder().add_service(service).add_service(metrics);
        let grpc = server.serve_with_incoming(TcpIncoming::from(grpc));
        let http = axum::serve(http, routes(collection.clone())).into_future();
        // Exporters keep their connections open, so stopping does not wait for them.
        tokio::select! {
            _ = stopped => {}
            _ = grpc => {}
            _ = http => {}
        }
    });
}
