//! A real collector with our configurations, and what is seen of it.

use std::{fs, path::Path};

use brokkr_tests::{
    fleet::LIMIT,
    http,
    lab::{self, Scratch, free_port},
    otlp::{Receiver, Span, Where},
    process::{Daemon, Process},
};
use opentelemetry::{
    KeyValue,
    trace::{Span as _, Status, Tracer as _, TracerProvider as _},
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use serde_json::{Value, json};

use crate::{
    configurations::{Configuration, example, rendered},
    helm::{CHARTS, Helm, find, objects},
};

/// A collector with one of our configurations, on free ports and in a folder of its own.
pub(crate) struct Collector {
    process: Process,
    pub(crate) grpc: u16,
    pub(crate) http: u16,
    own: String,
    health: String,
    _scratch: Scratch,
}

impl Collector {
    pub(crate) async fn start(configuration: &Configuration) -> Self {
        let scratch = Scratch::new("collector").unwrap();
        for (path, text) in &configuration.files {
            let file = scratch.path().join(path.trim_start_matches('/'));
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let [grpc, http, spans, own, health] = [(); 5].map(|()| free_port().unwrap());
        let at = |port: u16| json!(format!("127.0.0.1:{port}"));
        // Nothing else is changed: ports, which belong to the whole machine, and folders.
        let places = [
            ("/receivers/otlp/protocols/grpc/endpoint", at(grpc)),
            ("/receivers/otlp/protocols/http/endpoint", at(http)),
            ("/exporters/prometheus/endpoint", at(spans)),
            ("/extensions/health_check/endpoint", at(health)),
            ("/service/telemetry/metrics/readers/0/pull/exporter/prometheus/host", json!("127.0.0.1")),
            ("/service/telemetry/metrics/readers/0/pull/exporter/prometheus/port", json!(own)),
        ];
        let mut daemon = Daemon::at("collector", lab::collector().await.unwrap()).named(&configuration.name);
        for (number, config) in configuration.layers.iter().enumerate() {
            let mut config = config.clone();
            for (place, value) in &places {
                if let Some(found) = config.pointer_mut(place) {
                    found.clone_from(value);
                }
            }
            below(scratch.path(), &mut config);
            let file = scratch.write(&format!("{number}.json"), config.to_string()).unwrap();
            daemon = daemon.args([format!("--config={}", file.display())]);
        }
        for (name, value) in &configuration.environment {
            daemon = daemon.env(name, value.replace("/etc/", &format!("{}/etc/", scratch.path().display())));
        }
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let mut collector =
            Self { process: daemon.start().unwrap(), grpc, http, own: url(own), health: url(health), _scratch: scratch };
        collector.ready().await;
        collector
    }

    async fn ready(&mut self) {
        self.process.wait_until_ok(&self.health, LIMIT).await.unwrap();
        http::wait_until_ok(&format!("{}/metrics", self.own), LIMIT).await.unwrap();
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.grpc)
    }
}

/// Puts the folders that a configuration names below this one.
fn below(folder: &Path, config: &mut Value) {
    match config {
        Value::String(text) if text.contains("/etc/") || text.contains("/var/lib/") => {
            let here = |text: &str, path: &str| text.replace(path, &format!("{}{path}", folder.display()));
            *text = here(&here(text, "/etc/"), "/var/lib/");
        }
        Value::Array(list) => list.iter_mut().for_each(|value| below(folder, value)),
        Value::Object(map) => map.values_mut().for_each(|value| below(folder, value)),
        _ => {}
    }
}

/// A sender of spans, as which the daemons are no good: they have no secrets to plant.
pub(crate) struct Sender(SdkTracerProvider);

impl Sender {
    pub(crate) fn to(collector: &Collector) -> Self {
        Self::with(collector, &[])
    }

    /// With these attributes of its resource.
    pub(crate) fn with(collector: &Collector, resource: &[(String, String)]) -> Self {
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(collector.endpoint()).build().unwrap();
        let resource = Resource::builder_empty().with_service_name("sender").with_attributes(attributes(resource)).build();
        Self(SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build())
    }

    /// Sends a span with an event, which both have the attributes.
    pub(crate) fn send(&self, name: &str, own: &[(String, String)], status: Status) {
        let mut span = self.0.tracer("charts").start(name.to_owned());
        span.set_attributes(attributes(own));
        span.add_event("noted", attributes(own));
        span.set_status(status);
        span.end();
    }

    /// Returns when the collector has taken all of them.
    pub(crate) async fn finish(self) {
        tokio::task::spawn_blocking(move || self.0.shutdown()).await.unwrap().unwrap();
    }
}

fn attributes(pairs: &[(String, String)]) -> Vec<KeyValue> {
    pairs.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())).collect()
}

pub(crate) fn named<'a>(spans: &'a [Span], name: &str) -> Option<&'a Span> {
    spans.iter().find(|span| span.name == name)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_backend_did_not_take_survives_the_end_of_the_collector() {
    let grpc_port = free_port().unwrap();
    let values = format!("tracing.collector.sidecar.endpoint=127.0.0.1:{grpc_port},tracing.collector.sidecar.tls.insecure=true");
    let mut collector = Collector::start(&rendered("agent", "a sidecar", &["--set", &values]).await).await;
    let sender = Sender::to(&collector);
    sender.send("kept over the end", &[], Status::Unset);
    sender.finish().await;
    // The answer came after the queue on the disk had it.
    collector.process.kill();
    let backend = Receiver::start(Where { grpc_port, ..Where::default() }).unwrap();
    collector.process.start().unwrap();
    collector.ready().await;
    let is_there = |spans: &[Span]| named(spans, "kept over the end").is_some();
    backend.wait_for("the span from before", LIMIT, is_there).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_keeps_the_trace_that_failed_and_few_of_the_others() {
    let backend = Receiver::start(Where::default()).unwrap();
    let mut gateway = example("gateway/collector.yaml");
    let settings = [("BACKEND", backend.grpc_address().to_string()), ("DECISION_WAIT", "1s".to_owned())];
    gateway.environment.extend(settings.map(|(name, value)| (name.to_owned(), value)));
    let collector = Collector::start(&gateway).await;
    let sender = Sender::to(&collector);
    for _ in 0..200 {
        sender.send("went well", &[], Status::Unset);
    }
    sender.send("went wrong", &[], Status::error("full"));
    sender.finish().await;
    let spans = backend.wait_for("the failed trace", LIMIT, |spans| named(spans, "went wrong").is_some()).await.unwrap();
    // One in ten by the configuration; half of them would be a wonder.
    let others = spans.iter().filter(|span| span.name == "went well").count();
    assert!(others < 100, "{others} of 200 were kept");
}

#[tokio::test]
async fn the_own_metrics_of_a_collector_beside_a_daemon_are_scraped_with_those_of_the_daemon() {
    let helm = Helm::alone().await;
    let values =
        "tracing.collector.mode=sidecar,tracing.collector.sidecar.endpoint=gateway:4317,metrics.serviceMonitor.enabled=true";
    for daemon in CHARTS {
        let rendered = objects(&helm.template(daemon, "brokkr-system", &["--set", values]).unwrap());
        let monitor = find(&rendered, "ServiceMonitor", "");
        let scraped: Vec<_> = monitor["spec"]["endpoints"].as_array().unwrap().iter().map(|place| &place["port"]).collect();
        assert_eq!(scraped, ["http", "otel-metrics"], "{daemon}");
        let service = rendered.iter().find(|object| object["kind"] == "Service").unwrap();
        let ports: Vec<_> = service["spec"]["ports"].as_array().unwrap().iter().map(|port| &port["name"]).collect();
        assert_eq!(ports, ["http", "otel-metrics"], "{daemon}");
    }
}
