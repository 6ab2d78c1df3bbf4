//! Receivers that hang, drip, close, answer without end, lead elsewhere, or are where nobody may go: bounded time and memory, and nobody
//! else waits.

use std::time::Duration;

use brokkr_api::webhooks::{CreateWebhook, UpdateWebhook, WebhookSettings};
use brokkr_tests::{
    fleet::{Broker, Engine, LIMIT},
    receiver::{KEY, Receiver},
};

use crate::world::{World, name, of_stacks};

/// Resident memory of a process in bytes.
fn memory(broker: &Broker) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", broker.process.pid().unwrap())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1_024
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_receiver_costs_its_timeout_and_little_memory_and_delays_nobody() {
    World::each(async |world: World| {
        let quick = WebhookSettings { timeout_seconds: 2, ..of_stacks() };
        let bad = [
            ("hang", "timeout"),
            ("drip", "timeout"),
            ("close", "broken"),
            ("endless", "server_error"),
            ("redirect", "redirect"),
        ];
        for (path, _) in bad {
            world.webhook(path, &format!("/{path}"), quick.clone()).await;
        }
        world.webhook("good", "/ok", of_stacks()).await;
        let before = memory(&world.broker);
        for number in 0..5 {
            world.stack(&format!("shop-{number}")).await;
        }
        world.receiver.wait_for("/ok", 5, LIMIT).await.unwrap();
        for (path, class) in bad {
            let first = world.deliveries(path).await.pop().unwrap();
            let look = || async {
                let shown = world.delivery(path, first.id).await;
                shown.log.first().cloned().ok_or_else(|| format!("{shown:?}"))
            };
            let attempt = brokkr_tests::lab::until(path, LIMIT, look).await.unwrap();
            assert_eq!(attempt.result, class, "{path}: {attempt:?}");
            assert!(attempt.latency_ms < 10_000, "{path}: {attempt:?}");
        }
        let grown = memory(&world.broker).saturating_sub(before);
        assert!(grown < 200 * 1_024 * 1_024, "{grown} bytes for answers of a gigabyte");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_allowed_is_refused_when_it_is_made_and_when_its_name_is_looked_up() {
    let receiver = Receiver::start().await.unwrap();
    let port = format!("[{}, 80, 443]", receiver.address.port());
    let settings =
        [("BROKKR__WEBHOOKS__ALLOW_HTTP", "true"), ("BROKKR__WEBHOOKS__ALLOWED_PORTS", &port), ("BROKKR__ENCRYPTION__KEYS", KEY)];
    for engine in Engine::ALL {
        let broker = Broker::start(engine, &settings).await.unwrap();
        let create = |url: String| CreateWebhook { url, ..receiver.webhook(name("inside"), "/", of_stacks()) };
        let numbers = ["127.0.0.1", "2130706433", "0x7f.1", "169.254.169.254", "[::1]", "[::ffff:10.0.0.1]", "[fd00:ec2::254]"];
        for host in numbers {
            let refused = broker.admin().create_webhook(&create(format!("http://{host}:80/"))).await.unwrap_err();
            assert!(
                refused.to_string().contains("webhook_url") || format!("{refused:?}").contains("WebhookUrl"),
                "{host}: {refused:?}"
            );
        }
        // A name says nothing until it is looked up; this one leads to this machine.
        let made =
            broker.admin().create_webhook(&create(format!("http://localhost:{}/inside", receiver.address.port()))).await.unwrap();
        let delivery = broker.admin().test_webhook(&made.webhook.name).await.unwrap();
        let look = || async {
            let shown = broker.admin().delivery(&name("inside"), delivery.id).await.unwrap();
            shown.log.first().cloned().ok_or_else(|| format!("{shown:?}"))
        };
        let attempt = brokkr_tests::lab::until("an attempt", LIMIT, look).await.unwrap();
        assert_eq!((attempt.result.as_str(), attempt.status), ("blocked", None));
        assert_eq!(receiver.received("/inside").len(), 0, "it was reached");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_disabled_is_told_nothing_and_goes_on_with_what_waited() {
    World::each(async |world: World| {
        world.webhook("chat", "/ok", of_stacks()).await;
        world.receiver.answer("/ok", &[500]);
        world.stack("shop").await;
        world.attempted("chat", 1).await;
        let set = |state| UpdateWebhook { state: Some(state), ..UpdateWebhook::default() };
        let admin = world.broker.admin();
        admin.update_webhook(&name("chat"), &set(brokkr_api::webhooks::WebhookState::Disabled)).await.unwrap();
        world.stack("house").await;
        // Who gets an event is decided when it gets its position.
        let positions = || async {
            let left = world.broker.query("SELECT count(*) FROM events WHERE position IS NULL").unwrap().concat();
            if left == "0" { Ok(()) } else { Err(left) }
        };
        brokkr_tests::lab::until("positions of all events", LIMIT, positions).await.unwrap();
        admin.update_webhook(&name("chat"), &set(brokkr_api::webhooks::WebhookState::Enabled)).await.unwrap();
        let received = world.receiver.wait_for("/ok", 2, Duration::from_secs(30)).await.unwrap();
        assert_eq!(received[0].header("webhook-id"), received[1].header("webhook-id"));
        assert_eq!(world.deliveries("chat").await.len(), 1, "what happened meanwhile is not told");
    })
    .await;
}
