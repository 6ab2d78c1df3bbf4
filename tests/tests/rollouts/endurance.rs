use std::time::Duration;

use brokkr_tests::{
    cluster::Cluster,
    evidence::count,
    fleet::{Agent, Broker, Engine, LIMIT, config_map, metric},
    lab::until,
};
use k8s_openapi::api::core::v1::ConfigMap;

/// What must not change while nobody asks for a change.
async fn identity(cluster: &Cluster, namespace: &str) -> (Option<String>, Option<String>) {
    let object: ConfigMap = cluster.get(namespace, "a").await.unwrap().expect("the object stays applied");
    (object.metadata.uid, object.metadata.resource_version)
}

async fn polls(agent: &Agent) -> f64 {
    let of = |result: &str| format!(r#"brokkr_agent_poll_requests_total{{result="{result}"}}"#);
    metric(&agent.base, &of("success")).await + metric(&agent.base, &of("empty")).await
}

/// Waits until the agent has got so many further answers to its polls.
async fn further_polls(agent: &Agent, count: f64) {
    let start = polls(agent).await;
    let look = || async {
        let polls = polls(agent).await;
        if polls >= start + count { Ok(()) } else { Err(format!("{polls} polls")) }
    };
    until("further polls", 3 * LIMIT, look).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_stay_applied_through_polls_restarts_and_an_outage_and_only_a_tombstone_deletes() {
    for engine in Engine::ALL {
        let cluster = Cluster::shared().await.unwrap();
        let namespace = cluster.create_namespace("stay").await.unwrap();
        let mut broker = Broker::start(engine, &[]).await.unwrap();
        let mut agent = broker.agent(&cluster.unique("steady"), &[("BROKKR__BROKER__WAIT_SECONDS", "1")]).await.unwrap();
        let stack = broker.stack("shop", &[&agent]).await;
        broker.apply(&stack, &config_map(&namespace, "a", "1")).await;
        let applied = identity(&cluster, &namespace).await;

        // Each change of another stack answers a poll at once.
        let other = broker.stack("other", &[&agent]).await;
        let begin = polls(&agent).await;
        for round in 0..50 {
            broker.apply(&other, &config_map(&namespace, "other", &round.to_string())).await;
        }
        assert!(polls(&agent).await >= begin + 50.0);
        assert_eq!(identity(&cluster, &namespace).await, applied, "{engine:?}: after 50 polls");

        agent.process.restart(LIMIT).await.unwrap();
        agent.process.wait_until_ok(&format!("{}/readyz", agent.base), LIMIT).await.unwrap();
        further_polls(&agent, 2.0).await;
        assert_eq!(identity(&cluster, &namespace).await, applied, "{engine:?}: after a restart of the agent");

        broker.process.terminate(LIMIT).await.unwrap();
        broker.again().await.unwrap();
        further_polls(&agent, 2.0).await;
        assert_eq!(identity(&cluster, &namespace).await, applied, "{engine:?}: after a restart of the broker");

        broker.process.kill();
        // A minute when there is time for it.
        let away = count(3, 60);
        tokio::time::sleep(Duration::from_secs(away)).await;
        assert_eq!(identity(&cluster, &namespace).await, applied, "{engine:?}: while the broker is away");
        broker.again().await.unwrap();
        further_polls(&agent, 2.0).await;
        assert_eq!(identity(&cluster, &namespace).await, applied, "{engine:?}: after the outage");

        broker.apply(&stack, &config_map(&namespace, "a", "2")).await;
        assert_eq!(identity(&cluster, &namespace).await.0, applied.0, "changed, not replaced");
        broker.delete(&stack).await;
        assert!(cluster.get::<ConfigMap>(&namespace, "a").await.unwrap().is_none(), "{engine:?}: the tombstone deletes");
        assert!(cluster.get::<ConfigMap>(&namespace, "other").await.unwrap().is_some(), "and nothing else");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_no_longer_targeted_withdraws_and_one_that_is_again_applies() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.create_namespace("withdraw").await.unwrap();
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let agent = broker.agent(&cluster.unique("mover"), &[]).await.unwrap();
    let stack = broker.stack("shop", &[&agent]).await;
    broker.apply(&stack, &config_map(&namespace, "a", "1")).await;
    broker.stack("shop", &[]).await;
    let api = cluster.api::<ConfigMap>(&namespace);
    Cluster::wait_until(&api, "a", "withdrawal", LIMIT, |object| object.is_none()).await.unwrap();
    broker.stack("shop", &[&agent]).await;
    Cluster::wait_until(&api, "a", "application", LIMIT, |object| object.is_some()).await.unwrap();
}
