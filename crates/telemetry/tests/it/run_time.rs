//! Tracing changed while the process runs, seen by the collectors.

use brokkr_telemetry::{
    RunTime,
    config::{Exporter, Protocol},
};

use crate::{
    export::{LONG, config, trace_something, with},
    receiver,
};

fn to(endpoint: &str) -> RunTime {
    RunTime { enabled: Some(true), exporter: Some(Exporter::Otlp), endpoint: Some(endpoint.to_owned()), ..RunTime::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_follow_the_settings_from_off_to_one_collector_to_another_to_off() {
    let ((first, one), (second, other)) = (receiver::grpc().await, receiver::http().await);
    let mut off = config("http://127.0.0.1:1");
    off.enabled = false;
    let (telemetry, log) = with(off);
    let control = telemetry.control();
    trace_something(&telemetry);
    control.apply(&to(&one));
    trace_something(&telemetry);
    telemetry.flush().await;
    assert_eq!(first.names(), ["poll", "report"]);
    control.apply(&RunTime { protocol: Some(Protocol::HttpProtobuf), service_name: Some("renamed".to_owned()), ..to(&other) });
    trace_something(&telemetry);
    telemetry.flush().await;
    assert_eq!(second.names(), ["poll", "report"]);
    assert_eq!(second.resource("service.name").as_deref(), Some("renamed"));
    control.apply(&RunTime::default());
    trace_something(&telemetry);
    let status = telemetry.shutdown(LONG).await;
    assert_eq!((status.enabled, status.exported, status.failed, status.dropped), (false, 4, 0, 0));
    assert_eq!((first.spans().len(), second.spans().len()), (2, 2));
    let log = log.text();
    assert!(log.contains("tracing is on, by settings at run time") && log.contains("tracing is off"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_of_the_configured_collector_go_to_no_other() {
    let ((first, one), (second, other)) = (receiver::grpc().await, receiver::grpc().await);
    let mut configured = config(&one);
    configured.headers.insert("authorization".to_owned(), "Bearer hush".to_owned());
    let (telemetry, _) = with(configured);
    trace_something(&telemetry);
    telemetry.flush().await;
    telemetry.control().apply(&to(&other));
    trace_something(&telemetry);
    telemetry.shutdown(LONG).await;
    assert_eq!(first.header("authorization").as_deref(), Some("Bearer hush"));
    assert_eq!((second.spans().len(), second.header("authorization")), (2, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_changes_without_another_exporter() {
    let (received, endpoint) = receiver::grpc().await;
    let (telemetry, _) = with(config(&endpoint));
    let write = || {
        tracing::dispatcher::with_default(telemetry.dispatch(), || drop(brokkr_telemetry::spans::report().entered()));
    };
    telemetry.control().apply(&RunTime { sampling_rate: Some(0.0), ..RunTime::default() });
    write();
    telemetry.control().apply(&RunTime { sampling_rate: Some(1.0), ..RunTime::default() });
    write();
    telemetry.flush().await;
    assert_eq!(received.names(), ["report"]);
}
