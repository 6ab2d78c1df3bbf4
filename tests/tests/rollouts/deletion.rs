use brokkr_api::{ErrorCode, reports::ObjectOutcome, rollouts::Phase};
use brokkr_tests::{
    cluster::Cluster,
    fleet::{Broker, Engine, config_map},
};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_left_the_manifests_goes_and_what_is_not_ours_stays() {
    for engine in Engine::ALL {
        let cluster = Cluster::shared().await.unwrap();
        let namespace = cluster.create_namespace("prune").await.unwrap();
        let broker = Broker::start(engine, &[]).await.unwrap();
        let agent = broker.agent(&cluster.unique("pruner"), &[]).await.unwrap();
        let stack = broker.stack("shop", &[&agent]).await;
        broker.apply(&stack, &(config_map(&namespace, "kept", "1") + &config_map(&namespace, "gone", "1"))).await;
        // Somebody copies the label of membership onto an object of their own.
        let kept: ConfigMap = cluster.get(&namespace, "kept").await.unwrap().unwrap();
        let foreign: ConfigMap = serde_json::from_value(json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "foreign", "labels": kept.metadata.labels}}))
        .unwrap();
        cluster.api::<ConfigMap>(&namespace).create(&PostParams::default(), &foreign).await.unwrap();

        broker.apply(&stack, &config_map(&namespace, "kept", "1")).await;

        assert!(cluster.get::<ConfigMap>(&namespace, "gone").await.unwrap().is_none(), "{engine:?}: not pruned");
        assert!(
            cluster.get::<ConfigMap>(&namespace, "foreign").await.unwrap().is_some(),
            "{engine:?}: a foreign object was pruned"
        );
        let untouched: ConfigMap = cluster.get(&namespace, "kept").await.unwrap().unwrap();
        assert_eq!(untouched.metadata.resource_version, kept.metadata.resource_version, "an unchanged object was written");

        broker.delete(&stack).await;
        assert!(cluster.get::<ConfigMap>(&namespace, "kept").await.unwrap().is_none(), "{engine:?}: not deleted with its stack");
        assert!(cluster.get::<ConfigMap>(&namespace, "foreign").await.unwrap().is_some());
        assert_eq!(broker.admin().stack(&stack).await.unwrap_err().code(), Some(ErrorCode::NotFound), "the name is free");
        broker.stack("shop", &[&agent]).await;
        broker.apply(&stack, &config_map(&namespace, "kept", "2")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_is_held_until_its_stack_is_deleted() {
    let cluster = Cluster::shared().await.unwrap();
    let (home, namespace) = (cluster.create_namespace("home").await.unwrap(), cluster.unique("held"));
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let agent = broker.agent(&cluster.unique("holder"), &[]).await.unwrap();
    let stack = broker.stack("shop", &[&agent]).await;
    let with_namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}\n");
    broker.apply(&stack, &(with_namespace + &config_map(&home, "a", "1"))).await;
    broker.apply(&stack, &config_map(&home, "a", "2")).await;

    let namespaces: Api<Namespace> = Api::all(cluster.client().clone());
    assert!(namespaces.get(&namespace).await.unwrap().metadata.deletion_timestamp.is_none());
    let rollout = broker.settle(&stack).await;
    let held: Vec<_> = rollout.deployments[0].objects.iter().filter(|object| object.outcome == ObjectOutcome::Held).collect();
    assert_eq!(held.len(), 1);
    assert_eq!(
        (held[0].object.name.as_str(), held[0].reason.as_deref()),
        (namespace.as_str(), Some("approval_required_protected_kind"))
    );

    broker.delete(&stack).await;
    assert!(namespaces.get_opt(&namespace).await.unwrap().is_none(), "a person who deletes the stack has approved it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_and_an_object_of_it_go_out_in_one_go_and_come_back_in_order() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.create_namespace("custom").await.unwrap();
    let group = format!("{}.example.com", cluster.unique("g"));
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let agent = broker.agent(&cluster.unique("definer"), &[]).await.unwrap();
    let stack = broker.stack("shop", &[&agent]).await;
    let widget =
        format!("apiVersion: {group}/v1\nkind: Widget\nmetadata: {{name: w, namespace: {namespace}}}\nspec: {{size: 1}}\n");
    let definition = format!(
        "---\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: widgets.{group}}}\nspec:\n  group: {group}\n  \
         scope: Namespaced\n  names: {{kind: Widget, plural: widgets, singular: widget, listKind: WidgetList}}\n  versions:\n  - name: v1\n    \
         served: true\n    storage: true\n    schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}\n"
    );
    broker.apply(&stack, &(widget + &definition)).await;
    assert!(cluster.kubectl(&["get", &format!("widgets.{group}"), "w", "-n", &namespace]).is_ok());
    broker.delete(&stack).await;
    assert!(cluster.kubectl(&["get", "crd", &format!("widgets.{group}")]).is_err(), "the definition is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_is_reported_with_manager_and_field_and_not_forced() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.create_namespace("conflict").await.unwrap();
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let agent = broker.agent(&cluster.unique("polite"), &[]).await.unwrap();
    let stack = broker.stack("shop", &[&agent]).await;
    broker.apply(&stack, &config_map(&namespace, "a", "ours")).await;
    let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"other": "theirs"}});
    let api = cluster.api::<ConfigMap>(&namespace);
    api.patch("a", &PatchParams::apply("somebody-else"), &Patch::Apply(&theirs)).await.unwrap();
    let manifest = config_map(&namespace, "a", "ours").replace("\"ours\"", "\"ours\", other: ours");
    broker.send(&stack, &manifest).await;

    let rollout = broker.settle(&stack).await;

    assert_eq!(rollout.deployments[0].phase, Phase::Failed);
    let error = rollout.deployments[0].error.as_ref().unwrap();
    assert_eq!(error.reason, "conflict");
    assert!(error.message.contains("somebody-else") && error.message.contains(".data.other"), "{}", error.message);
    assert_eq!(api.get("a").await.unwrap().data.unwrap()["other"], "theirs");
}
