//! Builds where there is no Shipwright.

use brokkr_api::work_orders::WorkState;
use serde_json::json;

use super::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_shipwright_says_so_and_nothing_is_tried_again() {
    let world = World::new("no-shipwright").await;
    let work = json!({"build": {"plan": {"named": {"name": "web"}}, "namespace": world.namespace}});
    let id = world.order(work, json!({"max_attempts": 3, "backoff_seconds": 0})).await;
    let failed = world.becomes(id, WorkState::Failed).await;
    assert_eq!((failed.reason.as_deref(), failed.attempts), (Some("shipwright_missing"), 1));
    let message = failed.message.unwrap();
    assert!(message.contains("no Shipwright"), "{message}");
}
