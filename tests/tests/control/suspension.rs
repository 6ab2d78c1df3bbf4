use brokkr_api::{ErrorCode, Name, rollouts::Phase, suspension::Suspend};
use brokkr_tests::{
    cluster::Cluster,
    fleet::{Agent, Broker, Engine, LIMIT, config_map},
    kube_proxy::{Fault, KubeProxy},
    lab::until,
};
use http::Method;
use k8s_openapi::api::core::v1::ConfigMap;
use tokio::sync::mpsc;

fn why() -> Suspend {
    Suspend { reason: "the auditors are here".to_owned() }
}

async fn value(cluster: &Cluster, namespace: &str, name: &str) -> Option<String> {
    let found: Option<ConfigMap> = cluster.get(namespace, name).await.unwrap();
    found.map(|map| map.data.unwrap()["value"].clone())
}

/// Sends something to another stack of the same agent and waits until it is applied: the agent has seen what came before.
async fn let_it_look(broker: &Broker, other: &Name, namespace: &str, value: &str) {
    broker.apply(other, &config_map(namespace, "other", value)).await;
}

async fn said(agent: &mut Agent, words: &[&str]) -> String {
    let all = |line: &str| words.iter().all(|word| line.contains(word));
    agent.process.wait_for_line(words[0], LIMIT, all).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_stack_is_neither_changed_nor_deleted_until_it_is_resumed_and_then_at_once() {
    let cluster = Cluster::shared().await.unwrap();
    for engine in Engine::ALL {
        let namespace = cluster.create_namespace("suspended").await.unwrap();
        let broker = Broker::start(engine, &[]).await.unwrap();
        let mut agent = broker.agent(&cluster.unique("held"), &[]).await.unwrap();
        let (shop, other) = (broker.stack("shop", &[&agent]).await, broker.stack("other", &[&agent]).await);
        broker.apply(&shop, &config_map(&namespace, "a", "1")).await;

        broker.admin().suspend_stack(&shop, &why()).await.unwrap();
        said(&mut agent, &["suspended: nothing is applied", "the auditors are here", "shop"]).await;
        broker.send(&shop, &config_map(&namespace, "a", "2")).await;
        let_it_look(&broker, &other, &namespace, "1").await;
        assert_eq!(value(&cluster, &namespace, "a").await.as_deref(), Some("1"), "{engine:?}: applied although suspended");
        let rollout = broker.admin().rollout(&shop, None).await.unwrap();
        let deployment = &rollout.deployments[0];
        assert_eq!((rollout.suspended, rollout.failed, deployment.phase), (1, 0, Phase::Suspended), "{rollout:#?}");
        assert!(deployment.waiting_for.as_ref().unwrap().contains("the auditors are here"), "{deployment:#?}");

        broker.admin().resume_stack(&shop).await.unwrap();
        assert!(broker.settle(&shop).await.done);
        assert_eq!(value(&cluster, &namespace, "a").await.as_deref(), Some("2"));
        said(&mut agent, &["no longer suspended"]).await;

        broker.admin().suspend_stack(&shop, &why()).await.unwrap();
        broker.admin().delete_stack(&shop).await.unwrap();
        let_it_look(&broker, &other, &namespace, "2").await;
        assert_eq!(value(&cluster, &namespace, "a").await.as_deref(), Some("2"), "{engine:?}: deleted although suspended");
        broker.admin().resume_stack(&shop).await.unwrap();
        let gone = || async {
            match broker.admin().stack(&shop).await {
                Err(error) if error.code() == Some(ErrorCode::NotFound) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        };
        until("the deletion", LIMIT, gone).await.unwrap();
        assert_eq!(value(&cluster, &namespace, "a").await, None);
        let held = agent.process.output().lines().iter().filter(|line| line.contains("suspended: nothing is applied")).count();
        assert_eq!(held, 2, "told once for each suspension");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_agent_and_a_suspended_fleet_change_nothing_and_go_on_by_themselves() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.create_namespace("all-held").await.unwrap();
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let mut one = broker.agent(&cluster.unique("one"), &[]).await.unwrap();
    let mut two = broker.agent(&cluster.unique("two"), &[]).await.unwrap();
    let (a, b) = (broker.stack("a", &[&one]).await, broker.stack("b", &[&two]).await);
    broker.apply(&a, &config_map(&namespace, "a", "1")).await;
    broker.apply(&b, &config_map(&namespace, "b", "1")).await;

    broker.admin().suspend_agent(&one.name, &why()).await.unwrap();
    said(&mut one, &["suspended: nothing is applied", "agent"]).await;
    broker.send(&a, &config_map(&namespace, "a", "2")).await;
    broker.apply(&b, &config_map(&namespace, "b", "2")).await;
    assert_eq!(broker.admin().rollout(&a, None).await.unwrap().deployments[0].phase, Phase::Suspended);

    broker.admin().suspend_fleet(&why()).await.unwrap();
    said(&mut two, &["suspended: nothing is applied", "fleet"]).await;
    broker.admin().resume_agent(&one.name).await.unwrap();
    said(&mut one, &["suspended: nothing is applied", "fleet"]).await;
    broker.send(&b, &config_map(&namespace, "b", "3")).await;
    assert_eq!(value(&cluster, &namespace, "a").await.as_deref(), Some("1"));
    let ready = one.process.wait_until_ok(&format!("{}/readyz", one.base), LIMIT).await.unwrap();
    assert!(ready.contains("1 suspended"), "{ready}");

    broker.admin().resume_fleet().await.unwrap();
    assert!(broker.settle(&a).await.done && broker.settle(&b).await.done);
    assert_eq!(value(&cluster, &namespace, "a").await.as_deref(), Some("2"));
    assert_eq!(value(&cluster, &namespace, "b").await.as_deref(), Some("3"));
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_is_suspended_half_way_stops_before_the_next_object_and_goes_on_when_it_is_resumed() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.create_namespace("half-way").await.unwrap();
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let proxy = KubeProxy::start(cluster.kubeconfig()).await.unwrap();
    let (arrive, mut arrived) = mpsc::unbounded_channel();
    // The first object is on its way until the agent knows that it is suspended, and then comes to nothing.
    proxy.plan(move |call| {
        let is_it = call.method == Method::PATCH && call.path.ends_with("/configmaps/a");
        (is_it && arrive.send(()).is_ok()).then_some(Fault::Silence)
    });
    let settings = [("BROKKR__KUBERNETES__CONCURRENCY", "1"), ("BROKKR__KUBERNETES__CALL_TIMEOUT_SECONDS", "10")];
    let agent = broker.unconnected_agent(&cluster.unique("half"), proxy.kubeconfig(), &settings).await;
    let mut agent = agent.unwrap();
    said(&mut agent, &["the agent is connected"]).await;
    let shop = broker.stack("shop", &[&agent]).await;
    broker.send(&shop, &(config_map(&namespace, "a", "1") + &config_map(&namespace, "b", "1"))).await;
    arrived.recv().await.unwrap();
    drop(arrived);

    broker.admin().suspend_stack(&shop, &why()).await.unwrap();
    said(&mut agent, &["suspended: nothing is applied"]).await;
    let held = || async {
        let ready = brokkr_tests::http::client().unwrap().get(format!("{}/readyz", agent.base)).send().await.unwrap();
        let text = ready.text().await.unwrap();
        if text.contains("0 not carried out yet, 1 suspended") { Ok(()) } else { Err(text) }
    };
    until("the end of the work in hand", LIMIT, held).await.unwrap();
    assert_eq!(value(&cluster, &namespace, "b").await, None, "begun although suspended");

    broker.admin().resume_stack(&shop).await.unwrap();
    let done = || async {
        let rollout = broker.settle(&shop).await;
        if rollout.done { Ok(()) } else { Err(format!("{rollout:?}")) }
    };
    until("the rollout", LIMIT, done).await.unwrap();
    assert_eq!(value(&cluster, &namespace, "a").await.as_deref(), Some("1"));
    assert_eq!(value(&cluster, &namespace, "b").await.as_deref(), Some("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_told_once_with_what_to_do_and_voids_the_orders() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.create_namespace("refused").await.unwrap();
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let mut agent = broker.agent(&cluster.unique("refused"), &[]).await.unwrap();
    let shop = broker.stack("shop", &[&agent]).await;
    broker.apply(&shop, &config_map(&namespace, "a", "1")).await;
    let keys = broker.admin().list_keys(&brokkr_api::page::PageQuery::default()).await.unwrap();
    let key = keys.items.iter().find(|key| key.agent.as_ref() == Some(&agent.name)).unwrap();

    broker.admin().revoke_key(key.id).await.unwrap();
    let line = said(&mut agent, &["the broker refuses this agent"]).await;
    assert!(line.contains("unauthenticated") && line.contains("check the agent's key"), "{line}");
    broker.send(&shop, &config_map(&namespace, "a", "2")).await;
    let errors = "brokkr_agent_poll_requests_total{result=\"error\"}";
    brokkr_tests::fleet::wait_for_metric(&agent.base, errors, |errors| errors >= 2.0).await;
    let refused = agent.process.output().lines().iter().filter(|line| line.contains("refuses this agent")).count();
    assert_eq!(refused, 1, "told once, although it tried twice");
    assert_eq!(value(&cluster, &namespace, "a").await.as_deref(), Some("1"));
}
