//! Objects with conditions.

use brokkr_api::work_orders::WorkState;
use brokkr_tests::{cluster::Cluster, fleet::LIMIT};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::world::World;

fn map(world: &World, state: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "task", "namespace": world.namespace}, "data": {"state": state}})
}

fn work(world: &World) -> Value {
    json!({"apply": {"objects": [map(world, "new")], "success": "object.items[0].data.state == 'done'",
        "failure": "object.items[0].data.state == 'broken'"}})
}

/// Somebody in the cluster says how it ended.
async fn becomes(world: &World, state: &str) {
    let maps = world.cluster.api::<ConfigMap>(&world.namespace);
    Cluster::wait_until(&maps, "task", "to be there", LIMIT, |map| map.is_some()).await.unwrap();
    let patch = json!({"data": {"state": state}});
    maps.patch("task", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_done_when_the_condition_is_true_and_go_after_their_time() {
    let world = World::new("apply").await;
    let id = world.order(work(&world), json!({"ttl_seconds": 0})).await;
    becomes(&world, "done").await;
    let done = world.becomes(id, WorkState::Succeeded).await;
    assert_eq!(done.object.unwrap().name, "task");
    let maps = world.cluster.api::<ConfigMap>(&world.namespace);
    Cluster::wait_until(&maps, "task", "to be gone", LIMIT, |map| map.is_none()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_condition_for_a_failure_fails_the_order() {
    let world = World::new("broken").await;
    let id = world.order(work(&world), json!({})).await;
    becomes(&world, "broken").await;
    let failed = world.becomes(id, WorkState::Failed).await;
    assert_eq!(failed.reason.as_deref(), Some("condition"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_that_does_not_compile_fails_the_order_and_is_named() {
    let world = World::new("condition").await;
    let mut work = work(&world);
    work["apply"]["success"] = json!("object.items[");
    let id = world.order(work, json!({"max_attempts": 3})).await;
    let failed = world.becomes(id, WorkState::Failed).await;
    assert_eq!((failed.reason.as_deref(), failed.attempts), (Some("rule_invalid"), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_others_are_left_alone() {
    let world = World::new("theirs").await;
    let theirs: ConfigMap = serde_json::from_value(map(&world, "theirs")).unwrap();
    let maps = world.cluster.api::<ConfigMap>(&world.namespace);
    maps.create(&PostParams::default(), &theirs).await.unwrap();
    let id = world.order(work(&world), json!({})).await;
    let failed = world.becomes(id, WorkState::Failed).await;
    assert_eq!(failed.reason.as_deref(), Some("exists"));
    let kept = maps.get("task").await.unwrap();
    assert_eq!(kept.data.unwrap()["state"], "theirs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_order_takes_its_objects_along() {
    let world = World::new("applied-cancel").await;
    let id = world.order(work(&world), json!({})).await;
    let maps = world.cluster.api::<ConfigMap>(&world.namespace);
    Cluster::wait_until(&maps, "task", "to be there", LIMIT, |map| map.is_some()).await.unwrap();
    world.becomes(id, WorkState::Running).await;
    world.broker.admin().cancel_work_order(id).await.unwrap();
    world.becomes(id, WorkState::Cancelled).await;
    assert!(maps.get_opt("task").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_attempt_begins_anew() {
    let world = World::new("anew").await;
    let id = world.order(work(&world), json!({"max_attempts": 2, "backoff_seconds": 0})).await;
    becomes(&world, "broken").await;
    let maps = world.cluster.api::<ConfigMap>(&world.namespace);
    let is_new = |map: Option<&ConfigMap>| map.and_then(|map| map.data.as_ref()).is_some_and(|data| data["state"] == "new");
    Cluster::wait_until(&maps, "task", "to be made anew", LIMIT, is_new).await.unwrap();
    becomes(&world, "done").await;
    assert_eq!(world.becomes(id, WorkState::Succeeded).await.attempts, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_killed_goes_on_with_what_has_become_of_its_objects() {
    let mut world = World::new("applied-killed").await;
    let id = world.order(work(&world), json!({})).await;
    world.becomes(id, WorkState::Running).await;
    let maps = world.cluster.api::<ConfigMap>(&world.namespace);
    Cluster::wait_until(&maps, "task", "to be there", LIMIT, |map| map.is_some()).await.unwrap();
    world.agent.process.kill();
    becomes(&world, "done").await;
    world.agent.process.start().unwrap();
    assert_eq!(world.becomes(id, WorkState::Succeeded).await.attempts, 1);
    assert_eq!(maps.get("task").await.unwrap().data.unwrap()["state"], "done");
}
