//! Webhooks that agents send, for receivers that only they reach: the broker of these tests may send to nobody.

use brokkr_api::{
    DeliveryId, TargetSelector,
    stacks::PutStack,
    webhooks::{DeliveryAttempt, NoSender, UpdateWebhook, WebhookSettings},
};
use brokkr_tests::{
    cluster::Cluster,
    fleet::{Agent, Broker, Engine, LIMIT, borrowed},
    lab::until,
    otlp::{Kind, Receiver as Traces},
    receiver::{KEY, Receiver},
};
use futures::future::join_all;

use crate::{
    delivery::python,
    world::{World, name, of_stacks},
};

/// A broker that may send to nobody, and the cluster of its agents.
struct Inside {
    world: World,
    cluster: Cluster,
}

impl Inside {
    async fn start(engine: Engine, settings: &[(&str, &str)]) -> Self {
        let cluster = Cluster::shared().await.unwrap();
        let mut settings = settings.to_vec();
        settings.push(("BROKKR__ENCRYPTION__KEYS", KEY));
        let broker = Broker::start(engine, &settings).await.unwrap();
        Self { world: World { broker, receiver: Receiver::start().await.unwrap() }, cluster }
    }

    async fn each(test: impl AsyncFn(Self)) {
        for engine in Engine::ALL {
            eprintln!("on {engine:?}");
            Box::pin(test(Self::start(engine, &[]).await)).await;
        }
    }

    /// An agent of this name, whose configuration lets it send to the receiver.
    async fn agent(&self, agent: &str) -> Agent {
        self.agent_with(agent, &of_agent(&self.world.receiver)).await
    }

    async fn agent_with(&self, agent: &str, settings: &[(&'static str, String)]) -> Agent {
        self.world.broker.agent(agent, &borrowed(settings)).await.unwrap()
    }

    fn unique(&self) -> String {
        self.cluster.unique("sends")
    }

    /// The first attempt at a delivery.
    async fn first(&self, webhook: &str, id: DeliveryId) -> DeliveryAttempt {
        let look = || async {
            let shown = self.world.delivery(webhook, id).await;
            shown.log.first().cloned().ok_or_else(|| format!("{shown:?}"))
        };
        until("an attempt", LIMIT, look).await.unwrap()
    }
}

/// Settings of an agent that may send to this receiver: those of a broker that needs no key beside them.
fn of_agent(receiver: &Receiver) -> Vec<(&'static str, String)> {
    receiver.settings(Engine::Sqlite)
}

/// Events about stacks, sent by this agent.
fn by(agent: &str) -> WebhookSettings {
    let deliver_by = Some(TargetSelector { labels: None, names: vec![name(agent)] });
    WebhookSettings { deliver_by, ..of_stacks() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_arrives_signed_through_an_agent_whenever_there_is_one() {
    Inside::each(async |inside: Inside| {
        let (world, sender) = (&inside.world, inside.unique());
        let made = world.webhook("chat", "/ok", by(&sender)).await;
        assert_eq!(made.webhook.no_sender, Some(NoSender::NoMatch));
        world.stack("shop").await;
        let _agent = inside.agent(&sender).await;
        let received = world.receiver.wait_for("/ok", 1, LIMIT).await.unwrap();
        assert_eq!(python(&made.secret, &received[0]), Ok("stack.created".to_owned()));
        assert_eq!(received[0].header("authorization"), "Bearer hunter2");

        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let traced = world.broker.traced(&format!("00-{trace}-00f067aa0ba902b7-01"));
        traced.put_stack(&name("house"), &PutStack::default()).await.unwrap();
        let received = world.receiver.wait_for("/ok", 2, LIMIT).await.unwrap();
        assert_eq!(python(&made.secret, &received[1]), Ok("stack.created".to_owned()));
        assert_eq!(received[1].json()["data"]["trace_id"], trace);
        assert_eq!(&received[1].header("traceparent")[3..35], trace);
        let shown = world.attempted("chat", 1).await;
        assert_eq!((shown.id.to_string().as_str(), shown.state.as_str()), (received[1].header("webhook-id"), "delivered"));
        assert_eq!((shown.log[0].result.as_str(), shown.log[0].status), ("success", Some(204)));
        let chat = world.broker.admin().webhook(&name("chat")).await.unwrap();
        assert_eq!((chat.no_sender, chat.failing_since), (None, None));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_had_when_it_was_killed_arrives_later_under_the_same_id() {
    // The lease is waited for on both engines at the same time.
    join_all(Engine::ALL.map(async |engine| {
        let inside = Inside::start(engine, &[]).await;
        let (world, sender) = (&inside.world, inside.unique());
        world.webhook("chat", "/hang", by(&sender)).await;
        let mut agent = inside.agent(&sender).await;
        world.stack("shop").await;
        let hung = world.receiver.wait_for("/hang", 1, LIMIT).await.unwrap();
        agent.process.kill();
        let elsewhere = UpdateWebhook { url: Some(world.receiver.url("/ok")), ..UpdateWebhook::default() };
        world.broker.admin().update_webhook(&name("chat"), &elsewhere).await.unwrap();
        agent.process.start().unwrap();
        let received = world.receiver.wait_for("/ok", 1, LIMIT * 3).await.unwrap();
        assert_eq!(hung[0].header("webhook-id"), received[0].header("webhook-id"));
        let shown = world.attempted("chat", 1).await;
        assert_eq!((shown.attempts, shown.state.as_str()), (2, "delivered"));
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_reaches_what_its_own_configuration_allows_whatever_the_broker_may() {
    for engine in Engine::ALL {
        let receiver = Receiver::start().await.unwrap();
        let settings = of_agent(&receiver);
        let mut inside = Inside::start(engine, &borrowed(&settings)).await;
        inside.world.receiver = receiver;
        let (narrow, wide) = (inside.unique(), inside.unique());
        let _narrow = inside.agent_with(&narrow, &[]).await;
        // Everything but the network: what the name means is looked at when it is connected to.
        let _wide = inside.agent_with(&wide, &settings[..2]).await;
        let world = &inside.world;
        let admin = world.broker.admin();
        let localhost = world.receiver.url("/inside").replace("127.0.0.1", "localhost");
        for (webhook, sender, url) in [
            ("narrow", &narrow, world.receiver.url("/inside")),
            ("address", &wide, world.receiver.url("/inside")),
            ("lookup", &wide, localhost),
        ] {
            world.webhook(webhook, "/inside", by(sender)).await;
            let update = UpdateWebhook { url: Some(url), ..UpdateWebhook::default() };
            admin.update_webhook(&name(webhook), &update).await.unwrap();
            let delivery = admin.test_webhook(&name(webhook)).await.unwrap();
            let attempt = inside.first(webhook, delivery.id).await;
            assert_eq!((attempt.result.as_str(), attempt.status), ("blocked", None), "{webhook}: {attempt:?}");
        }
        assert_eq!(world.receiver.received("/inside").len(), 0, "it was reached");
        world.webhook("own", "/ok", of_stacks()).await;
        admin.test_webhook(&name("own")).await.unwrap();
        world.receiver.wait_for("/ok", 1, LIMIT).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_to_send_nothing_works_and_the_webhook_says_that_none_sends() {
    let inside = Inside::start(Engine::Sqlite, &[]).await;
    let (world, sender) = (&inside.world, inside.unique());
    let off = [("BROKKR__WEBHOOKS__ENABLED", "false".to_owned()), ("BROKKR__WORK_ORDERS__AT_ONCE", "0".to_owned())];
    let mut agent = inside.agent_with(&sender, &off).await;
    let made = world.webhook("chat", "/ok", by(&sender)).await;
    assert_eq!(made.webhook.no_sender, Some(NoSender::NotEnabled));
    agent.process.wait_until_ok(&format!("{}/readyz", agent.base), LIMIT).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_attempt_of_an_agent_is_part_of_the_trace_of_the_change() {
    const TRACE: &str = "8c0ffee0000000000000000000000009";
    let endpoint = Traces::shared().grpc_endpoint();
    let traced = [
        ("BROKKR__TELEMETRY__ENABLED", "true"),
        ("BROKKR__TELEMETRY__ENDPOINT", endpoint.as_str()),
        ("BROKKR__TELEMETRY__SAMPLING_RATE", "1.0"),
        ("BROKKR__TELEMETRY__BATCH__DELAY", "100ms"),
    ];
    let inside = Inside::start(Engine::Postgres, &traced).await;
    let (world, sender) = (&inside.world, inside.unique());
    let mut settings = of_agent(&world.receiver);
    settings.extend(traced.map(|(name, value)| (name, value.to_owned())));
    let _agent = inside.agent_with(&sender, &settings).await;
    world.webhook("chat", "/ok", by(&sender)).await;
    let caller = world.broker.traced(&format!("00-{TRACE}-b7ad6b7169203331-01"));
    caller.put_stack(&name("shop"), &PutStack::default()).await.unwrap();
    let received = world.receiver.wait_for("/ok", 1, LIMIT).await.unwrap();

    let trace = Traces::shared().wait_for_trace(TRACE, &["send webhook", "POST"], LIMIT).await.unwrap();
    let (send, post) = (trace.span("send webhook").unwrap(), trace.span("POST").unwrap());
    assert_eq!((send.kind, post.kind, send.service.as_str()), (Kind::Producer, Kind::Client, "brokkr-agent"));
    assert_eq!(post.parent.as_deref(), Some(send.span_id.as_str()));
    assert_eq!(received[0].header("traceparent"), format!("00-{TRACE}-{}-01", post.span_id));
    assert_eq!(send.text("messaging.message.id"), Some(received[0].header("webhook-id")));
    assert_eq!(send.text("brokkr.webhook.name"), Some("chat"));
    assert_eq!(world.attempted("chat", 1).await.log[0].trace_id.as_deref(), Some(TRACE));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_replicas_of_an_agent_the_one_that_leads_sends() {
    let inside = Inside::start(Engine::Sqlite, &[]).await;
    let (world, sender) = (&inside.world, inside.unique());
    let elects = ("BROKKR__LEADER_ELECTION__ENABLED", "true".to_owned());
    // One may reach the receiver and the other may not: how an attempt ends tells who made it.
    let mut settings = of_agent(&world.receiver);
    settings.push(elects.clone());
    let mut leader = inside.agent_with(&sender, &settings).await;
    let mut standby = world.broker.replica(&leader, &borrowed(&[elects])).unwrap();
    standby.process.wait_for_line("the standby", LIMIT, |line| line.contains("this one stands by")).await.unwrap();
    world.webhook("chat", "/ok", by(&sender)).await;
    for number in 0..8 {
        world.stack(&format!("stack-{number}")).await;
    }
    world.receiver.wait_for("/ok", 8, LIMIT).await.unwrap();
    for delivery in world.deliveries("chat").await {
        assert_eq!(inside.first("chat", delivery.id).await.result, "success");
    }
    assert_eq!(world.receiver.received("/ok").len(), 8, "each once");

    leader.process.kill();
    standby.process.wait_for_line("the lead", LIMIT, |line| line.contains("this agent leads")).await.unwrap();
    let delivery = world.broker.admin().test_webhook(&name("chat")).await.unwrap();
    let attempt = inside.first("chat", delivery.id).await;
    assert_eq!(attempt.result, "blocked", "{attempt:?}");
}
