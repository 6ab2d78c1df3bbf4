//! The metrics of webhooks, against what arrived and what the database holds.

use brokkr_api::{stacks::PutStack, webhooks::WebhookSettings};
use brokkr_tests::{
    fleet::{Broker, Engine, LIMIT, borrowed, metric, wait_for_metric},
    receiver::Receiver,
};

use super::truth::agrees;

#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_counted_by_result_with_their_times() {
    for engine in Engine::ALL {
        let receiver = Receiver::start().await.unwrap();
        let broker = Broker::start(engine, &borrowed(&receiver.settings(engine))).await.unwrap();
        for path in ["ok", "gone"] {
            let of_stacks = WebhookSettings { events: vec!["stack.*".to_owned()], ..WebhookSettings::default() };
            let create = receiver.webhook(path.parse().unwrap(), &format!("/{path}"), of_stacks);
            broker.admin().create_webhook(&create).await.unwrap();
        }
        receiver.answer("/gone", &[410]);
        for stack in ["one", "two", "three"] {
            broker.admin().put_stack(&stack.parse().unwrap(), &PutStack::default()).await.unwrap();
        }
        receiver.wait_for("/ok", 3, LIMIT).await.unwrap();
        let delivered = "SELECT count(*) FROM outbox WHERE state = 'delivered'";
        wait_for_metric(&broker.base, r#"brokkr_webhook_attempts_total{result="success"}"#, |attempts| attempts >= 3.0).await;
        let successes = agrees(&broker, r#"brokkr_webhook_attempts_total{result="success"}"#, delivered).await;
        agrees(&broker, "brokkr_webhook_delivery_lag_seconds_count", delivered).await;
        wait_for_metric(&broker.base, "brokkr_webhooks_disabled_total", |disabled| disabled == 1.0).await;
        let gone = metric(&broker.base, r#"brokkr_webhook_attempts_total{result="gone"}"#).await;
        assert!(gone >= 1.0);
        assert_eq!(metric(&broker.base, "brokkr_webhook_attempt_duration_seconds_count").await, successes + gone);
        assert_eq!(metric(&broker.base, r#"brokkr_webhook_attempts_total{result="timeout"}"#).await, 0.0);
    }
}
