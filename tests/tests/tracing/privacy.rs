//! Secrets everywhere, and a search for them in everything that is emitted.

use std::{path::Path, time::Duration};

use brokkr_api::{Labels, TargetSelector, enrolment::CreateRegistrationToken, stacks::PutStack};
use brokkr_tests::{
    cluster::Cluster,
    fleet::{Broker, Engine, LIMIT},
    http::client,
    lab::{Scratch, free_port, until},
    marks::{Emitted, Marker, base64},
    otlp::{Receiver, Span, Where},
    postgres::Postgres,
    process::{Daemon, Process},
};
use reqwest::{Method, RequestBuilder};

use crate::{allowed::assert_catalogued, proxy::Proxy};

/// As talkative as anybody can make a daemon.
const TALKATIVE: &str = "trace,hyper=trace,hyper_util=trace,h2=trace,reqwest=trace,tower=trace,tower_http=trace,axum=trace,sqlx=trace,kube=trace,\
     kube_client=trace,tonic=trace,rustls=trace,opentelemetry=trace,opentelemetry_sdk=trace,opentelemetry_otlp=trace";

fn telemetry<'a>(endpoint: &'a str, protocol: &'a str, header: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("BROKKR__TELEMETRY__LOG__LEVEL", TALKATIVE),
        ("BROKKR__TELEMETRY__ENABLED", "true"),
        ("BROKKR__TELEMETRY__ENDPOINT", endpoint),
        ("BROKKR__TELEMETRY__PROTOCOL", protocol),
        ("BROKKR__TELEMETRY__HEADERS__COLLECTOR_KEY", header),
        ("BROKKR__TELEMETRY__SAMPLING_RATE", "1.0"),
        ("BROKKR__TELEMETRY__RATES__POLL", "1.0"),
        ("BROKKR__TELEMETRY__RATES__PROBE", "1.0"),
        ("BROKKR__TELEMETRY__BATCH__DELAY", "100ms"),
    ]
}

/// An agent that enrols with a token, and reaches the broker through a proxy with a password.
struct Enrolling<'a> {
    name: &'a str,
    token: &'a str,
    proxy: &'a str,
    key: &'a Path,
    kubeconfig: &'a Path,
}

impl Enrolling<'_> {
    fn start(&self, broker: &Broker, settings: &[(&str, &str)]) -> (Process, String) {
        let port = free_port().unwrap();
        let mut daemon = Daemon::new("brokkr-agent")
            .unwrap()
            .args(["run"])
            .env("BROKKR__SERVER__LISTEN", format!("127.0.0.1:{port}"))
            .env("BROKKR__BROKER__URL", &broker.base)
            .env("BROKKR__BROKER__CA_FILE", broker.certificate_file().unwrap())
            .env("BROKKR__BROKER__KEY_FILE", self.key)
            .env("BROKKR__BROKER__PROXY", self.proxy)
            .env("BROKKR__ENROLMENT__TOKEN", self.token)
            .env("BROKKR__AGENT__NAME", self.name)
            .env("BROKKR__KUBERNETES__KUBECONFIG", self.kubeconfig)
            .env("BROKKR__KUBERNETES__NAMESPACE", format!("brokkr-{}", self.name))
            .env("NO_PROXY", "");
        for (key, value) in settings {
            daemon = daemon.env(key, value);
        }
        (daemon.start().unwrap(), format!("http://127.0.0.1:{port}"))
    }
}

fn object(namespace: &str, kind: &str, name: &str, rest: &str) -> String {
    format!("---\napiVersion: v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\n{rest}\n")
}

/// What the cluster takes, with a marker in every place that a manifest has for one.
fn good(namespace: &str, markers: &[Marker]) -> String {
    let mark = |number: usize| markers[number].text.as_str();
    let encoded = base64(&mark(3).as_bytes()[..mark(3).len() / 3 * 3]);
    let annotated = format!(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: noted, namespace: {namespace}, annotations: {{note: \"{}\"}}}}\ndata: {{a: \"{}\"}}\n",
        mark(0),
        mark(1)
    );
    let workload = format!(
        "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, namespace: {namespace}}}\nspec:\n  replicas: 0\n  selector: {{matchLabels: {{app: web}}}}\n  \
         template:\n    metadata: {{labels: {{app: web}}, annotations: {{token: \"{0}\"}}}}\n    spec:\n      containers:\n      - {{name: web, image: web, args: [\"--password={0}\"], env: [{{name: PASSWORD, value: \"{0}\"}}]}}\n",
        mark(4)
    );
    annotated
        + &object(namespace, "Secret", "plain", &format!("stringData: {{a: \"{}\"}}", mark(2)))
        + &object(namespace, "Secret", "encoded", &format!("data: {{a: \"{encoded}\"}}"))
        + &workload
}

/// What the API server refuses, and says why with the value in it.
fn bad(namespace: &str, markers: &[Marker]) -> [String; 3] {
    let mark = |number: usize| markers[number].text.as_str();
    [
        object(namespace, "ConfigMap", "list", &format!("data: {{a: [\"{}\"]}}", mark(5))),
        object(namespace, "Service", "port", &format!("spec: {{ports: [{{port: 80, protocol: \"{}\"}}]}}", mark(6))),
        object(namespace, "Secret", "number", &format!("data: {{a: \"!{}\"}}", mark(7))),
    ]
}

/// Requests of strangers and of careless people.
async fn careless(broker: &Broker, markers: &[Marker], emitted: &mut Emitted) {
    let mark = |number: usize| markers[number].text.as_str();
    let ask = |method: Method, path: String| client().unwrap().request(method, format!("{}{path}", broker.base));
    let admin = |request: RequestBuilder| request.bearer_auth(broker.key());
    let stack = "/api/v1/stacks/shop";
    let requests = [
        ("a cookie", admin(ask(Method::GET, stack.to_owned())).header("cookie", format!("session={}", mark(8)))),
        ("an unknown header", admin(ask(Method::GET, stack.to_owned())).header("x-password", mark(9))),
        ("a user agent", admin(ask(Method::GET, stack.to_owned())).header("user-agent", mark(10))),
        ("baggage", admin(ask(Method::GET, stack.to_owned())).header("baggage", format!("password={}", mark(11)))),
        ("a query", admin(ask(Method::GET, format!("/api/v1/agents?limit=1&password={}", mark(12))))),
        ("a path", ask(Method::GET, format!("/api/v1/{}", mark(13)))),
        ("a key that is none", ask(Method::GET, stack.to_owned()).bearer_auth(mark(14))),
        ("basic authorization", ask(Method::GET, stack.to_owned()).basic_auth("admin", Some(mark(15)))),
        (
            "an idempotency key",
            admin(ask(Method::PUT, format!("{stack}/deployment-objects")))
                .header("idempotency-key", mark(16))
                .header("content-type", "application/yaml")
                .body(object("default", "ConfigMap", "again", "data: {}")),
        ),
    ];
    for (what, request) in requests {
        let answer = request.send().await.unwrap();
        // What was sent in a query or a path may be named to the one who sent it, and to nobody else.
        if !["a query", "a path"].contains(&what) {
            emitted.answer(what, answer).await;
        }
    }
}

/// What a daemon says that cannot start, to whoever reads its log.
async fn misconfigured(markers: &[Marker], emitted: &mut Emitted) {
    let secret = &markers[17].text;
    let cases = [
        ("brokkr-broker", "serve", "BROKKR__DATABASE__URL", format!("oracle://user:{secret}@nowhere/db")),
        ("brokkr-broker", "serve", "BROKKR__DATABASE__URL", format!("postgres://user:{secret}@nowhere:port/db")),
        ("brokkr-agent", "run", "BROKKR__BROKER__PROXY", format!("socks5://user:{secret}@nowhere")),
        ("brokkr-agent", "run", "BROKKR__BROKER__URL", format!("user:{secret}@nowhere")),
    ];
    for (program, verb, setting, value) in cases {
        let mut process = Daemon::new(program).unwrap().args([verb]).env(setting, value).start().unwrap();
        let ended = process.wait(LIMIT).await.unwrap();
        assert!(!ended.success(), "{program} starts with a wrong {setting}");
        emitted.add(format!("{program} with a wrong {setting}"), process.output().lines().join("\n"));
    }
}

async fn look_around(broker: &Broker, agent: &str, emitted: &mut Emitted) {
    for path in ["/api/v1/events?limit=500", "/api/v1/audit?limit=500", "/api/v1/stacks/shop/rollout", "/api/v1/agents"] {
        let answer = client().unwrap().get(format!("{}{path}", broker.base)).bearer_auth(broker.key()).send().await.unwrap();
        assert_eq!(emitted.answer(path, answer).await, 200, "{path}");
    }
    for base in [broker.base.as_str(), agent] {
        for path in ["/metrics", "/readyz"] {
            let answer = client().unwrap().get(format!("{base}{path}")).send().await.unwrap();
            assert_eq!(emitted.answer(path, answer).await, 200, "{base}{path}");
        }
    }
    for table in ["events", "audit", "deployments"] {
        emitted.add(format!("table {table}"), broker.query(&format!("SELECT * FROM {table}")).unwrap().join("\n"));
    }
}

async fn fail(broker: &Broker, manifests: &str) {
    let stack = "shop".parse().unwrap();
    broker.send(&stack, manifests).await;
    let look = || async {
        let rollout = broker.admin().rollout(&stack, Some(Duration::from_secs(5))).await.map_err(|error| error.to_string())?;
        if rollout.failed == 1 { Ok(()) } else { Err(format!("{rollout:?}")) }
    };
    until("the rollout to fail", LIMIT, look).await.unwrap();
}

fn token_of(kubeconfig: &Path) -> String {
    let text = std::fs::read_to_string(kubeconfig).unwrap();
    let rest = text.split_once("token").unwrap().1.trim_start_matches(['"', ':', ' ']);
    rest.chars().take_while(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(*letter)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_secret_is_in_no_span_log_metric_or_event() {
    let mut markers: Vec<_> = (0..20).map(Marker::new).collect();
    let receiver = Receiver::start(Where::default()).unwrap();
    let (grpc, http, header) = (receiver.grpc_endpoint(), receiver.http_endpoint(), markers[18].text.clone());
    let sealing = base64(&[9; 33])[..43].to_owned() + "=";
    let keys = format!("test:{sealing}");
    let mut settings = telemetry(&grpc, "grpc", &header);
    settings.push(("BROKKR__ENCRYPTION__KEYS", &keys));
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.create_namespace("private").await.unwrap();
    let broker = Broker::start_with_tls(Engine::Postgres, &settings).await.unwrap();
    let admin = broker.admin();
    let request = CreateRegistrationToken {
        name: "edge".parse().unwrap(),
        labels: Labels::default(),
        max_uses: None,
        expires_in_seconds: None,
    };
    let token = admin.create_registration_token(&request).await.unwrap().secret;
    let (proxy, scratch) = (Proxy::start().await, Scratch::new("private").unwrap());
    let key = scratch.path().join("agent.key");
    let name = cluster.unique("private");
    let through = format!("http://agent:{}@{}", markers[19].text, proxy.address);
    let enrolling = Enrolling { name: &name, token: &token, proxy: &through, key: &key, kubeconfig: cluster.kubeconfig() };
    let (mut agent, agent_base) = enrolling.start(&broker, &telemetry(&http, "http/protobuf", &header));
    agent.wait_for_line("the connection", LIMIT, |line| line.contains("the agent is connected")).await.unwrap();
    let for_broker = proxy.seen().into_iter().filter(|asked| broker.base.ends_with(&asked.target));
    let password = for_broker.filter_map(|asked| asked.authorization).next().unwrap();
    assert!(markers[19].is_in(&password), "the agent shows its password to the proxy: {password}");

    let stack = "shop".parse().unwrap();
    let targets = TargetSelector { labels: None, names: vec![name.parse().unwrap()] };
    admin.put_stack(&stack, &PutStack { targets, ..PutStack::default() }).await.unwrap();
    broker.apply(&stack, &good(&namespace, &markers)).await;
    for manifests in bad(&namespace, &markers) {
        fail(&broker, &manifests).await;
    }
    let mut emitted = Emitted::default();
    careless(&broker, &markers, &mut emitted).await;
    misconfigured(&markers, &mut emitted).await;
    look_around(&broker, &agent_base, &mut emitted).await;
    let failed = |span: &Span| span.name == "process deployment" && span.text("brokkr.phase") == Some("failed");
    let careless = |span: &Span| span.name == "GET" && span.service == "brokkr-broker";
    let seen = |spans: &[Span]| spans.iter().filter(|span| failed(span)).count() >= 3 && spans.iter().any(careless);
    let spans = receiver.wait_for("failed deployments and an unknown path", LIMIT, seen).await.unwrap();
    assert_catalogued(&spans);
    let of_agent = spans.iter().find(|span| failed(span)).unwrap();
    assert_eq!(of_agent.resource["k8s.cluster.name"], name.as_str(), "an agent that enrols calls its cluster like itself");
    emitted.add("spans", serde_json::to_vec(&spans).unwrap());
    emitted.add("output of the broker", broker.process.output().lines().join("\n"));
    emitted.add("output of the agent", agent.output().lines().join("\n"));

    // Secrets that nobody could mark.
    for (what, secret) in [
        ("the admin's key", broker.key()),
        ("the agent's key", std::fs::read_to_string(&key).unwrap().trim().to_owned()),
        ("the registration token", token.clone()),
        ("the key that seals", sealing.clone()),
        ("the database's password", Postgres::shared().description().password.clone()),
        ("the proxy's password as it is sent", password.trim_start_matches("Basic ").to_owned()),
        ("the API server's token", token_of(cluster.kubeconfig())),
    ] {
        assert!(secret.len() >= 12, "{what} is too short to be searched for: {}", secret.len());
        markers.push(Marker::key(what, &secret));
    }
    // Proof that it was looked where something is.
    assert!(emitted.has("output of the broker", "TRACE") && emitted.has("output of the agent", "TRACE"));
    assert!(emitted.has("spans", "apply secrets") && emitted.has("spans", "INSERT deployment_objects"));
    assert!(emitted.has("table events", "deployment.failed") && emitted.has("/metrics", "brokkr_"));
    let content = serde_json::to_string(&admin.deployment_object(&stack, 1).await.unwrap()).unwrap();
    assert!([0, 1, 2, 3, 4].iter().all(|number| markers[*number].is_in(&content)), "whoever may read the content reads it");
    emitted.assert_without(&markers);
}
