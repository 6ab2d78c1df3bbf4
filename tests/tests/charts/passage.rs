//! Spans of real daemons, through every configuration, to a receiver; and secrets, which get no further.

use brokkr_api::{
    Name,
    page::PageQuery,
    tracing::{SetTracing, TraceProtocol, TraceSettings},
};
use brokkr_tests::{
    cluster::Cluster,
    fleet::{Agent, Broker, Engine, LIMIT, config_map},
    lab::until,
    otlp::{Receiver, Span, Where},
};
use opentelemetry::trace::Status;
use serde_json::{Value, json};

use crate::{
    authority::Authority,
    collector::{Collector, Sender, named},
    configurations::{Configuration, every, of_the_page, redaction},
};

/// A broker and an agent, which send their spans where they are told to.
pub(crate) struct Pair {
    broker: Broker,
    agent: Agent,
    stack: Name,
    namespace: String,
    rollouts: u32,
}

impl Pair {
    pub(crate) async fn start() -> Self {
        let cluster = Cluster::shared().await.unwrap();
        let namespace = cluster.create_namespace("passage").await.unwrap();
        let settings = [("BROKKR__TELEMETRY__BATCH__DELAY", "100ms")];
        let broker = Broker::start(Engine::Sqlite, &settings).await.unwrap();
        let agent = broker.agent(&cluster.unique("passage"), &settings).await.unwrap();
        let stack = broker.stack("shop", &[&agent]).await;
        Self { broker, agent, stack, namespace, rollouts: 0 }
    }

    /// Lets both send through this collector, by each transport; the ids of the traces of two rollouts.
    pub(crate) async fn send_through(&mut self, collector: &Collector) -> [String; 2] {
        self.send_to(TraceProtocol::Grpc, collector.grpc).await;
        let by_grpc = self.roll_out().await;
        self.send_to(TraceProtocol::HttpProtobuf, collector.http).await;
        [by_grpc, self.roll_out().await]
    }

    async fn send_to(&self, protocol: TraceProtocol, port: u16) {
        let settings = TraceSettings {
            enabled: Some(true),
            endpoint: Some(format!("http://127.0.0.1:{port}")),
            protocol: Some(protocol),
            sampling_rate: Some(1.0),
            ..TraceSettings::default()
        };
        let told = self.broker.admin().set_tracing(&SetTracing { settings, broker: true, agents: None }).await.unwrap();
        let look = async || {
            let agents = self.broker.admin().tracing_of_agents(&PageQuery::default()).await.unwrap().items;
            let ours = agents.iter().find(|one| one.agent == self.agent.name);
            if ours.is_some_and(|one| one.revision == told.revision) { Ok(()) } else { Err(format!("{agents:?}")) }
        };
        until("the agent to follow", LIMIT, look).await.unwrap();
    }

    /// The id of the trace of a rollout that has ended.
    async fn roll_out(&mut self) -> String {
        self.rollouts += 1;
        let id = format!("0af7651916cd43dd8448eb21{:08x}", self.rollouts);
        let asks = self.broker.traced(&format!("00-{id}-b7ad6b7169203331-01"));
        let manifests = config_map(&self.namespace, "delivered", &self.rollouts.to_string()).into_bytes();
        asks.put_deployment_objects(&self.stack, "application/yaml", manifests).await.unwrap();
        let rollout = self.broker.settle(&self.stack).await;
        assert!(rollout.done && rollout.failed == 0, "{rollout:#?}");
        id
    }
}

/// Waits for spans of both daemons in each of these traces.
pub(crate) async fn arrive(backend: &Receiver, traces: &[String; 2], name: &str) {
    let needed = [("brokkr-broker", "send deployment"), ("brokkr-agent", "process deployment")];
    for (id, transport) in traces.iter().zip(["gRPC", "HTTP"]) {
        let has = |spans: &[Span], (service, span): (&str, &str)| {
            spans.iter().any(|found| found.trace_id == *id && found.service == service && found.name.starts_with(span))
        };
        let what = format!("{name}, by {transport}");
        backend.wait_for(&what, LIMIT, |spans| needed.iter().all(|one| has(spans, *one))).await.unwrap();
    }
}

/// Where collectors of the tests send to: a receiver, and before it collectors that tell what they were sent.
struct Door {
    backend: Receiver,
    plain: Collector,
    tls: Collector,
    authority: Authority,
}

/// Names that the certificate of the door is for.
const NAMES: [&str; 3] = ["127.0.0.1", "otel-gateway", "otel-gateway.observability"];

impl Door {
    async fn open() -> Self {
        let (backend, authority) = (Receiver::start(Where::default()).unwrap(), Authority::new());
        let header = json!({"key": "x-scope-orgid", "from_context": "metadata.x-scope-orgid", "action": "upsert"});
        let mut plain = Configuration::new(
            "the door",
            json!({
                "extensions": {"health_check": {"endpoint": "0.0.0.0:13133"}},
                "receivers": {"otlp": {"protocols": {
                    "grpc": {"endpoint": "0.0.0.0:4317", "include_metadata": true},
                    "http": {"endpoint": "0.0.0.0:4318", "include_metadata": true},
                }}},
                "processors": {"attributes": {"actions": [header]}},
                "exporters": {"otlp_grpc": {"endpoint": backend.grpc_address(), "tls": {"insecure": true}}},
                "service": {
                    "extensions": ["health_check"],
                    "telemetry": {"metrics": {"readers": [{"pull": {"exporter": {"prometheus": {"host": "0.0.0.0", "port": 8888}}}}]}},
                    "pipelines": {"traces": {"receivers": ["otlp"], "processors": ["attributes"], "exporters": ["otlp_grpc"]}},
                },
            }),
        );
        plain.files.extend(authority.secret(&NAMES).map(|(key, text)| (format!("/etc/door/{key}"), text)));
        let mut tls = plain.clone();
        let shown = json!({"cert_file": "/etc/door/tls.crt", "key_file": "/etc/door/tls.key"});
        let mut asks = shown.clone();
        asks["client_ca_file"] = json!("/etc/door/ca.crt");
        tls.layers.push(json!({"receivers": {"otlp": {"protocols": {"grpc": {"tls": asks}, "http": {"tls": shown}}}}}));
        Self { plain: Collector::start(&plain).await, tls: Collector::start(&tls).await, backend, authority }
    }

    /// The same configuration, which sends to the door.
    fn leads_here(&self, configuration: Configuration) -> Configuration {
        let mut here = configuration.with_certificates(&self.authority, "sender");
        for (name, exporter) in here.exporters() {
            let is_plain = exporter["tls"]["insecure"] == true;
            let is_tls = exporter["endpoint"].as_str().unwrap().starts_with("https://");
            exporter["endpoint"] = json!(match (name.starts_with("otlp_http"), is_plain, is_tls) {
                (true, _, true) => format!("https://127.0.0.1:{}", self.tls.http),
                (true, _, false) => format!("http://127.0.0.1:{}", self.plain.http),
                (false, true, _) => format!("127.0.0.1:{}", self.plain.grpc),
                (false, false, _) => format!("127.0.0.1:{}", self.tls.grpc),
            });
        }
        // Authorities of the machine, where the values name none; a gateway decides about a trace in less than 30 seconds.
        let more = [("SSL_CERT_FILE", "/etc/machine/ca.crt"), ("DECISION_WAIT", "2s")];
        here.environment.extend(more.map(|(name, value)| (name.to_owned(), value.to_owned())));
        here.files.push(("/etc/machine/ca.crt".to_owned(), self.authority.pem()));
        here
    }
}

/// A secret for each pattern of values, in their order; what is around it stays.
const SECRETS: [&str; 6] = [
    "brokkr_admin_0000000000000000000000000000000000000000007e56ecd",
    "whsec_c2VjcmV0IG9mIGEgd2ViaG9vaw==",
    "Bearer abc.def-123",
    "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhZ2VudCJ9.c2lnbmF0dXJl",
    "://brokkr:hunter3@",
    "-----BEGIN PRIVATE KEY-----MC4CAQAwBQYDK2VwBCIEIA",
];

const HARMLESS: &str = "https://brokkr.example:3000/api is kept";

/// A key for each word of the patterns of keys: whatever stands there is a secret.
fn keys() -> Vec<String> {
    let patterns = redaction()["blocked_key_patterns"].clone();
    let [Value::String(pattern)] = patterns.as_array().unwrap().as_slice() else { panic!("{patterns}") };
    let (_, words) = pattern.split_once(".*(").unwrap();
    let words = words.strip_suffix(").*").unwrap().split('|');
    let spelled = |word: &str| match word.split_once("[-_.]?") {
        Some((first, last)) => ["-", "_", ".", ""].map(|between| format!("{first}{between}{last}")).to_vec(),
        None => vec![word.to_owned(), word.to_uppercase()],
    };
    words.flat_map(spelled).map(|word| format!("http.request.header.x-{word}-1")).collect()
}

/// Attributes with secrets, and one without.
fn planted() -> Vec<(String, String)> {
    let values = SECRETS.iter().enumerate();
    let values = values.map(|(number, secret)| (format!("note.{number}"), format!("before {secret} after")));
    let keys = keys().into_iter().map(|key| (key, "hunter2".to_owned()));
    let others = [("harmless", HARMLESS), ("shop.till", "the till"), ("shopping", "sesame-1")];
    values.chain(keys).chain(others.map(|(key, value)| (key.to_owned(), value.to_owned()))).collect()
}

fn is_harmless(configuration: &Configuration, span: &Span) {
    let (name, shown) = (&configuration.name, format!("{span:?}"));
    for secret in SECRETS.into_iter().chain(["hunter2"]) {
        assert!(!shown.contains(secret), "{name} lets {secret} through: {shown}");
    }
    for attributes in [&span.attributes, &span.events[0].attributes, &span.resource] {
        assert_eq!(attributes["harmless"], HARMLESS, "{name}");
        for number in 0..SECRETS.len() {
            let text = attributes[&format!("note.{number}")].as_str().unwrap();
            assert!(text.starts_with("before ") && text.contains("****"), "{name}: {text}");
        }
        // What only one person's values mask.
        let own = if configuration.masks_more() { ["****", "****"] } else { ["the till", "sesame-1"] };
        assert_eq!([&attributes["shop.till"], &attributes["shopping"]], own, "{name}");
    }
}

/// What a collector was sent, and is to pass on.
struct Passage {
    configuration: Configuration,
    traces: [String; 2],
    _collector: Collector,
}

impl Passage {
    /// Starts the collector and sends everything; batches take their time, in which the next one can begin.
    async fn begin(door: &Door, pair: &mut Pair, configuration: Configuration) -> Self {
        let configuration = door.leads_here(configuration);
        let collector = Collector::start(&configuration).await;
        let planted = planted();
        let sender = Sender::with(&collector, &planted);
        sender.send(&configuration.name, &planted, Status::error("full"));
        sender.finish().await;
        let traces = pair.send_through(&collector).await;
        Self { configuration, traces, _collector: collector }
    }

    async fn ends(self, door: &Door) {
        let name = &self.configuration.name;
        arrive(&door.backend, &self.traces, name).await;
        let spans = door.backend.wait_for(name, LIMIT, |spans| named(spans, name).is_some()).await.unwrap();
        let span = named(&spans, name).unwrap();
        is_harmless(&self.configuration, span);
        for (header, value) in self.configuration.headers() {
            assert_eq!(span.text(&header), Some(value.as_str()), "{name} sends the header");
        }
        says_where(&self.configuration, span);
    }
}

/// Namespace, pod and node, as the container's environment has them, and what the values add.
fn says_where(configuration: &Configuration, span: &Span) {
    for attribute in configuration.layers[0]["processors"]["resource"]["attributes"].as_array().into_iter().flatten() {
        let value = configuration.resolved(attribute["value"].as_str().unwrap());
        assert_eq!(span.resource[attribute["key"].as_str().unwrap()], value, "{}", configuration.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_configuration_passes_the_spans_of_both_daemons_on_and_no_secret() {
    assert_eq!(redaction()["blocked_values"].as_array().unwrap().len(), SECRETS.len(), "a secret for each pattern");
    let (mut pair, door) = (Pair::start().await, Door::open().await);
    let all = every().await;
    let with_headers: Vec<_> = all.iter().filter(|one| !one.headers().is_empty()).map(|one| one.name.as_str()).collect();
    assert_eq!(
        with_headers,
        ["broker: everything.yaml", "broker: sidecar.yaml", "agent: everything.yaml", "deploy/examples/gateway/collector.yaml"],
        "from a Secret, and the tenant's"
    );
    let mut before: Option<Passage> = None;
    for configuration in all {
        let next = Passage::begin(&door, &mut pair, configuration).await;
        if let Some(before) = before.replace(next) {
            before.ends(&door).await;
        }
    }
    before.unwrap().ends(&door).await;

    let page = door.leads_here(of_the_page());
    let collector = Collector::start(&page).await;
    arrive(&door.backend, &pair.send_through(&collector).await, &page.name).await;
}
