//! The database does not answer, or answers late.

use std::time::Duration;

use brokkr_tests::{
    fleet::{Broker, LIMIT},
    postgres::Postgres,
};
use tokio::task::spawn_blocking;

use crate::world::{ask, of_broker, watch, while_doing};

/// More than the broker has connections.
const AT_ONCE: usize = 4;
const FROZEN: Duration = Duration::from_millis(700);
const THAWED: Duration = Duration::from_millis(300);

/// Requests that wait for each other's end, four at a time.
async fn ask_at_once(broker: &Broker, key: &str) {
    let _statuses: Vec<_> = futures::future::join_all((0..AT_ONCE).map(|_| ask(broker, key))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_does_not_answer_fails_requests_and_takes_all_connections_and_a_slow_one_is_told_as_well() {
    let postgres = spawn_blocking(Postgres::start).await.unwrap().unwrap();
    let database = postgres.create_database().unwrap();
    let broker = Broker::at(&database, &[("BROKKR__DATABASE__MAX_CONNECTIONS", "2")]).await.unwrap();
    let prometheus = watch(&[of_broker(&broker)]).await;
    let key = broker.key();

    let slow = prometheus.fires("BrokkrDatabaseLatency", LIMIT);
    while_doing(slow, async |_| {
        postgres.freeze_server().unwrap();
        let asked = ask_at_once(&broker, &key);
        let thawed = async {
            tokio::time::sleep(FROZEN).await;
            postgres.thaw_server().unwrap();
            tokio::time::sleep(THAWED).await;
        };
        futures::join!(asked, thawed);
    })
    .await
    .unwrap();

    postgres.freeze_server().unwrap();
    let told = async {
        let exhausted = prometheus.fires("BrokkrDatabasePoolExhausted", LIMIT).await.unwrap();
        assert!(exhausted.annotations["description"].contains("100%"), "{}", exhausted.say());
        let errors = prometheus.fires("BrokkrHttpErrors", LIMIT).await.unwrap();
        assert_eq!(errors.labels["endpoint"], "/api/v1/stacks");
    };
    while_doing(told, async |_| ask_at_once(&broker, &key).await).await;
    postgres.thaw_server().unwrap();
    let over = async {
        prometheus.resolves("BrokkrDatabasePoolExhausted", LIMIT).await.unwrap();
        prometheus.resolves("BrokkrHttpErrors", LIMIT).await.unwrap();
    };
    while_doing(over, async |_| ask_at_once(&broker, &key).await).await;
}
