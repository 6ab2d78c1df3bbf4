//! The database does not answer, or answers late.

use std::time::Duration;

use brokkr_tests::{
    fleet::{Broker, LIMIT},
    postgres::Postgres,
};
use tokio::{task::spawn_blocking, time::sleep};

use crate::world::{of_broker, watch, while_busy, while_doing};

/// Most statements of a second wait longer than the limit of the alert, which is half a second.
const FROZEN: Duration = Duration::from_millis(700);
const THAWED: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_database_is_told_and_one_that_does_not_answer_fails_requests_and_takes_all_connections() {
    let postgres = spawn_blocking(Postgres::start).await.unwrap().unwrap();
    let database = postgres.create_database().unwrap();
    let broker = Broker::at(&database, &[("BROKKR__DATABASE__MAX_CONNECTIONS", "2")]).await.unwrap();
    let prometheus = watch(&[of_broker(&broker)]).await;

    let slow = while_doing(prometheus.fires("BrokkrDatabaseLatency", LIMIT), async |_| {
        postgres.freeze_server().unwrap();
        sleep(FROZEN).await;
        postgres.thaw_server().unwrap();
        sleep(THAWED).await;
    });
    while_busy(&broker, slow).await.unwrap();

    postgres.freeze_server().unwrap();
    let told = async {
        let exhausted = prometheus.fires("BrokkrDatabasePoolExhausted", LIMIT).await.unwrap();
        assert!(exhausted.annotations["description"].contains("100%"), "{}", exhausted.say());
        let errors = prometheus.fires("BrokkrHttpErrors", LIMIT).await.unwrap();
        assert_eq!(errors.labels["endpoint"], "/api/v1/stacks");
    };
    while_busy(&broker, told).await;
    postgres.thaw_server().unwrap();
    let over = async {
        prometheus.resolves("BrokkrDatabasePoolExhausted", LIMIT).await.unwrap();
        prometheus.resolves("BrokkrHttpErrors", LIMIT).await.unwrap();
    };
    while_busy(&broker, over).await;
}
