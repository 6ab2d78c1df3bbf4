use crate::tell;
use brokkr_tests::{
    lab::{LabError, Orders, Service, serve},
    otlp::{Receiver, Where},
};
use serde_json::{Value, json};

pub(super) async fn run(at: Where, orders: &mut Orders) -> Result<(), LabError> {
    let receiver = Receiver::start(at)?;
    tell(&format!(
        "ready. Send OTLP over gRPC to {} or over HTTP to {http}, then\n\n  curl -H 'Accept: text/plain' {http}/traces/TRACE_ID\n\nCtrl-C ends it.\n",
        receiver.grpc_endpoint(),
        http = receiver.http_endpoint(),
    ));
    serve(Sink(receiver), orders).await
}

struct Sink(Receiver);

impl Service for Sink {
    fn description(&self) -> Value {
        let Self(receiver) = self;
        let traces = format!("{}/traces", receiver.http_endpoint());
        json!({"grpc": receiver.grpc_endpoint(), "http": receiver.http_endpoint(), "traces": traces, "supervisor": std::process::id()})
    }

    fn check(&mut self) -> Result<(), LabError> {
        Ok(())
    }

    async fn command(&mut self, line: &str) -> Result<Value, LabError> {
        Err(LabError::Refused(format!("unknown command {line:?}; there is none")))
    }

    async fn stop(self) {}
}
