use brokkr_api::readiness::Readiness;
use brokkr_tests::{
    cluster::Cluster,
    fleet::{Broker, Engine, LIMIT, config_map},
    http::client,
    lab::until,
    postgres::Postgres,
};
use reqwest::header::{ACCEPT, CONTENT_TYPE};

/// The names that dashboards are built on, with the labels of each.
const OF_BROKER: [(&str, &[&str]); 7] = [
    ("brokkr_http_requests_total", &["endpoint", "method", "status"]),
    ("brokkr_http_request_duration_seconds_count", &["endpoint", "method"]),
    ("brokkr_database_queries_total", &["operation"]),
    ("brokkr_database_query_duration_seconds_count", &["operation"]),
    ("brokkr_active_agents", &[]),
    ("brokkr_stacks_total", &[]),
    ("brokkr_deployment_objects_total", &[]),
];
const OF_AGENT: [(&str, &[&str]); 6] = [
    ("brokkr_agent_poll_requests_total", &["result"]),
    ("brokkr_agent_poll_duration_seconds_count", &[]),
    ("brokkr_agent_kubernetes_operations_total", &["operation", "result"]),
    ("brokkr_agent_kubernetes_operation_duration_seconds_count", &["operation"]),
    ("brokkr_agent_heartbeat_sent_total", &[]),
    ("brokkr_agent_last_successful_poll_timestamp", &[]),
];

async fn ask(url: String, accept: Option<&str>) -> (String, String) {
    let mut request = client().unwrap().get(&url);
    if let Some(accept) = accept {
        request = request.header(ACCEPT, accept);
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200, "{url}");
    let kind = response.headers().get(CONTENT_TYPE).map(|kind| kind.to_str().unwrap().to_owned()).unwrap_or_default();
    (kind, response.text().await.unwrap())
}

/// Label names of a series as `/metrics` writes it, in the order of the alphabet.
fn labels(series: &str) -> Vec<&str> {
    let inside = series.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')).map_or("", |(inside, _)| inside);
    // A route template has braces and no comma, no label value has a quote.
    let mut labels: Vec<_> = inside.split("\",").filter_map(|pair| pair.split_once('=')).map(|(name, _)| name.trim()).collect();
    labels.sort_unstable();
    labels
}

fn assert_has(text: &str, expected: &[(&str, &[&str])]) {
    for (name, wanted) in expected {
        let series: Vec<_> =
            text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))).collect();
        assert!(!series.is_empty(), "{name} is missing");
        for line in series {
            assert_eq!(labels(line), *wanted, "{line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_daemons_say_that_they_live_that_they_are_ready_and_what_they_counted() {
    for engine in Engine::ALL {
        let cluster = Cluster::shared().await.unwrap();
        let namespace = cluster.create_namespace("probes").await.unwrap();
        let broker = Broker::start(engine, &[]).await.unwrap();
        let agent = broker.agent(&cluster.unique("probed"), &[]).await.unwrap();
        let stack = broker.stack("shop", &[&agent]).await;
        broker.apply(&stack, &config_map(&namespace, "a", "1")).await;

        for (base, parts, metrics) in [
            (&broker.base, &["database", "telemetry"][..], &OF_BROKER[..]),
            (&agent.base, &["broker", "kubernetes", "stacks", "telemetry"], &OF_AGENT),
        ] {
            assert_eq!(ask(format!("{base}/healthz"), None).await.1, "ok\n");
            let ready: Readiness = serde_json::from_str(&ask(format!("{base}/readyz"), None).await.1).unwrap();
            assert!(ready.ready, "{engine:?}: {ready:?}");
            for part in parts {
                assert!(ready.checks.get(*part).is_some_and(|check| check.ok), "{engine:?}: {part}: {ready:?}");
            }
            let (kind, text) = ask(format!("{base}/metrics"), None).await;
            assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
            assert_has(&text, metrics);
            assert!(!text.contains(agent.name.as_str()) && !text.contains(r#""shop""#), "ids are no labels: {text}");

            let wanted = "application/openmetrics-text; version=1.0.0";
            let (kind, text) = ask(format!("{base}/metrics"), Some(wanted)).await;
            assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
            assert!(text.ends_with("# EOF\n"), "OpenMetrics says where it ends");
            assert_has(&text, metrics);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_without_its_database_stays_ready_and_tells() {
    let cluster = Cluster::shared().await.unwrap();
    let broker = Broker::start(Engine::Postgres, &[]).await.unwrap();
    let mut agent = broker.agent(&cluster.unique("patient"), &[]).await.unwrap();
    let name = broker.database.rsplit('/').next().unwrap().split('?').next().unwrap().to_owned();
    let server = Postgres::shared();
    server.query(&server.description().url("postgres"), &format!("DROP DATABASE {name} WITH (FORCE)")).unwrap();
    let told = until("/readyz to tell of the database", LIMIT, || async {
        let (_, text) = ask(format!("{}/readyz", broker.base), None).await;
        let ready: Readiness = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        if ready.checks["database"].ok { Err(text) } else { Ok(ready) }
    });
    assert!(told.await.unwrap().ready, "an unchanged poll is answered without the database");
    assert!(agent.process.terminate(LIMIT).await.unwrap().success());
}
