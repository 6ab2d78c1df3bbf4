//! The cluster is in trouble, or somebody in it does not agree.

use std::time::Duration;

use brokkr_api::Name;
use brokkr_tests::{
    cluster::Cluster,
    fleet::{Broker, Engine, LIMIT, config_map},
    kube_proxy::{Fault, KubeProxy},
    lab::Scratch,
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::world::{of_agent, of_broker, watch, while_doing};

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_fails_is_told_and_one_that_does_not_answer_leaves_a_rollout_stuck() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.create_namespace("failing").await.unwrap();
    let proxy = KubeProxy::start(cluster.kubeconfig()).await.unwrap();
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let settings = [("BROKKR__KUBERNETES__CALL_TIMEOUT_SECONDS", "60"), ("BROKKR__BROKER__WAIT_SECONDS", "1")];
    let mut agent = broker.unconnected_agent(&cluster.unique("failing"), proxy.kubeconfig(), &settings).await.unwrap();
    agent.process.wait_for_line("the connection", LIMIT, |line| line.contains("the agent is connected")).await.unwrap();
    let stack = broker.stack("shop", &[&agent]).await;
    broker.apply(&stack, &config_map(&namespace, "a", "0")).await;
    let prometheus = watch(&[of_broker(&broker), of_agent(&agent)]).await;

    proxy.plan(|call| (!call.is_watch()).then_some(Fault::Internal));
    let errors = while_doing(prometheus.fires("BrokkrKubernetesErrors", LIMIT), async |round| {
        // Each change is a first attempt, which does not wait for the pause after a failed one to pass.
        broker.send(&stack, &config_map(&namespace, "a", &format!("failing {round}"))).await;
        broker.settle(&stack).await;
    })
    .await
    .unwrap();
    assert!(
        errors.annotations["description"].contains(&format!("{} calls fail", errors.labels["operation"])),
        "{}",
        errors.say()
    );
    prometheus.fires("BrokkrDeploymentsFailed", LIMIT).await.unwrap();

    proxy.plan(|call| (!call.is_watch()).then_some(Fault::Silence));
    broker.send(&stack, &config_map(&namespace, "a", "silence")).await;
    prometheus.fires("BrokkrRolloutStuck", LIMIT).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_keeps_changing_an_object_back_is_told() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.create_namespace("contested").await.unwrap();
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let agent = broker.agent(&cluster.unique("contested"), &[]).await.unwrap();
    let stack = broker.stack("shop", &[&agent]).await;
    broker.apply(&stack, &config_map(&namespace, "a", "ours")).await;
    let prometheus = watch(&[of_broker(&broker), of_agent(&agent)]).await;

    let api = cluster.api::<ConfigMap>(&namespace);
    let mut pace = tokio::time::interval(Duration::from_millis(200));
    let contested = while_doing(prometheus.fires("BrokkrDriftContested", LIMIT), async |_| {
        pace.tick().await;
        let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"value": "theirs"}});
        api.patch("a", &PatchParams::apply("somebody-else").force(), &Patch::Apply(&theirs)).await.unwrap();
    })
    .await
    .unwrap();
    assert!(contested.annotations["description"].starts_with("1 objects"), "{}", contested.say());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_whose_agents_all_stand_by_is_told() {
    let cluster = Cluster::shared().await.unwrap();
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let name: Name = cluster.unique("standby").parse().unwrap();
    let namespace = format!("brokkr-{name}");
    // A leader that died a moment ago, with a lease that lasts.
    let lease = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "brokkr-agent", "namespace": namespace},
            "spec": {"holderIdentity": "gone", "leaseDurationSeconds": 3600, "leaseTransitions": 0}},
    ]});
    let scratch = Scratch::new("lease").unwrap();
    let file = scratch.write("lease.json", lease.to_string()).unwrap();
    cluster.kubectl(&["apply", "-f", file.to_str().unwrap()]).unwrap();
    let settings = [("BROKKR__LEADER_ELECTION__ENABLED", "true")];
    let mut agent = broker.unconnected_agent(name.as_ref(), cluster.kubeconfig(), &settings).await.unwrap();
    agent.process.wait_for_line("standing by", LIMIT, |line| line.contains("this one stands by")).await.unwrap();
    let prometheus = watch(&[of_broker(&broker), of_agent(&agent)]).await;
    prometheus.fires("BrokkrAgentNoLeader", LIMIT).await.unwrap();
}
