use brokkr_tests::otlp::{Kind, Receiver, Status, Where};
use opentelemetry::{
    KeyValue,
    trace::{Span as _, SpanKind, TraceContextExt as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_otlp::{Compression, Protocol, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

/// Sends a parent and a child through the SDK's own exporter, and returns the trace id.
async fn send(exporter: SpanExporter) -> String {
    let resource = Resource::builder_empty().with_attribute(KeyValue::new("service.name", "sender")).build();
    let provider = SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build();
    let tracer = provider.tracer("harness");
    let parent = tracer.span_builder("PUT /things").with_kind(SpanKind::Server).start(&tracer);
    let trace = parent.span_context().trace_id().to_string();
    let context = opentelemetry::Context::new().with_span(parent);
    let mut child = tracer.span_builder("INSERT things").with_kind(SpanKind::Client).start_with_context(&tracer, &context);
    child.set_attribute(KeyValue::new("db.system.name", "sqlite"));
    child.set_attribute(KeyValue::new("rows", 3));
    child.set_status(opentelemetry::trace::Status::error("full"));
    child.end();
    context.span().end();
    tokio::task::spawn_blocking(move || provider.shutdown()).await.unwrap().unwrap();
    trace
}

async fn assert_arrives(receiver: &Receiver, trace: &str) {
    let trace = receiver.wait_for_trace(trace, &["PUT /things", "INSERT things"], LIMIT).await.unwrap();
    let (parent, child) = (trace.span("PUT /things").unwrap(), trace.span("INSERT things").unwrap());
    assert_eq!((parent.parent.as_deref(), child.parent.as_deref()), (None, Some(parent.span_id.as_str())));
    assert_eq!((parent.kind, child.kind, child.service.as_str()), (Kind::Server, Kind::Client, "sender"));
    assert_eq!((child.text("db.system.name"), child.attributes["rows"].as_i64()), (Some("sqlite"), Some(3)));
    assert_eq!(child.status, Status::Error("full".to_owned()));
    assert!(parent.start_nanos <= child.start_nanos && child.end_nanos <= parent.end_nanos);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn spans_arrive_over_grpc() {
    let receiver = Receiver::start(Where::default()).unwrap();
    let exporter = SpanExporter::builder().with_tonic().with_endpoint(receiver.grpc_endpoint());
    let trace = send(exporter.with_compression(Compression::Gzip).build().unwrap()).await;
    assert_arrives(&receiver, &trace).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn spans_arrive_over_http_and_are_shown_there() {
    brokkr_tests::http::install_tls();
    let receiver = Receiver::start(Where::default()).unwrap();
    let endpoint = format!("{}/v1/traces", receiver.http_endpoint());
    let exporter = tokio::task::spawn_blocking(|| {
        let exporter = SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary).with_endpoint(endpoint);
        exporter.with_compression(Compression::Gzip).build().unwrap()
    });
    let trace = send(exporter.await.unwrap()).await;
    assert_arrives(&receiver, &trace).await;

    let client = brokkr_tests::http::client().unwrap();
    let request = client.get(format!("{}/traces/{trace}", receiver.http_endpoint()));
    let text = request.try_clone().unwrap().header("accept", "text/plain").send().await.unwrap().text().await.unwrap();
    assert!(text.contains("└─ INSERT things  [client]  ✗ full"), "{text}");
    let json: serde_json::Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(json["spans"].as_array().unwrap().len(), 2);
    assert_eq!(
        json["shares"].as_array().unwrap().iter().map(|share| share["component"].as_str().unwrap()).collect::<Vec<_>>().len(),
        2
    );
}

#[tokio::test]
async fn what_is_not_protobuf_is_refused() {
    let receiver = Receiver::start(Where::default()).unwrap();
    let client = brokkr_tests::http::client().unwrap();
    let url = format!("{}/v1/traces", receiver.http_endpoint());
    let json = client.post(&url).header("content-type", "application/json").body("{}").send().await.unwrap();
    assert_eq!(json.status(), 415);
    let garbage = client.post(&url).header("content-type", "application/x-protobuf").body(vec![0xff; 9]).send().await.unwrap();
    assert_eq!(garbage.status(), 400);
}

#[tokio::test]
async fn waiting_in_vain_names_what_was_missing() {
    let receiver = Receiver::start(Where::default()).unwrap();
    let missing = receiver.wait_for("span of the moon", Duration::from_millis(1), |_| false).await.unwrap_err();
    assert!(missing.to_string().contains("no span of the moon; 0 spans arrived"), "{missing}");
}
