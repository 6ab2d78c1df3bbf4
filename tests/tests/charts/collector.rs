//! The configurations of collectors, as charts and examples have them, in a real collector.

use std::fs;

use brokkr_tests::{
    fleet::{Broker, Engine, LIMIT},
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
use serde_json::Value;

use crate::helm::{CHARTS, Helm, find, objects, repository};

/// A collector with one of our configurations, on free ports and in a folder of its own.
pub(crate) struct Collector {
    process: Process,
    pub(crate) grpc: u16,
    pub(crate) http: u16,
    metrics: String,
    health: String,
    _scratch: Scratch,
}

impl Collector {
    async fn start(config: &str, settings: &[(&str, &str)]) -> Self {
        Self::with(config, None, &[], settings).await
    }

    /// With a second configuration that is laid over the first, and files below `/etc`.
    pub(crate) async fn with(config: &str, over: Option<&str>, files: &[(&str, &str)], settings: &[(&str, &str)]) -> Self {
        let scratch = Scratch::new("collector").unwrap();
        for (path, text) in files {
            fs::create_dir_all(scratch.path().join(path).parent().unwrap()).unwrap();
            scratch.write(path, text).unwrap();
        }
        let etc = |text: &str| text.replace(": /etc/", &format!(": {}/", scratch.path().display()));
        let [grpc, http, spans, metrics, health] = [(); 5].map(|()| free_port().unwrap());
        // Nothing else is changed: ports that belong to the whole machine, and the volume.
        let config = config
            .replace("0.0.0.0:", "127.0.0.1:")
            .replace("host: 0.0.0.0", "host: 127.0.0.1")
            .replace(":4317}", &format!(":{grpc}}}"))
            .replace(":4318}", &format!(":{http}}}"))
            .replace("127.0.0.1:4317\n", &format!("127.0.0.1:{grpc}\n"))
            .replace("127.0.0.1:4318\n", &format!("127.0.0.1:{http}\n"))
            .replace("127.0.0.1:8889", &format!("127.0.0.1:{spans}"))
            .replace("127.0.0.1:13133", &format!("127.0.0.1:{health}"))
            .replace("port: 8888", &format!("port: {metrics}"))
            .replace("/var/lib/otelcol", &scratch.path().display().to_string());
        let mut configs = vec![scratch.write("config.yaml", etc(&config)).unwrap()];
        configs.extend(over.map(|over| scratch.write("over.yaml", etc(over)).unwrap()));
        let configs = configs.iter().map(|file| format!("--config={}", file.display()));
        let mut daemon = Daemon::at("collector", lab::collector().await.unwrap()).args(configs);
        for (name, value) in settings {
            daemon = daemon.env(name, value);
        }
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let mut collector =
            Self { process: daemon.start().unwrap(), grpc, http, metrics: url(metrics), health: url(health), _scratch: scratch };
        collector.ready().await;
        collector
    }

    async fn ready(&mut self) {
        self.process.wait_until_ok(&self.health, LIMIT).await.unwrap();
        http::wait_until_ok(&format!("{}/metrics", self.metrics), LIMIT).await.unwrap();
    }

    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.grpc)
    }
}

/// A sender of spans, as which the daemons are no good: they have no secrets to plant.
pub(crate) struct Sender(SdkTracerProvider);

impl Sender {
    pub(crate) fn to(collector: &Collector) -> Self {
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(collector.endpoint()).build().unwrap();
        let resource = Resource::builder_empty().with_attribute(KeyValue::new("service.name", "sender")).build();
        Self(SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build())
    }

    pub(crate) fn send(&self, name: &'static str, attributes: &[(&'static str, &'static str)], status: Status) {
        let mut span = self.0.tracer("charts").start(name);
        for (key, value) in attributes {
            span.set_attribute(KeyValue::new(*key, *value));
        }
        span.set_status(status);
        span.end();
    }

    /// Returns when the collector has taken all of them.
    pub(crate) async fn finish(self) {
        tokio::task::spawn_blocking(move || self.0.shutdown()).await.unwrap().unwrap();
    }
}

/// The collector beside a daemon, as its chart renders it.
async fn sidecar(daemon: &str, endpoint: &str) -> String {
    let values = format!(
        "tracing.collector.mode=sidecar,tracing.collector.sidecar.endpoint={endpoint},\
         tracing.collector.sidecar.tls.insecure=true,tracing.collector.sidecar.resourceAttributes.region=eu"
    );
    beside(daemon, &values).await
}

/// The same, with these values.
async fn beside(daemon: &str, values: &str) -> String {
    let rendered = Helm::alone().await.template(daemon, "brokkr-system", &["--set", values]).unwrap();
    find(&objects(&rendered), "ConfigMap", "-collector")["data"]["config.yaml"].as_str().unwrap().to_owned()
}

pub(crate) const POD: [(&str, &str); 3] = [("K8S_NAMESPACE", "brokkr-system"), ("K8S_POD", "broker-0"), ("K8S_NODE", "node-1")];

pub(crate) fn named<'a>(spans: &'a [Span], name: &str) -> Option<&'a Span> {
    spans.iter().find(|span| span.name == name)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_collector_beside_a_daemon_passes_spans_on_and_masks_secrets() {
    for daemon in CHARTS {
        let backend = Receiver::start(Where::default()).unwrap();
        let collector = Collector::start(&sidecar(daemon, &backend.grpc_address().to_string()).await, &POD).await;
        let endpoint = collector.endpoint();
        let telemetry = [
            ("BROKKR__TELEMETRY__ENABLED", "true"),
            ("BROKKR__TELEMETRY__ENDPOINT", endpoint.as_str()),
            ("BROKKR__TELEMETRY__SAMPLING_RATE", "1.0"),
            ("BROKKR__TELEMETRY__BATCH__DELAY", "200ms"),
        ];
        let broker = Broker::start(Engine::Sqlite, &telemetry).await.unwrap();
        broker.admin().list_keys(&brokkr_api::page::PageQuery::default()).await.unwrap();
        let sender = Sender::to(&collector);
        let planted = [("api_key", "hunter2"), ("note", "sent with Bearer abc.def-123 today"), ("harmless", "kept")];
        sender.send("planted", &planted, Status::Unset);
        sender.finish().await;

        let is_there =
            |spans: &[Span]| named(spans, "planted").is_some() && spans.iter().any(|span| span.service == "brokkr-broker");
        let spans = backend.wait_for("spans of both", LIMIT, is_there).await.unwrap();
        let planted = named(&spans, "planted").unwrap();
        let shown = format!("{planted:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("abc.def-123"), "{shown}");
        assert_eq!(planted.text("harmless"), Some("kept"));
        for (key, value) in [("k8s.pod.name", "broker-0"), ("k8s.node.name", "node-1"), ("region", "eu")] {
            assert_eq!(planted.resource[key], value, "{shown}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_collector_beside_a_daemon_speaks_http_where_it_is_told_to() {
    for daemon in CHARTS {
        let backend = Receiver::start(Where::default()).unwrap();
        let values = format!(
            "tracing.collector.mode=sidecar,tracing.collector.sidecar.protocol=http/protobuf,\
             tracing.collector.sidecar.endpoint={}",
            backend.http_endpoint()
        );
        let collector = Collector::start(&beside(daemon, &values).await, &POD).await;
        let sender = Sender::to(&collector);
        sender.send("over http", &[("password", "hunter2")], Status::Unset);
        sender.finish().await;
        let spans = backend.wait_for("the span", LIMIT, |spans| named(spans, "over http").is_some()).await.unwrap();
        assert!(!format!("{spans:?}").contains("hunter2"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_backend_did_not_take_survives_the_end_of_the_collector() {
    let grpc_port = free_port().unwrap();
    let mut collector = Collector::start(&sidecar("agent", &format!("127.0.0.1:{grpc_port}")).await, &POD).await;
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
    let address = backend.grpc_address().to_string();
    let config = fs::read_to_string(repository().join("deploy/examples/gateway/collector.yaml")).unwrap();
    let collector = Collector::start(&config, &[("BACKEND", &address), ("DECISION_WAIT", "1s")]).await;
    let sender = Sender::to(&collector);
    for _ in 0..200 {
        sender.send("went well", &[], Status::Unset);
    }
    sender.send("went wrong", &[("password", "hunter2")], Status::error("full"));
    sender.finish().await;
    let spans = backend.wait_for("the failed trace", LIMIT, |spans| named(spans, "went wrong").is_some()).await.unwrap();
    assert!(!format!("{spans:?}").contains("hunter2"));
    // One in ten by the configuration; half of them would be a wonder.
    let others = spans.iter().filter(|span| span.name == "went well").count();
    assert!(others < 100, "{others} of 200 were kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_collector_of_the_compose_file_passes_spans_on_and_masks_secrets() {
    let backend = Receiver::start(Where::default()).unwrap();
    let address = backend.grpc_address().to_string();
    let config = fs::read_to_string(repository().join("deploy/compose/collector.yaml")).unwrap();
    let collector = Collector::start(&config, &[("TEMPO_ENDPOINT", &address)]).await;
    let sender = Sender::to(&collector);
    sender.send("planted", &[("authorization", "hunter2")], Status::Unset);
    sender.finish().await;
    let spans = backend.wait_for("the span", LIMIT, |spans| named(spans, "planted").is_some()).await.unwrap();
    assert!(!format!("{spans:?}").contains("hunter2"));
}

/// Every configuration of a collector that charts and examples have, by its name.
async fn configurations() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for daemon in CHARTS {
        found.push((format!("{daemon}'s sidecar"), sidecar(daemon, "gateway:4317").await));
    }
    for file in ["deploy/examples/gateway/collector.yaml", "deploy/compose/collector.yaml"] {
        found.push((file.to_owned(), fs::read_to_string(repository().join(file)).unwrap()));
    }
    let trial = fs::read_to_string(repository().join("deploy/examples/trial/kubernetes.yaml")).unwrap();
    let trial = find(&objects(&trial), "ConfigMap", "collector")["data"]["config.yaml"].as_str().unwrap().to_owned();
    found.push(("the trial's".to_owned(), trial));
    found.into_iter().map(|(name, text)| (name, serde_saphyr::from_str(&text).unwrap())).collect()
}

#[tokio::test]
async fn every_pipeline_has_a_limit_of_memory_and_batches_and_every_collector_shows_its_own_metrics() {
    for (name, config) in configurations().await {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        for (pipeline, parts) in config["service"]["pipelines"].as_object().unwrap() {
            let processors = list(&parts["processors"]);
            assert_eq!(processors[0], "memory_limiter", "{name}, {pipeline}: the limit stands first");
            let in_its_queue =
                |exporter: &Value| config["exporters"][exporter.as_str().unwrap()]["sending_queue"]["batch"].is_object();
            let batches = processors.contains(&Value::from("batch")) || list(&parts["exporters"]).iter().all(in_its_queue);
            assert!(batches, "{name}, {pipeline}");
        }
        let reader = &config["service"]["telemetry"]["metrics"]["readers"][0]["pull"]["exporter"]["prometheus"];
        assert_eq!(reader["port"], 8888, "{name}");
    }
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
