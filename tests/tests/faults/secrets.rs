//! Secrets: what stands in them is nowhere in what the broker and its agents emit, nor in the database.

use std::{fs, path::Path, process::Command, time::Duration};

use brokkr_api::agents::{CreateAgent, CreatedAgent};
use brokkr_tests::{
    cluster::Cluster,
    fleet::{Agent, Broker, Engine, LIMIT},
    http::client,
    lab::until,
    marks::{Emitted, Marker, base64},
    otlp::{Receiver, Where},
    postgres::Postgres,
};
use k8s_openapi::api::core::v1::Secret;
use reqwest::{Method, Response};
use serde_json::json;

/// As talkative as anybody can make a daemon: its own crates and those that see requests, statements and objects go by.
const TALKATIVE: &str = "trace,hyper=trace,hyper_util=trace,h2=trace,reqwest=trace,tower=trace,tower_http=trace,axum=trace,sqlx=trace,kube=trace,\
     kube_client=trace,tonic=trace,opentelemetry=trace,opentelemetry_sdk=trace,opentelemetry_otlp=trace";

fn secret(namespace: &str, name: &str, field: &str, value: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\n{field}: {{password: \"{value}\"}}\n"
    )
}

/// A request that must be refused, with a marker in its body.
struct Refused {
    what: &'static str,
    stack: &'static str,
    content_type: &'static str,
    body: String,
    status: u16,
}

fn refused(markers: &[Marker], namespace: &str) -> Vec<Refused> {
    let good = |marker: usize| secret(namespace, "a", "stringData", &markers[marker].text);
    let case = |what, stack, content_type, body, status| Refused { what, stack, content_type, body, status };
    let (yaml, json) = ("application/yaml", "application/json");
    vec![
        case("broken YAML", "shop", yaml, good(2) + "  bad: [", 400),
        case("broken JSON", "shop", json, format!(r#"[{{"kind": "Secret", "data": {{"a": "{}" "#, markers[3].text), 400),
        case("a value where a mapping should be", "shop", json, format!(r#"["{}"]"#, markers[4].text), 422),
        case("another content type", "shop", "text/csv", good(5), 415),
        case("the same twice", "shop", yaml, good(6) + &good(6), 422),
        case("no name", "shop", yaml, good(7).replace("name: a, ", ""), 422),
        case("no kind", "shop", yaml, good(8).replace("kind: Secret\n", ""), 422),
        case("a value longer than a body may be", "shop", yaml, good(9) + &"x".repeat(20 << 20), 413),
        case("an unknown stack", "nobodys", yaml, good(10), 404),
        case(
            "NUL in a value",
            "shop",
            json,
            format!("[{{\"kind\": \"Secret\\u0000{0}\", \"data\": \"\\u0000{0}\"}}]", markers[11].text),
            422,
        ),
        case(
            "a bomb of aliases",
            "shop",
            yaml,
            format!("a: &a [\"{0}\", \"{0}\"]\nb: &b [*a, *a]\nkind: [*b, *b]\n", markers[12].text),
            422,
        ),
        case("a key twice", "shop", yaml, good(13) + &format!("kind: {}\n", markers[13].text), 400),
    ]
}

/// The database as whoever stole it would read it.
fn stolen_database(broker: &Broker, emitted: &mut Emitted) {
    if let Some(file) = broker.database.strip_prefix("sqlite:") {
        for suffix in ["", "-wal"] {
            emitted.add(format!("the file brokkr.db{suffix}"), fs::read(format!("{file}{suffix}")).unwrap());
        }
        return;
    }
    let description = Postgres::shared().description();
    let output = Command::new(description.programs.join("pg_dump"))
        .args(["--data-only", "--inserts"])
        .arg(&broker.database)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    emitted.add("pg_dump", output.stdout);
    let folder = broker.query("SELECT 'base/' || oid FROM pg_database WHERE datname = current_database()").unwrap().remove(0);
    broker.query("CHECKPOINT").unwrap();
    for folder in ["pg_wal", &folder] {
        add_folder(&description.directory.join("data").join(folder), emitted);
    }
}

fn add_folder(folder: &Path, emitted: &mut Emitted) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => add_folder(&path, emitted),
            // What goes away while it is looked at holds nothing.
            Ok(kind) if kind.is_file() => emitted.add(path.display().to_string(), fs::read(&path).unwrap_or_default()),
            _ => {}
        }
    }
}

async fn send(broker: &Broker, key: &str, case: &Refused) -> Response {
    let url = format!("{}/api/v1/stacks/{}/deployment-objects", broker.base, case.stack);
    let request = client().unwrap().request(Method::PUT, url).header("content-type", case.content_type).bearer_auth(key);
    request.body(case.body.clone()).send().await.unwrap()
}

/// Everything that people and programs can read of it without asking for the content itself.
async fn look_around(broker: &Broker, agent: &Agent, emitted: &mut Emitted) {
    let key = broker.key();
    for path in [
        "/api/v1/stacks/shop",
        "/api/v1/stacks/shop/rollout",
        "/api/v1/stacks/shop/deployments",
        "/api/v1/stacks/shop/deployment-objects",
        "/api/v1/stacks",
        "/api/v1/agents",
        "/api/v1/keys",
        "/api/v1/events?limit=500",
        "/api/v1/audit?limit=500",
    ] {
        let answer = client().unwrap().get(format!("{}{path}", broker.base)).bearer_auth(&key).send().await.unwrap();
        assert_eq!(emitted.answer(path, answer).await, 200, "{path}");
    }
    for base in [&broker.base, &agent.base] {
        for path in ["/metrics", "/readyz"] {
            let answer = client().unwrap().get(format!("{base}{path}")).send().await.unwrap();
            emitted.answer(path, answer).await;
        }
    }
    for table in ["events", "audit", "deployments"] {
        emitted.add(format!("table {table}"), broker.query(&format!("SELECT * FROM {table}")).unwrap().join("\n"));
    }
}

/// A person who mistypes keys, and whose key is revoked.
async fn use_wrong_keys(broker: &Broker, emitted: &mut Emitted) -> Vec<Marker> {
    let made_up = format!("{}x", broker.key());
    let made: CreatedAgent = {
        let name: brokkr_api::Name = "spare".parse().unwrap();
        broker.admin().create_agent(&CreateAgent { name: name.clone(), cluster: name, labels: Default::default() }).await.unwrap()
    };
    for key in [&made_up, &made.secret] {
        let answer = client().unwrap().get(format!("{}/api/v1/stacks", broker.base)).bearer_auth(key).send().await.unwrap();
        assert!([401, 403].contains(&emitted.answer("a wrong key", answer).await));
    }
    vec![Marker::key("a mistyped key", &made_up), Marker::key("an agent's key", &made.secret)]
}

async fn trial(engine: Engine) {
    let receiver = Receiver::start(Where::default()).unwrap();
    let endpoint = receiver.grpc_endpoint();
    let sealing = base64(&[7; 33])[..43].to_owned() + "=";
    let keys = format!("test:{sealing}");
    let settings = [
        ("BROKKR__TELEMETRY__LOG__LEVEL", TALKATIVE),
        ("BROKKR__TELEMETRY__ENABLED", "true"),
        ("BROKKR__TELEMETRY__ENDPOINT", &endpoint),
        ("BROKKR__TELEMETRY__SAMPLING_RATE", "1.0"),
        ("BROKKR__TELEMETRY__RATES__POLL", "1.0"),
        ("BROKKR__TELEMETRY__RATES__JOB", "1.0"),
        ("BROKKR__TELEMETRY__BATCH__DELAY", "100ms"),
    ];
    let with_keys: Vec<_> = settings.into_iter().chain([("BROKKR__ENCRYPTION__KEYS", keys.as_str())]).collect();
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.create_namespace("secrets").await.unwrap();
    let broker = Broker::start(engine, &with_keys).await.unwrap();
    let agent = broker.agent(&cluster.unique("keeper"), &settings).await.unwrap();
    let stack = broker.stack("shop", &[&agent]).await;
    let mut markers: Vec<_> = (0..20).map(Marker::new).collect();
    let mut emitted = Emitted::default();

    let data = base64(&markers[1].text.as_bytes()[..markers[1].text.len() / 3 * 3]);
    let good = secret(&namespace, "plain", "stringData", &markers[0].text) + &secret(&namespace, "encoded", "data", &data);
    broker.apply(&stack, &good).await;
    let applied: Secret = cluster.get(&namespace, "plain").await.unwrap().unwrap();
    assert_eq!(applied.data.unwrap()["password"].0, markers[0].text.as_bytes(), "it arrives all the same");
    for case in refused(&markers, &namespace) {
        let answer = send(&broker, &broker.key(), &case).await;
        assert_eq!(emitted.answer(case.what, answer).await, case.status, "{}", case.what);
    }
    markers.extend(use_wrong_keys(&broker, &mut emitted).await);

    // What the API server refuses, and says why with the value in it.
    for (number, kind) in [(14, "Opaque"), (15, "kubernetes.io/dockerconfigjson"), (16, "kubernetes.io/tls")] {
        let field = if number == 14 { "data" } else { "stringData" };
        let body = secret(&namespace, "refused", field, &markers[number].text) + &format!("type: {kind}\n");
        broker.send(&stack, &(good.clone() + &body)).await;
        let look = || async {
            let rollout =
                broker.admin().rollout(&stack, Some(Duration::from_secs(5))).await.map_err(|error| error.to_string())?;
            if rollout.failed == 1 { Ok(()) } else { Err(format!("{rollout:?}")) }
        };
        until("the rollout to fail", LIMIT, look).await.unwrap();
    }
    // Secrets where one does not look for them.
    let nested = json!([{"apiVersion": "v1", "kind": "List", "metadata": {"name": "a"}, "items": [
        {"apiVersion": "v1", "kind": "List", "metadata": {"name": "b"}, "items": [
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "c"}, "stringData": {"a": markers[17].text}}]}]},
        {"apiVersion": "v1", "kind": "SecretList", "metadata": {"name": "d"}, "items": [{"stringData": {"a": markers[18].text}}]}]);
    let nested =
        Refused { what: "nested", stack: "shop", content_type: "application/json", body: nested.to_string(), status: 201 };
    let answer = send(&broker, &broker.key(), &nested).await;
    emitted.answer(nested.what, answer).await;

    look_around(&broker, &agent, &mut emitted).await;
    stolen_database(&broker, &mut emitted);
    let failed =
        |span: &brokkr_tests::otlp::Span| span.name == "process deployment" && span.text("brokkr.phase") == Some("failed");
    let spans = receiver.wait_for("failed deployments", LIMIT, |spans| spans.iter().any(failed)).await.unwrap();
    emitted.add("spans", serde_json::to_vec(&spans).unwrap());
    for (process, name) in [(&broker.process, "the broker"), (&agent.process, "the agent")] {
        emitted.add(format!("output of {name}"), process.output().lines().join("\n"));
    }
    markers.push(Marker::key("the admin's key", &broker.key()));
    markers.push(Marker::key("the key that seals", &sealing));

    // Proof that it was looked where something is.
    assert!(emitted.has("output of the broker", "TRACE") && emitted.has("output of the agent", "TRACE"));
    assert!(
        emitted.has("spans", "PUT /api/v1/stacks/{stack}/deployment-objects") && emitted.has("table events", "deployment.failed")
    );
    assert!(emitted.has("table audit", "deployment_object.created") && emitted.has("/metrics", "brokkr_"));
    let content = broker.admin().deployment_object(&stack, 1).await.unwrap();
    assert!(markers[0].is_in(&serde_json::to_string(&content).unwrap()), "whoever may read the content reads it");
    emitted.assert_without(&markers);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_secrets_and_keys_is_emitted_and_stored_nowhere_on_sqlite() {
    trial(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_secrets_and_keys_is_emitted_and_stored_nowhere_on_postgresql() {
    trial(Engine::Postgres).await;
}
