//! A collector in the test: OTLP over gRPC and HTTP on one port each, kept in memory.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{ResourceSpans, Span},
};
use parking_lot::Mutex;
use prost::Message;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status,
    codec::CompressionEncoding,
    service::Routes,
    transport::{Certificate, Identity, ServerTlsConfig},
};

/// What has arrived.
#[derive(Debug, Clone, Default)]
pub(crate) struct Received(Arc<Mutex<Arrived>>);

#[derive(Debug, Default)]
struct Arrived {
    spans: Vec<ResourceSpans>,
    headers: Vec<HeaderMap>,
}

impl Received {
    fn take(&self, request: ExportTraceServiceRequest, headers: HeaderMap) {
        let mut state = self.0.lock();
        state.spans.extend(request.resource_spans);
        state.headers.push(headers);
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        let state = self.0.lock();
        state.spans.iter().flat_map(|resource| &resource.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.spans().into_iter().map(|span| span.name).collect();
        names.sort();
        names
    }

    /// An attribute of the resource that the spans came from.
    pub(crate) fn resource(&self, name: &str) -> Option<String> {
        let state = self.0.lock();
        let attributes = &state.spans.first()?.resource.as_ref()?.attributes;
        attribute(attributes, name)
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.0.lock().headers.first()?.get(name)?.to_str().ok().map(str::to_owned)
    }
}

pub(crate) fn attribute(attributes: &[KeyValue], name: &str) -> Option<String> {
    let value = attributes.iter().find(|attribute| attribute.key == name)?.value.clone()?.value?;
    Some(match value {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}

struct Grpc(Received);

#[tonic::async_trait]
impl TraceService for Grpc {
    async fn export(&self, request: Request<ExportTraceServiceRequest>) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let headers = request.metadata().clone().into_headers();
        self.0.take(request.into_inner(), headers);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// A collector that speaks gRPC, and its endpoint. It ends with the test's runtime.
#[expect(clippy::disallowed_methods, reason = "a server of the test")]
pub(crate) async fn grpc() -> (Received, String) {
    let received = Received::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let service = TraceServiceServer::new(Grpc(received.clone())).accept_compressed(CompressionEncoding::Gzip);
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    (received, endpoint)
}

/// A collector that speaks both over TLS on one port, and its endpoint. It asks for a certificate of this authority, where one is given.
#[expect(clippy::disallowed_methods, reason = "a server of the test")]
pub(crate) async fn tls(identity: Identity, clients: Option<Certificate>) -> (Received, String) {
    let received = Received::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let router = Router::new().route("/v1/traces", post(export)).with_state(received.clone());
    let routes = Routes::from(router).add_service(TraceServiceServer::new(Grpc(received.clone())));
    let mut tls = ServerTlsConfig::new().identity(identity);
    if let Some(clients) = clients {
        tls = tls.client_ca_root(clients);
    }
    let server = tonic::transport::Server::builder().tls_config(tls).unwrap().add_routes(routes);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    (received, endpoint)
}

async fn export(State(received): State<Received>, headers: HeaderMap, body: Bytes) -> StatusCode {
    match ExportTraceServiceRequest::decode(body) {
        Ok(request) => {
            received.take(request, headers);
            StatusCode::OK
        }
        Err(_) => StatusCode::BAD_REQUEST,
    }
}

/// A collector that speaks HTTP, and its endpoint.
#[expect(clippy::disallowed_methods, reason = "a server of the test")]
pub(crate) async fn http() -> (Received, String) {
    let received = Received::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/v1/traces", post(export)).with_state(received.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (received, endpoint)
}

/// A collector that speaks HTTP and is not ready for the first so many exports.
#[expect(clippy::disallowed_methods, reason = "a server of the test")]
pub(crate) async fn busy(times: usize) -> (Received, String) {
    let left = Arc::new(AtomicUsize::new(times));
    let received = Received::default();
    let take = received.clone();
    let answer = move |headers: HeaderMap, body: Bytes| async move {
        if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        export(State(take), headers, body).await
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/v1/traces", post(answer))).await });
    (received, endpoint)
}

/// A collector that speaks HTTP and refuses the first export.
#[expect(clippy::disallowed_methods, reason = "a server of the test")]
pub(crate) async fn refusing_once() -> String {
    let first = Arc::new(AtomicBool::new(true));
    let export =
        move || async move { if first.swap(false, Ordering::SeqCst) { StatusCode::BAD_REQUEST } else { StatusCode::OK } };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/v1/traces", post(export))).await });
    endpoint
}

/// A port where nobody listens.
pub(crate) async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// A server that takes connections and never says a word.
pub(crate) async fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    (listener, endpoint)
}
