//! Tracing switched on and off while everything runs, by the command line, for the broker and for real agents.

use brokkr_tests::{
    cluster::Cluster,
    fleet::{Broker, Engine, LIMIT, config_map},
    lab::until,
    otlp::Receiver,
};

use crate::command_line::Typed;

/// Until the agent says that it follows this revision.
async fn follows(typed: &Typed<'_>, agent: &str, revision: u64) -> serde_json::Value {
    let look = || async {
        let status = typed.json(&["trace", "status"]);
        let told = status["agents"].as_array().unwrap().iter().find(|told| told["agent"] == agent).cloned();
        told.filter(|told| told["revision"] == revision && told["pipeline"].is_object()).ok_or_else(|| status.to_string())
    };
    until("the agent to follow", LIMIT, look).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn tracing_is_switched_on_and_off_for_running_agents_and_status_says_whether_spans_arrive() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.create_namespace("switched").await.unwrap();
    let receiver = Receiver::shared();
    for engine in Engine::ALL {
        let broker = Broker::start(engine, &[("BROKKR__TELEMETRY__BATCH__DELAY", "100ms")]).await.unwrap();
        let name = cluster.unique("switched");
        let agent = broker.agent(&name, &[("BROKKR__TELEMETRY__BATCH__DELAY", "100ms")]).await.unwrap();
        let typed = Typed::new(&broker);
        let (code, said) = typed.fails(&["trace", "enable", "--otlp-endpoint", "collector:4317"]);
        assert!(code == 1 && said.contains("collector:4317"), "{code}: {said}");

        let endpoint = receiver.grpc_endpoint();
        typed.ok(&["trace", "enable", "--exporter", "otlp", "--otlp-endpoint", &endpoint, "--sample-rate", "1.0"]);
        let told = follows(&typed, &name, 1).await;
        assert_eq!(told["pipeline"]["enabled"], true, "{told:#}");
        let stack = broker.stack("shop", &[&agent]).await;
        broker.apply(&stack, &config_map(&namespace, &format!("a-{name}"), "1")).await;
        let of_agent =
            |span: &brokkr_tests::otlp::Span| span.name == "process deployment" && span.text("brokkr.agent.name") == Some(&name);
        receiver.wait_for("the agent's span", LIMIT, |spans| spans.iter().any(of_agent)).await.unwrap();

        typed.ok(&["trace", "disable"]);
        let told = follows(&typed, &name, 2).await;
        assert_eq!(told["pipeline"]["enabled"], false, "{told:#}");
        assert!(told["pipeline"]["exported"].as_u64().unwrap() > 0, "{told:#}");
        typed.ok(&["trace", "reset"]);
        follows(&typed, &name, 3).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selector_concerns_the_running_agents_with_these_labels_and_nobody_else() {
    let cluster = Cluster::shared().await.unwrap();
    let endpoint = Receiver::shared().grpc_endpoint();
    for engine in Engine::ALL {
        let off = [("BROKKR__TELEMETRY__ENABLED", "false")];
        let broker = Broker::start(engine, &off).await.unwrap();
        let (chosen, other) = (cluster.unique("chosen"), cluster.unique("other"));
        let _agents = [broker.agent(&chosen, &off).await.unwrap(), broker.agent(&other, &off).await.unwrap()];
        let labels = serde_json::from_value(serde_json::json!({"labels": {"site": "north"}})).unwrap();
        broker.admin().update_agent(&chosen.parse().unwrap(), &labels).await.unwrap();
        let typed = Typed::new(&broker);
        typed.ok(&["trace", "enable", "--agents", "site=north", "--agents-only", "--otlp-endpoint", &endpoint]);

        let told = follows(&typed, &chosen, 1).await;
        assert_eq!(told["pipeline"]["enabled"], true, "{told:#}");
        let told = follows(&typed, &other, 1).await;
        assert_eq!(told["pipeline"]["enabled"], false, "{told:#}");
        assert_eq!(typed.json(&["trace", "status"])["broker"]["pipeline"]["enabled"], false);
    }
}
