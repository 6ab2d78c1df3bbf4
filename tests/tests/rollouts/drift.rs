//! What others change.

use brokkr_tests::{
    cluster::Cluster,
    fleet::{Broker, Engine, LIMIT, config_map},
    lab::until,
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

async fn value(cluster: &Cluster, namespace: &str, key: &str) -> Option<String> {
    let object: Option<ConfigMap> = cluster.get(namespace, "a").await.unwrap();
    object?.data?.remove(key)
}

async fn wait_for_value(cluster: &Cluster, namespace: &str, key: &str, wanted: Option<&str>) {
    let look = || async {
        let found = value(cluster, namespace, key).await;
        if found.as_deref() == wanted { Ok(()) } else { Err(format!("{key} is {found:?}")) }
    };
    until("the agent's repair", LIMIT, look).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_change_is_undone_and_what_is_not_ours_is_left_alone() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.create_namespace("drift").await.unwrap();
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let agent = broker.agent(&cluster.unique("keeper"), &[]).await.unwrap();
    let stack = broker.stack("shop", &[&agent]).await;
    broker.apply(&stack, &config_map(&namespace, "a", "ours")).await;
    let api = cluster.api::<ConfigMap>(&namespace);

    // By another tool with server-side apply, which takes the field.
    let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"value": "theirs", "extra": "stays"}});
    api.patch("a", &PatchParams::apply("somebody-else").force(), &Patch::Apply(&theirs)).await.unwrap();
    wait_for_value(&cluster, &namespace, "value", Some("ours")).await;
    assert_eq!(value(&cluster, &namespace, "extra").await.as_deref(), Some("stays"));

    // By hand.
    api.patch("a", &PatchParams::default(), &Patch::Merge(json!({"data": {"value": null}}))).await.unwrap();
    wait_for_value(&cluster, &namespace, "value", Some("ours")).await;

    // Its label, by which it is found.
    let unlabelled = json!({"metadata": {"labels": {"applyset.kubernetes.io/part-of": null}}});
    api.patch("a", &PatchParams::default(), &Patch::Merge(unlabelled)).await.unwrap();
    let labelled = |object: &ConfigMap| {
        object.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key("applyset.kubernetes.io/part-of"))
    };
    Cluster::wait_until(&api, "a", "the label", LIMIT, |object| object.is_some_and(labelled)).await.unwrap();

    api.delete("a", &DeleteParams::default()).await.unwrap();
    wait_for_value(&cluster, &namespace, "value", Some("ours")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_broker_is_away_the_agent_repairs_and_deletes_nothing() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.create_namespace("alone").await.unwrap();
    let mut broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let agent = broker.agent(&cluster.unique("alone"), &[]).await.unwrap();
    let stack = broker.stack("shop", &[&agent]).await;
    broker.apply(&stack, &config_map(&namespace, "a", "ours")).await;
    broker.process.kill();
    let api = cluster.api::<ConfigMap>(&namespace);
    api.patch("a", &PatchParams::default(), &Patch::Merge(json!({"data": {"value": "theirs"}}))).await.unwrap();
    wait_for_value(&cluster, &namespace, "value", Some("ours")).await;
    drop(agent);
}

/// The agent that comes back has a newer manifest, an object that is of neither, and no memory but what stands on the object.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_while_the_agent_was_away_is_taken_back_by_the_next_generation_and_what_never_was_ours_is_not() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.create_namespace("taken").await.unwrap();
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let mut agent = broker.agent(&cluster.unique("taken"), &[]).await.unwrap();
    let stack = broker.stack("shop", &[&agent]).await;
    broker.apply(&stack, &config_map(&namespace, "a", "first")).await;
    agent.process.kill();
    let api = cluster.api::<ConfigMap>(&namespace);
    let theirs = json!({"data": {"value": "theirs", "other": "theirs"}});
    api.patch("a", &PatchParams::default(), &Patch::Merge(theirs)).await.unwrap();
    broker.send(&stack, &config_map(&namespace, "a", "second")).await;
    agent.process.start().unwrap();
    wait_for_value(&cluster, &namespace, "value", Some("second")).await;
    assert_eq!(value(&cluster, &namespace, "other").await.as_deref(), Some("theirs"));

    agent.process.kill();
    let with_other = config_map(&namespace, "a", "third").replace("\"third\"}", "\"third\", other: ours}");
    broker.send(&stack, &with_other).await;
    agent.process.start().unwrap();
    let rollout = broker.settle(&stack).await;
    let error = rollout.deployments[0].error.as_ref().unwrap();
    assert!(error.reason == "conflict" && error.message.contains(".data.other"), "{error:?}");
    assert_eq!(value(&cluster, &namespace, "other").await.as_deref(), Some("theirs"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_somebody_else_made_is_reported_and_not_touched() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.create_namespace("exists").await.unwrap();
    let api = cluster.api::<ConfigMap>(&namespace);
    let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"value": "theirs"}});
    let before = api.patch("a", &PatchParams::apply("helm"), &Patch::Apply(&theirs)).await.unwrap();
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let agent = broker.agent(&cluster.unique("careful"), &[]).await.unwrap();
    let stack = broker.stack("shop", &[&agent]).await;
    let two = config_map(&namespace, "a", "ours") + &config_map(&namespace, "b", "ours");
    broker.send(&stack, &two).await;

    let rollout = broker.settle(&stack).await;

    let error = rollout.deployments[0].error.as_ref().unwrap();
    assert_eq!(error.reason, "exists");
    assert!(error.message.contains("helm") && error.message.contains("adopt"), "{}", error.message);
    assert_eq!(api.get("a").await.unwrap().metadata.resource_version, before.metadata.resource_version);
    assert!(api.get_opt("b").await.unwrap().is_some(), "the rest is not held up");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_moves_from_one_stack_to_another_without_being_deleted() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.create_namespace("moves").await.unwrap();
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let agent = broker.agent(&cluster.unique("mover"), &[]).await.unwrap();
    let (one, other) = (broker.stack("one", &[&agent]).await, broker.stack("other", &[&agent]).await);
    let (moving, left) = (config_map(&namespace, "a", "1"), config_map(&namespace, "left", "1"));
    broker.apply(&one, &(moving.clone() + &left)).await;
    broker.apply(&other, &config_map(&namespace, "there", "1")).await;
    let api = cluster.api::<ConfigMap>(&namespace);
    let uid = api.get("a").await.unwrap().metadata.uid;

    // It comes before it goes: the new stack has to wait for the old one to let go.
    broker.send(&other, &(moving.clone() + &config_map(&namespace, "there", "1"))).await;
    let rollout = broker.settle(&other).await;
    assert_eq!(rollout.deployments[0].error.as_ref().unwrap().reason, "exists");
    broker.apply(&one, &left).await;
    let look = || async {
        let rollout = broker.settle(&other).await;
        if rollout.failed == 0 { Ok(()) } else { Err(format!("{:?}", rollout.deployments[0].error)) }
    };
    until("the other stack has it", LIMIT, look).await.unwrap();
    assert_eq!(api.get("a").await.unwrap().metadata.uid, uid);
}
