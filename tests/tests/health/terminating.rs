//! What is being deleted.

use super::world::{World, assert_tells};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_is_stuck_in_its_deletion_is_told_with_the_finalizer_that_holds_it() {
    let world = World::new("home").await;
    let doomed = world.cluster.unique("doomed");
    world.send(&format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {doomed}}}\n")).await;
    world.becomes_healthy().await;

    let maps = world.cluster.api::<ConfigMap>(&doomed);
    let holding = json!({"metadata": {"name": "holds", "finalizers": ["example.com/never"]}});
    maps.create(&PostParams::default(), &serde_json::from_value(holding).unwrap()).await.unwrap();
    let namespaces: Api<Namespace> = Api::all(world.cluster.client().clone());
    namespaces.delete(&doomed, &DeleteParams::default()).await.unwrap();

    let health = world.becomes_degraded("finalizers_remaining").await;
    assert_tells(&health, &format!("Namespace {doomed}"), "example.com/never in 1 resource instances");

    let released = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("holds", &PatchParams::default(), &released).await.unwrap();
    world.becomes_healthy().await;
    assert!(namespaces.get(&doomed).await.unwrap().metadata.deletion_timestamp.is_none(), "the agent makes it again");
}
