//! Waves: the next one begins when the one before is healthy.

use brokkr_api::rollouts::Phase;
use brokkr_tests::{
    cluster::Cluster,
    fleet::{Broker, Engine, LIMIT, config_map},
    lab::until,
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_later_wave_waits_for_the_health_of_an_earlier_one_and_a_newer_generation_ends_the_wait() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.create_namespace("waves").await.unwrap();
    let group = format!("{}.example.com", cluster.unique("g"));
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let agent = broker.agent(&cluster.unique("waver"), &[]).await.unwrap();
    let stack = broker.stack("shop", &[&agent]).await;
    let definition = format!(
        "---\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: gates.{group}}}\nspec:\n  group: {group}\n  \
         scope: Namespaced\n  names: {{kind: Gate, plural: gates, singular: gate, listKind: GateList}}\n  versions:\n  - name: v1\n    \
         served: true\n    storage: true\n    subresources: {{status: {{}}}}\n    \
         schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}\n"
    );
    let gate =
        format!("---\napiVersion: {group}/v1\nkind: Gate\nmetadata: {{name: g, namespace: {namespace}}}\nspec: {{size: 1}}\n");
    let after = |value: &str| {
        config_map(&namespace, "after", value).replace("metadata: {", "metadata: {annotations: {brokkr.io/wave: \"1\"}, ")
    };
    let resource = ApiResource {
        group: group.clone(),
        version: "v1".to_owned(),
        api_version: format!("{group}/v1"),
        kind: "Gate".to_owned(),
        plural: "gates".to_owned(),
    };
    // A Gate says by its condition whether it is ready; here the test is its controller.
    let say = |ready: &'static str| {
        let gates: Api<DynamicObject> = Api::namespaced_with(cluster.client().clone(), &namespace, &resource);
        let status = json!({"status": {"conditions": [{"type": "Ready", "status": ready, "message": "says the test"}]}});
        async move { gates.patch_status("g", &PatchParams::default(), &Patch::Merge(status)).await.unwrap() }
    };
    broker.apply(&stack, &(definition.clone() + &gate)).await;
    say("False").await;

    broker.send(&stack, &(definition.clone() + &gate + &after("1"))).await;
    let waits = || async {
        let rollout = broker.admin().rollout(&stack, None).await.unwrap();
        let deployment = &rollout.deployments[0];
        match &deployment.error {
            Some(error) if error.reason == "earlier_wave" && deployment.phase == Phase::Progressing => Ok(error.clone()),
            other => Err(format!("{:?}: {other:?}", deployment.phase)),
        }
    };
    let error = until("what it waits for", LIMIT, waits).await.unwrap();
    assert_eq!(error.object.unwrap().kind, "Gate");
    let api = cluster.api::<ConfigMap>(&namespace);
    assert!(api.get_opt("after").await.unwrap().is_none());

    // Replaced while it waits.
    broker.send(&stack, &(definition + &gate + &after("2"))).await;
    say("True").await;
    let is_second = |object: &ConfigMap| object.data.as_ref().is_some_and(|data| data["value"] == "2");
    Cluster::wait_until(&api, "after", "the second wave", LIMIT, |object| object.is_some_and(is_second)).await.unwrap();
    let rollout = broker.settle(&stack).await;
    assert!(rollout.done && rollout.failed == 0, "{rollout:?}");
}
