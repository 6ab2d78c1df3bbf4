//! The served `OpenAPI` document against a running broker: a schema-based fuzzer sends what fits the document and what does not, and compares
//! every answer with it.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "the helpers of a test fail it where it went wrong")]

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use brokkr_tests::{
    fleet::{Broker, Engine},
    http::client,
};
use serde_json::{Value, json};
use tokio::process::Command;

/// Longest time of one run, and of the installation; a usual one takes a third of a minute.
const LIMIT: Duration = Duration::from_secs(300);

/// What a run is: a caller, the routes that it opens, and how many requests it makes of each operation by chance.
struct Run {
    role: &'static str,
    routes: [&'static str; 2],
    examples: &'static str,
}

/// The agent's comes first: the admin's takes its stack away.
const RUNS: [Run; 3] = [
    Run { role: "agent", routes: ["--include-path-regex", "^/api/v1/agent/"], examples: "20" },
    Run { role: "generator", routes: ["--include-path-regex", "^/api/v1/(stacks|work-orders|webhooks|events)"], examples: "5" },
    Run { role: "admin", routes: ["--exclude-path-regex", "^/api/v1/agent/"], examples: "10" },
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("schemathesis")
}

async fn output(mut command: Command) -> (bool, String) {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await.expect("it goes on and on").unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

async fn install() -> PathBuf {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/python/install.sh"));
    command.arg("schemathesis");
    let (installed, text) = output(command).await;
    assert!(installed, "{text}");
    Path::new(text.lines().find(|line| line.ends_with("/bin")).expect("the programs' folder")).join("schemathesis")
}

/// A caller of each role, and something of everything that the callers may look for.
struct Seed {
    keys: [(&'static str, String); 3],
    environment: Vec<(&'static str, String)>,
}

async fn seed(broker: &Broker) -> Seed {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let call = async |key: &str, method: reqwest::Method, path: &str, body: Value| -> Value {
        let request = client().unwrap().request(method, format!("{}/api/v1{path}", broker.base)).bearer_auth(key).json(&body);
        request.send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
    };
    let (post, put) = (reqwest::Method::POST, reqwest::Method::PUT);
    let admin = broker.key();
    call(&admin, post.clone(), "/generators", json!({"name": "team"})).await;
    let team = json!({"name": "team", "role": "generator", "generator": "team"});
    let generator = text(&call(&admin, post.clone(), "/keys", team).await["secret"]);
    let agent = text(&call(&admin, post, "/agents", json!({"name": "edge", "cluster": "edge"})).await["secret"]);
    let everybody = json!({"targets": {"labels": {}}});
    let object = json!([{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}]);
    call(&generator, put.clone(), "/stacks/shop", everybody.clone()).await;
    call(&generator, put.clone(), "/stacks/shop/deployment-objects", object.clone()).await;
    let stack = call(&admin, put.clone(), "/stacks/warehouse", everybody).await;
    let content = call(&admin, put, "/stacks/warehouse/deployment-objects", object).await;
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}});
    let order = json!({"name": "a", "targets": {"names": ["edge"]}, "work": {"job": {"manifest": job}}});
    let order = text(&call(&admin, reqwest::Method::POST, "/work-orders", order).await["id"]);
    let webhook = json!({"name": "chat", "url": "https://hooks.example.com/", "settings": {"events": ["webhook.nothing"]}});
    call(&admin, reqwest::Method::POST, "/webhooks", webhook).await;
    let settings = json!({"events": ["webhook.nothing"], "deliver_by": {"names": ["edge"]}});
    let inside = json!({"name": "inside", "url": "http://receiver.tools.svc:8080/", "settings": settings});
    call(&admin, reqwest::Method::POST, "/webhooks", inside).await;
    call(&admin, reqwest::Method::POST, "/webhooks/inside/test", Value::Null).await;
    let keys = broker.admin().list_keys(&brokkr_api::page::PageQuery::default()).await.unwrap();
    let own: Vec<_> = keys.items.iter().map(|key| key.id.to_string()).collect();
    let environment = vec![
        ("BROKKR_KNOWN_AGENT", "edge".to_owned()),
        ("BROKKR_KNOWN_STACK_ID", text(&stack["id"])),
        ("BROKKR_KNOWN_DIGEST", text(&content["digest"])),
        ("BROKKR_KNOWN_ORDER", order),
        ("BROKKR_KNOWN_WEBHOOK", "chat".to_owned()),
        ("BROKKR_KNOWN_REVISION", "2".to_owned()),
        ("BROKKR_OWN_KEYS", own.join(" ")),
    ];
    Seed { keys: [("agent", agent), ("generator", generator), ("admin", admin)], environment }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_sent_no_answer_is_a_5xx_and_every_answer_fits_the_served_document() {
    let program = install().await;
    // As many requests as the machine takes: what is limited would be looked at no further.
    let limits = ["REQUESTS_PER_SECOND", "AGENT_REQUESTS_PER_SECOND", "ANONYMOUS_REQUESTS_PER_SECOND"];
    let limits = limits.map(|limit| format!("BROKKR__LIMITS__{limit}"));
    let settings: Vec<_> = limits.iter().map(|limit| (limit.as_str(), "0")).collect();
    let broker = Broker::start(Engine::Sqlite, &settings).await.unwrap();
    let seed = seed(&broker).await;
    for run in RUNS {
        let (_, key) = seed.keys.iter().find(|(role, _)| *role == run.role).expect("a key of the role");
        let own_stack = if run.role == "generator" { "shop" } else { "warehouse" };
        let mut command = Command::new(&program);
        command
            .current_dir(broker.process.directory())
            .envs(seed.environment.iter().map(|(name, value)| (name, value)))
            .env("BROKKR_KNOWN_STACK", own_stack)
            .env("PYTHONPATH", folder())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg("--config-file")
            .arg(folder().join("schemathesis.toml"))
            .args(["run", &format!("{}/api/v1/openapi.json", broker.base)])
            .args(["--header", &format!("Authorization: Bearer {key}")])
            .args(run.routes)
            // A deleted stack is there until its agents have acknowledged, and says so.
            .args(["--checks", "all", "--exclude-checks", "use_after_free"])
            .args(["--phases", "coverage,fuzzing,stateful", "--max-examples", run.examples]);
        let (fits, report) = output(command).await;
        assert!(fits, "with the key of {}:\n{report}", run.role);
        assert!(report.contains("generated, "), "nothing was sent:\n{report}");
    }
    let errors = broker.process.output().lines().into_iter().filter(|line| line.contains("ERROR") || line.contains("panicked"));
    assert_eq!(errors.collect::<Vec<_>>(), Vec::<String>::new());
}
