//! Builds that are stopped while they run.

use brokkr_api::work_orders::WorkState;
use brokkr_tests::{fleet::LIMIT, otlp::Receiver};
use serde_json::json;

use super::world::World;

const TRACE: &str = "1af7651916cd43dd8448eb211c80319c";

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_build_is_stopped_by_shipwright_and_nothing_of_it_is_left() {
    let world = World::new("cancel").await;
    let work = world.embedded(&world.strategy(json!({"lab.brokkr.io/build": "endless"})).await);
    let asks = world.broker.traced(&format!("00-{TRACE}-b7ad6b7169203331-01"));
    let id = asks.create_work_order(&world.request(&work, &json!({})), None).await.unwrap().id;
    world.running_pod().await;
    let cancelling = world.broker.admin().cancel_work_order(id).await.unwrap();
    assert_eq!((cancelling.state, cancelling.cancelling), (WorkState::Running, true));
    world.becomes(id, WorkState::Cancelled).await;
    world.nothing_is_left().await;
    let trace = Receiver::shared().wait_for_trace(TRACE, &["process work_order", "run build"], LIMIT).await.unwrap();
    assert_eq!(trace.span("process work_order").unwrap().text("cicd.pipeline.result"), Some("cancellation"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_stops_the_build_while_it_runs() {
    let world = World::new("deadline").await;
    let work = world.embedded(&world.strategy(json!({"lab.brokkr.io/build": "endless"})).await);
    let id = world.order(&work, json!({"deadline_seconds": 15})).await;
    world.running_pod().await;
    let failed = world.becomes(id, WorkState::Failed).await;
    assert_eq!(failed.reason.as_deref(), Some("deadline_exceeded"));
    world.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_somebody_cancels_in_the_cluster_has_failed_and_says_so() {
    let world = World::new("elsewhere").await;
    let work = world.embedded(&world.strategy(json!({"lab.brokkr.io/build": "endless"})).await);
    let id = world.order(&work, json!({"max_attempts": 3, "backoff_seconds": 0})).await;
    world.running_pod().await;
    let run = kube::ResourceExt::name_any(&world.runs(id).await[0]);
    let cancelled = json!({"spec": {"state": "BuildRunCanceled"}});
    let patch = kube::api::Patch::Merge(&cancelled);
    world.build_runs().patch(&run, &kube::api::PatchParams::default(), &patch).await.unwrap();
    let failed = world.becomes(id, WorkState::Failed).await;
    assert_eq!((failed.reason.as_deref(), failed.attempts), (Some("cancelled_in_cluster"), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_with_the_rights_of_the_page_builds_and_stops_builds() {
    let world = World::confined("confined").await;
    let succeeds = world.embedded(&world.strategy(json!({})).await);
    let id = world.order(&succeeds, json!({"ttl_seconds": 0})).await;
    world.becomes(id, WorkState::Succeeded).await;

    let endless = world.embedded(&world.strategy_named("endless", json!({"lab.brokkr.io/build": "endless"})).await);
    let id = world.order(&endless, json!({})).await;
    world.running_pod().await;
    world.broker.admin().cancel_work_order(id).await.unwrap();
    world.becomes(id, WorkState::Cancelled).await;
    assert_eq!(world.runs(id).await.len(), 0);
}
