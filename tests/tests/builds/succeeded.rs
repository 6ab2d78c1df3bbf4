//! Builds that succeed, and what their steps and their trace know of each other.

use brokkr_api::work_orders::WorkState;
use brokkr_tests::{
    fleet::LIMIT,
    lab::until,
    otlp::{Kind, Receiver, Span},
};
use kube::{ResourceExt, api::ListParams};
use serde_json::json;

use super::world::{World, env};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[tokio::test(flavor = "multi_thread")]
async fn a_build_from_a_repository_succeeds_and_each_step_is_a_span_with_its_own_times() {
    let world = World::new("build").await;
    let mut work = world.embedded(&world.strategy(json!({})).await);
    work["build"]["parameters"] = json!({"dockerfile": "Containerfile"});
    let change = json!({"parameters": {"REGION": "eu"}});
    let asks = world.broker.traced(&format!("00-{TRACE}-b7ad6b7169203331-03"));
    let id = asks.create_work_order(&world.request(&work, &change), None).await.unwrap().id;
    let done = world.becomes(id, WorkState::Succeeded).await;

    let runs = world.runs(id).await;
    assert_eq!(runs.len(), 1);
    assert_eq!(done.object.map(|object| object.name), Some(runs[0].name_any()));
    assert!(runs[0].name_any().starts_with("web-") && runs[0].name_any().ends_with("-1"), "{}", runs[0].name_any());
    assert_eq!(runs[0].data["spec"]["build"]["spec"]["paramValues"], json!([{"name": "dockerfile", "value": "Containerfile"}]));

    let names = ["process work_order", "run source-default", "run build", "run push"];
    let trace = Receiver::shared().wait_for_trace(TRACE, &names, LIMIT).await.unwrap();
    let order = trace.span("process work_order").unwrap();
    assert_eq!(order.kind, Kind::Consumer);
    assert_eq!(order.text("cicd.pipeline.result"), Some("success"));
    assert_eq!(order.text("brokkr.work_order.kind"), Some("build"));
    let steps = world.task_runs().list(&ListParams::default()).await.unwrap().items[0].data["status"]["steps"].clone();
    for step in steps.as_array().unwrap() {
        let name = step["name"].as_str().unwrap();
        let found = trace.children(order).find(|span| span.name == format!("run {name}"));
        let span = found.unwrap_or_else(|| panic!("no span of {name}: {:?}", trace.spans));
        assert_eq!(span.text("cicd.pipeline.task.name"), Some(name));
        assert_eq!(span.text("cicd.pipeline.task.run.result"), Some("success"));
        assert_eq!(lasted(span), (at(&step["terminated"]["startedAt"]), at(&step["terminated"]["finishedAt"])));
    }

    let pods = world.pods().list(&ListParams::default()).await.unwrap().items;
    let of_build = env(&pods[0], "step-build");
    assert_eq!(of_build["REGION"], "eu");
    assert_eq!(of_build["TRACEPARENT"], format!("00-{TRACE}-{}-01", order.span_id), "every flag but sampled is cleared");
    assert_eq!(env(&pods[0], "step-push")["TRACEPARENT"], of_build["TRACEPARENT"]);
}

/// When a span began and ended, in whole seconds.
fn lasted(span: &Span) -> (u64, u64) {
    (span.start_nanos / 1_000_000_000, span.end_nanos / 1_000_000_000)
}

fn at(time: &serde_json::Value) -> u64 {
    let time: brokkr_api::Timestamp = serde_json::from_value(time.clone()).unwrap();
    u64::try_from(time.as_micros() / 1_000_000).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_of_the_cluster_is_run_with_what_the_order_says_and_goes_after_its_time() {
    let world = World::new("named").await;
    let strategy = world.strategy(json!({})).await;
    let spec = json!({
        "source": {"type": "Git", "git": {"url": "https://git.example/shop/web.git"}},
        "strategy": {"name": strategy["name"], "kind": "BuildStrategy"},
        "output": {"image": "images.example/shop/web:latest"},
    });
    world
        .create(
            "Build",
            json!({"apiVersion": "shipwright.io/v1beta1", "kind": "Build", "metadata": {"name": "web"}, "spec": spec}),
        )
        .await;
    let named = json!({"name": "web", "output": {"image": "images.example/shop/web:7"}});
    let work = json!({"build": {"plan": {"named": named}, "namespace": world.namespace}});
    let id = world.order(&work, json!({})).await;
    world.becomes(id, WorkState::Succeeded).await;
    let run = &world.runs(id).await[0].data;
    assert_eq!(
        (&run["spec"]["build"]["name"], &run["spec"]["output"]["image"]),
        (&json!("web"), &json!("images.example/shop/web:7"))
    );
    let pods = world.pods().list(&ListParams::default()).await.unwrap().items;
    assert!(env(&pods[0], "step-build").contains_key("TRACEPARENT"));

    let id = world.order(&work, json!({"ttl_seconds": 0})).await;
    world.becomes(id, WorkState::Succeeded).await;
    let look = || async {
        let runs = world.runs(id).await;
        if runs.is_empty() { Ok(()) } else { Err(format!("{} runs", runs.len())) }
    };
    until("the run to go after its time", LIMIT, look).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_killed_finds_its_build_again_and_starts_it_no_second_time() {
    let mut world = World::new("killed").await;
    let work = world.embedded(&world.strategy(json!({"lab.brokkr.io/build": "endless"})).await);
    let id = world.order(&work, json!({"max_attempts": 3})).await;
    let pod = world.running_pod().await;
    world.becomes(id, WorkState::Running).await;
    world.agent.process.kill();
    world.agent.process.start().unwrap();
    world.finish(&pod).await;
    let done = world.becomes(id, WorkState::Succeeded).await;
    assert_eq!(done.attempts, 1);
    assert_eq!(world.runs(id).await.len(), 1);
}
