//! Proof that the search for secrets, which every end-to-end test makes, looks where something is.

use brokkr_tests::{
    cluster::Cluster,
    fleet::{Broker, Engine, LIMIT, config_map, wait_for_metric},
    lab::until,
    watch::{SECRET, Searched},
};
use k8s_openapi::api::core::v1::ConfigMap;

#[tokio::test(flavor = "multi_thread")]
async fn daemons_that_are_told_nothing_of_telemetry_send_all_of_it_to_where_secrets_are_searched_for() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.create_namespace("watched").await.unwrap();
    for engine in Engine::ALL {
        let broker = Broker::start(engine, &[]).await.unwrap();
        let agent = broker.agent(&cluster.unique("watched"), &[]).await.unwrap();
        let stack = broker.stack("shop", &[&agent]).await;
        let name = format!("a-{}", agent.name);
        broker.apply(&stack, &config_map(&namespace, &name, "1")).await;
        let applied: ConfigMap = cluster.get(&namespace, &name).await.unwrap().unwrap();
        assert_eq!(applied.data.unwrap()["password"], SECRET, "it went all the way");

        for daemon in [&broker.base, &agent.base] {
            wait_for_metric(daemon, "brokkr_telemetry_spans_total{result=\"exported\"}", |exported| exported > 0.0).await;
        }
        let look = || async {
            let searched = Searched::bytes();
            if searched.contains(&0) { Err(format!("{searched:?}")) } else { Ok(()) }
        };
        until("lines, spans and metrics", LIMIT, look).await.unwrap();
    }
}
