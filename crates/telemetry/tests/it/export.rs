//! Spans on their way to a collector, and what happens when there is none.

use std::{
    io::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use brokkr_telemetry::{
    InitOptions, Relation, Service, Telemetry, TelemetryConfig, TraceContext,
    capture::{init_with_writer, options},
    config::{Compression, Exporter, LogConfig, LogFormat, Protocol},
    relate,
    spans::{self, PollOutcome, ProcessDeployment},
};
use parking_lot::Mutex;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::receiver::{self, attribute};

pub(crate) const LONG: Duration = Duration::from_secs(30);

#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub(crate) fn with(telemetry: TelemetryConfig) -> (Telemetry, Log) {
    let log = Log::default();
    let to = log.clone();
    let told = LogConfig { format: LogFormat::Human, level: "info".to_owned() };
    let options = InitOptions { telemetry: TelemetryConfig { log: told, ..telemetry }, ..options(Service::Agent) };
    (init_with_writer(options, BoxMakeWriter::new(move || to.clone())).unwrap(), log)
}

pub(crate) fn config(endpoint: &str) -> TelemetryConfig {
    options(Service::Agent).telemetry.with_exporter(Exporter::Otlp).with_endpoint(endpoint)
}

pub(crate) fn trace_something(telemetry: &Telemetry) {
    tracing::dispatcher::with_default(telemetry.dispatch(), || {
        let poll = spans::poll();
        poll.in_scope(|| drop(spans::report().entered()));
        spans::record_poll(&poll, PollOutcome::Changed);
    });
}

fn process(inbound: &str) {
    let span = spans::process_deployment(ProcessDeployment {
        stack: "shop",
        stack_id: "stk-1",
        generation: 3,
        revision: 7,
        action: "apply",
        attempt: 1,
        agent: "edge",
        cluster: "edge-1",
    });
    relate(&span, &TraceContext::from_parts(inbound, None).unwrap(), Relation::Parent);
    span.in_scope(|| drop(spans::plan().entered()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn spans_reach_a_collector_over_grpc() {
    let (received, endpoint) = receiver::grpc().await;
    let mut config = config(&endpoint);
    config.headers.insert("Authorization".to_owned(), "Bearer hush".to_owned());
    let (telemetry, log) = with(config);
    trace_something(&telemetry);
    let status = telemetry.shutdown(LONG).await;
    assert_eq!(received.names(), ["poll", "report"]);
    assert_eq!((status.exported, status.failed, status.dropped, status.pending), (2, 0, 0, 0));
    assert!(status.last_success.is_some() && status.last_error.is_none());
    assert_eq!(received.resource("service.name").as_deref(), Some("brokkr-agent"));
    assert_eq!(received.resource("service.instance.id").as_deref(), Some("test"));
    assert_eq!(received.header("authorization").as_deref(), Some("Bearer hush"));
    assert!(!log.text().contains("hush"), "{}", log.text());
    let spans = received.spans();
    let (poll, report) =
        (spans.iter().find(|span| span.name == "poll").unwrap(), spans.iter().find(|span| span.name == "report").unwrap());
    assert_eq!((&report.trace_id, &report.parent_span_id), (&poll.trace_id, &poll.span_id));
    assert_eq!(attribute(&poll.attributes, "brokkr.poll.result").as_deref(), Some("changed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn spans_reach_a_collector_over_http() {
    let (received, endpoint) = receiver::http().await;
    let mut config = config(&endpoint).with_service_name("my-agent");
    config.protocol = Protocol::HttpProtobuf;
    config.headers.insert("x-tenant".to_owned(), "north".to_owned());
    let (telemetry, _) = with(config);
    trace_something(&telemetry);
    assert_eq!(telemetry.shutdown(LONG).await.exported, 2);
    assert_eq!(received.names(), ["poll", "report"]);
    assert_eq!(received.resource("service.name").as_deref(), Some("my-agent"));
    assert_eq!(received.header("x-tenant").as_deref(), Some("north"));
}

#[tokio::test]
async fn spans_reach_a_collector_compressed_and_from_a_single_thread() {
    let (received, endpoint) = receiver::grpc().await;
    let mut config = config(&endpoint);
    config.compression = Compression::Gzip;
    let (telemetry, _) = with(config);
    trace_something(&telemetry);
    assert_eq!(telemetry.shutdown(LONG).await.exported, 2);
    assert_eq!(received.names(), ["poll", "report"]);
    assert_eq!(received.header("grpc-encoding").as_deref(), Some("gzip"));
}

#[tokio::test]
async fn what_is_only_recorded_is_not_exported() {
    let (received, endpoint) = receiver::grpc().await;
    let (telemetry, _) = with(config(&endpoint));
    telemetry.sampler().record_rollouts(true);
    tracing::dispatcher::with_default(telemetry.dispatch(), || {
        process("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00");
        process("00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    });
    assert_eq!(telemetry.shutdown(LONG).await.exported, 2);
    assert_eq!(received.names(), ["plan", "process deployment"]);
    assert!(received.spans().iter().all(|span| span.trace_id[0] == 0x1a));
}

#[tokio::test]
async fn nothing_is_exported_when_telemetry_is_off() {
    let (received, endpoint) = receiver::grpc().await;
    let mut config = config(&endpoint);
    config.enabled = false;
    let (telemetry, _) = with(config);
    tracing::dispatcher::with_default(telemetry.dispatch(), || {
        let span = spans::poll();
        assert!(span.is_disabled());
        assert_eq!(TraceContext::of(&span), None);
    });
    trace_something(&telemetry);
    let status = telemetry.shutdown(LONG).await;
    assert_eq!((status.enabled, status.exported, status.dropped), (false, 0, 0));
    assert!(received.spans().is_empty());
}

#[tokio::test]
async fn without_an_exporter_contexts_are_made_all_the_same() {
    let (telemetry, _) = with(options(Service::Agent).telemetry.with_exporter(Exporter::None));
    tracing::dispatcher::with_default(telemetry.dispatch(), || {
        assert!(TraceContext::of(&spans::poll()).unwrap().is_sampled());
    });
    assert_eq!(telemetry.shutdown(LONG).await.exported, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_dead_collector_costs_spans_and_one_warning() {
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let mut config = config(&receiver::nobody().await);
        config.protocol = protocol;
        config.timeout = Duration::from_millis(200);
        config.retry = Duration::from_millis(300);
        config.batch.batch_size = 2;
        let (telemetry, log) = with(config);
        for _ in 0..3 {
            trace_something(&telemetry);
        }
        let status = telemetry.shutdown(LONG).await;
        assert_eq!((status.exported, status.failed, status.dropped), (0, 6, 0), "{protocol:?}");
        assert!(status.last_error.is_some());
        assert_eq!(log.text().lines().filter(|line| line.contains("collector")).count(), 1, "{}", log.text());
        assert_eq!(log.text().lines().count(), 1, "{}", log.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_collector_that_comes_back_is_said_once_and_the_error_is_gone() {
    let mut config = config(&receiver::refusing_once().await);
    config.protocol = Protocol::HttpProtobuf;
    let (telemetry, log) = with(config);
    trace_something(&telemetry);
    let refused = telemetry.flush().await;
    assert_eq!((refused.exported, refused.failed), (0, 2));
    assert!(refused.last_error.is_some() && refused.last_success.is_none());
    for _ in 0..2 {
        trace_something(&telemetry);
        telemetry.flush().await;
    }
    let status = telemetry.shutdown(LONG).await;
    // Two spans each time, and the one that tells of the outage.
    assert_eq!((status.exported, status.failed, status.last_error), (5, 2, None));
    let lines: Vec<String> = log.text().lines().map(str::to_owned).collect();
    assert!(lines.len() == 2 && lines[0].contains(" WARN ") && lines[1].contains("takes spans again"), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_export_that_finds_the_collector_away_is_repeated_until_it_is_back() {
    let (received, endpoint) = receiver::busy(3).await;
    let mut config = config(&endpoint);
    config.protocol = Protocol::HttpProtobuf;
    let (telemetry, log) = with(config);
    trace_something(&telemetry);
    let status = telemetry.shutdown(LONG).await;
    assert_eq!((status.exported, status.failed, status.dropped, status.last_error), (2, 0, 0, None));
    assert_eq!(received.names(), ["poll", "report"]);
    assert_eq!(log.text(), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_full_queue_drops_spans_counts_them_and_blocks_nobody() {
    let (_listener, endpoint) = receiver::silent().await;
    let mut config = config(&endpoint);
    config.timeout = Duration::from_secs(3600);
    config.batch.queue_size = 10;
    config.batch.batch_size = 5;
    let (telemetry, _) = with(config);
    for _ in 0..50 {
        trace_something(&telemetry);
    }
    let status = telemetry.status();
    assert_eq!((status.pending, status.dropped, status.exported + status.failed), (10, 90, 0));
    let metrics = telemetry.metrics_endpoint().unwrap().render(None).body;
    assert!(metrics.contains("brokkr_telemetry_spans_total{result=\"dropped\"} 90\n"), "{metrics}");
    // The end is bounded, too: the collector never answers.
    let limit = Duration::from_millis(100);
    let began = Instant::now();
    let status = telemetry.shutdown(limit).await;
    assert!(began.elapsed() < LONG);
    assert_eq!((status.pending, status.dropped), (0, 100), "what is given up at the end is counted");
}

#[tokio::test]
async fn an_exporter_that_cannot_be_made_is_told_and_fails_nothing() {
    let cases = [("collector:4317", "telemetry.endpoint"), ("ftp://collector", "telemetry.endpoint"), ("", "telemetry.endpoint")];
    for (endpoint, named) in cases {
        let (telemetry, log) = with(config(endpoint));
        trace_something(&telemetry);
        let error = telemetry.status().last_error.unwrap();
        assert!(error.contains(named), "{error}");
        assert!(log.text().contains(named), "{}", log.text());
    }
    let mut config = config("http://127.0.0.1:1");
    config.headers.insert("bad header".to_owned(), "hush".to_owned());
    let error = with(config).0.status().last_error.unwrap();
    assert!(error.contains("bad header") && !error.contains("hush"), "{error}");
}

#[tokio::test]
async fn a_rate_outside_of_its_range_is_clamped_with_a_warning() {
    let (_, log) = with(config("http://127.0.0.1:1").with_sample_rate(40.0));
    assert!(log.text().contains("sampling rate") && log.text().contains("rate=40.0 used=1.0"), "{}", log.text());
}
