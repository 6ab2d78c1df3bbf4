use brokkr_tests::{
    cluster::Cluster,
    fleet::{Broker, Engine, LIMIT, config_map},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_change_accepted_by_one_broker_wakes_the_agent_that_polls_the_other_and_either_may_die() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.create_namespace("replicas").await.unwrap();
    let mut one = Broker::start(Engine::Postgres, &[]).await.unwrap();
    let other = one.beside().await.unwrap();
    let agent = one.agent(&cluster.unique("shared"), &[]).await.unwrap();
    let stack = other.stack("shop", &[&agent]).await;
    other.apply(&stack, &config_map(&namespace, "a", "1")).await;
    other.apply(&stack, &config_map(&namespace, "a", "2")).await;
    one.process.terminate(LIMIT).await.unwrap();
    other.send(&stack, &config_map(&namespace, "a", "3")).await;
    one.again().await.unwrap();
    assert!(one.settle(&stack).await.done, "the agent finds its broker again and applies what it missed");
}
