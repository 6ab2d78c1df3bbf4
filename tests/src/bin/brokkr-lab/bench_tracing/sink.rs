//! A collector that takes everything and keeps nothing.

use std::net::SocketAddr;

use brokkr_tests::lab::LabError;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::transport::server::TcpIncoming;

struct Nothing;

#[tonic::async_trait]
impl TraceService for Nothing {
    async fn export(
        &self,
        _: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

/// A running one; it ends when it is dropped.
pub(crate) struct Sink {
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Sink {
    #[expect(clippy::disallowed_methods, reason = "the task ends with the value that holds it")]
    pub(crate) async fn start() -> Result<Self, LabError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(LabError::io("a port for the collector"))?;
        let address = listener.local_addr().map_err(LabError::io("the collector's port"))?;
        let service = TraceServiceServer::new(Nothing).max_decoding_message_size(64 << 20);
        let serve = tonic::transport::Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener));
        // How it ends is told by the exports that fail.
        let server = tokio::spawn(async move { drop(serve.await) });
        Ok(Self { address, server })
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.server.abort();
    }
}
