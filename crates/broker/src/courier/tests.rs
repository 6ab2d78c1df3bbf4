//! The courier against a receiver that does as it is told, on both engines, with a clock that is moved by hand.

use std::collections::VecDeque;

use axum::{Router, body::Bytes, extract::State, routing::any};
use brokkr_api::webhooks::Delivery;
use brokkr_runtime::SeededIds;
use brokkr_webhooks::{Guard, Verifier};
use http::{HeaderMap, Method, StatusCode};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

mod agents;

use super::*;
use crate::testing::{Engine, World};

/// A message as it arrived.
#[derive(Debug, Clone)]
struct Arrived {
    headers: HeaderMap,
    body: Bytes,
    at: Timestamp,
}

impl Arrived {
    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What the receiver answers, in this order, and what it got. Without an order it takes everything.
#[derive(Default)]
struct Script {
    answers: VecDeque<u16>,
    arrived: Vec<Arrived>,
}

/// A broker with one courier, and a receiver.
struct Post {
    world: World,
    courier: Courier,
    hands: Hands,
    script: Arc<Mutex<Script>>,
    url: String,
    _receiver: JoinSet<()>,
}

/// What arrives, and when.
type Inbox = (Arc<Mutex<Script>>, Arc<dyn Clock>);

async fn receive(State((script, clock)): State<Inbox>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let mut script = script.lock();
    script.arrived.push(Arrived { headers, body, at: clock.now() });
    StatusCode::from_u16(script.answers.pop_front().unwrap_or(200)).unwrap()
}

impl Post {
    async fn open(mut world: World) -> Self {
        let script = Arc::<Mutex<Script>>::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let clock: Arc<dyn Clock> = Arc::clone(&world.clock) as _;
        let router = Router::new().fallback(any(receive)).with_state((Arc::clone(&script), clock));
        let mut receiver = JoinSet::new();
        receiver.spawn(async move { axum::serve(listener, router).await.unwrap() });
        world.with_guard(Guard { networks: vec!["127.0.0.0/8".parse().unwrap()], ports: vec![address.port()], http: true });
        let courier = courier(&world, "one");
        Self { world, courier, hands: Hands::default(), script, url: format!("http://{address}/hook"), _receiver: receiver }
    }

    async fn each(test: impl AsyncFn(Self)) {
        Engine::each(async |world: World| Box::pin(test(Self::open(world).await)).await).await;
    }

    /// Makes a webhook that leads to the receiver, and tells its secret.
    async fn webhook(&self, name: &str, settings: Value) -> String {
        self.webhook_of(&self.world.admin, name, json!({"settings": settings})).await
    }

    async fn webhook_of(&self, key: &str, name: &str, mut body: Value) -> String {
        (body["name"], body["url"]) = (json!(name), json!(self.url));
        let made = self.world.post(key, "/api/v1/webhooks", body).await.expect(201).json;
        made["secret"].as_str().unwrap().to_owned()
    }

    /// Answers in this order from here on.
    fn answers(&self, statuses: &[u16]) {
        self.script.lock().answers = statuses.iter().copied().collect();
    }

    /// Lets the courier work until nothing is left to do at this time.
    async fn settle(&mut self) {
        work(&self.courier, &mut self.hands).await;
    }

    async fn later(&mut self, seconds: u64) {
        self.world.clock.advance(Duration::from_secs(seconds));
        self.settle().await;
    }

    /// What has arrived since it was asked last.
    fn arrived(&self) -> Vec<Arrived> {
        std::mem::take(&mut self.script.lock().arrived)
    }

    fn types(&self) -> Vec<String> {
        self.arrived().iter().map(|arrived| arrived.json()["type"].as_str().unwrap().to_owned()).collect()
    }

    async fn deliveries(&self, webhook: &str) -> Vec<Delivery> {
        let listed = self.world.get(&self.world.admin, &format!("/api/v1/webhooks/{webhook}/deliveries")).await.expect(200).json;
        serde_json::from_value(listed["items"].clone()).unwrap()
    }

    async fn delivery(&self, webhook: &str, id: impl std::fmt::Display) -> Delivery {
        let path = format!("/api/v1/webhooks/{webhook}/deliveries/{id}");
        serde_json::from_value(self.world.get(&self.world.admin, &path).await.expect(200).json).unwrap()
    }

    async fn state_of(&self, webhook: &str) -> (String, Option<String>) {
        let shown = self.world.get(&self.world.admin, &format!("/api/v1/webhooks/{webhook}")).await.expect(200).json;
        let text = |name: &str| shown[name].as_str().map(str::to_owned);
        (text("state").unwrap(), text("disabled_reason"))
    }

    async fn replay(&self, body: Value) -> u64 {
        let answer = self.world.post(&self.world.admin, "/api/v1/webhooks/chat/replay", body).await.expect(200);
        answer.json["deliveries"].as_u64().unwrap()
    }
}

fn courier(world: &World, holder: &str) -> Courier {
    let state = &world.state;
    Courier {
        db: state.db.clone(),
        clock: Arc::clone(&state.clock),
        ids: Arc::clone(&state.ids),
        keyring: Arc::clone(&state.keyring),
        sender: Sender::new((*state.guard).clone(), "test", None).unwrap(),
        metrics: state.db.metrics().clone(),
        handoff: Handoff::Auto,
        installation: "here".to_owned(),
        holder: holder.to_owned(),
        nudge: Arc::clone(&state.webhooks_changed),
        depot: Arc::clone(&state.depot),
        at_once: 64,
    }
}

async fn work(courier: &Courier, hands: &mut Hands) {
    loop {
        hands.sequence = true;
        courier.round(hands, true, false).await.unwrap();
        let Some(finished) = hands.running.join_next().await else {
            if hands.settled.is_empty() && !hands.is_busy(courier.clock.now(), courier.at_once) {
                return;
            }
            continue;
        };
        courier.take(hands, finished.ok());
    }
}

fn verify(secret: &str, arrived: &Arrived) -> String {
    let now = arrived.at.as_micros() / 1_000_000;
    Verifier::parse(secret).unwrap().verify(&arrived.headers, &arrived.body, now).unwrap().to_owned()
}

#[tokio::test]
async fn a_change_is_told_once_signed_and_as_part_of_its_trace() {
    Post::each(async |mut post: Post| {
        let secret = post.webhook("chat", json!({"events": ["stack.*"]})).await;
        let made = post.world.stack("shop", json!({})).await.expect(201);
        post.settle().await;
        post.later(10).await;
        let arrived = post.arrived();
        assert_eq!(arrived.len(), 1);
        let (message, listed) = (arrived[0].json(), post.deliveries("chat").await);
        assert_eq!(verify(&secret, &arrived[0]), listed[0].id.to_string());
        assert_eq!((message["type"].as_str(), message["data"]["stack"].as_str()), (Some("stack.created"), Some("shop")));
        assert_eq!(message["data"]["stack_id"], made.json["id"]);
        assert_eq!(message["data"]["event_id"], listed[0].event.to_string());
        assert!(message["data"]["position"].as_u64().unwrap() > 0);

        let trace = made.header("x-trace-id");
        assert_eq!(&arrived[0].header("traceparent")[3..35], trace);
        let shown = post.delivery("chat", listed[0].id).await;
        assert_eq!((shown.state.as_str(), shown.attempts, shown.trace_id.as_deref()), ("delivered", 1, Some(trace)));
        assert_eq!((shown.log[0].status, shown.log[0].result.as_str()), (Some(200), "success"));
        assert_eq!(shown.log[0].trace_id.as_deref(), Some(trace));
    })
    .await;
}

#[tokio::test]
async fn what_fails_is_sent_again_later_under_the_same_id_and_linked_to_the_attempt_before() {
    Post::each(async |mut post: Post| {
        post.webhook("chat", json!({"events": ["stack.*"]})).await;
        post.answers(&[500, 503]);
        post.world.stack("shop", json!({})).await.expect(201);
        post.settle().await;
        post.later(3).await;
        assert_eq!(post.arrived().len(), 1, "the second is not due");
        post.later(4).await;
        post.later(100).await;
        let second = post.arrived();
        assert_eq!(second.len(), 1);
        post.later(300).await;
        let third = post.arrived();
        assert_eq!(second[0].header("webhook-id"), third[0].header("webhook-id"));
        assert_eq!(second[0].body, third[0].body);
        assert_ne!(second[0].header("webhook-timestamp"), third[0].header("webhook-timestamp"));

        let shown = post.delivery("chat", third[0].header("webhook-id")).await;
        assert_eq!(shown.log.iter().map(|attempt| attempt.status.unwrap()).collect::<Vec<_>>(), [500, 503, 200]);
        let spans = post.world.capture.spans();
        let attempts: Vec<_> = spans.iter().filter(|span| span.name() == "send webhook").collect();
        assert_eq!(attempts.len(), 3);
        for (before, attempt) in attempts.iter().zip(&attempts[1..]) {
            let links = attempt.links();
            assert!(links.contains(&before.span_id()), "{links:?}");
            assert_eq!(links.len(), 2, "and to what happened");
            assert_ne!(attempt.trace_id(), before.trace_id(), "a late attempt is a trace of its own");
        }
    })
    .await;
}

#[tokio::test]
async fn in_order_an_event_waits_for_those_of_its_stack_before_it_and_for_no_others() {
    Post::each(async |mut post: Post| {
        post.webhook("chat", json!({"events": ["stack.*", "deployment_object.*"], "ordered": true})).await;
        post.world.stack("shop", json!({})).await.expect(201);
        post.answers(&[500]);
        post.settle().await;
        post.world.apply("shop", "one").await.expect(201);
        post.world.stack("house", json!({})).await.expect(201);
        post.world.apply("shop", "two").await.expect(201);
        post.settle().await;
        let seen = |arrived: &Arrived| format!("{} {}", arrived.json()["data"]["stack"], arrived.json()["data"]["position"]);
        let first: Vec<_> = post.arrived().iter().map(seen).collect();
        assert_eq!(first.len(), 2, "the first of the shop, which failed, and the house: {first:?}");
        let held = post.deliveries("chat").await.iter().filter(|delivery| delivery.state.as_str() == "held").count();
        assert_eq!(held, 2);
        post.later(7).await;
        let arrived = post.arrived();
        let positions: Vec<_> = arrived.iter().map(|arrived| arrived.json()["data"]["position"].as_u64().unwrap()).collect();
        assert_eq!(positions.len(), 3);
        assert!(positions.is_sorted(), "{positions:?}");
        assert!(post.deliveries("chat").await.iter().all(|delivery| delivery.state.as_str() == "delivered"));
    })
    .await;
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_told_nothing_more_and_others_are_told_of_it() {
    Post::each(async |mut post: Post| {
        post.webhook("chat", json!({"events": ["stack.*"]})).await;
        post.webhook("watch", json!({"events": ["webhook.disabled"]})).await;
        post.answers(&[410]);
        post.world.stack("shop", json!({})).await.expect(201);
        post.settle().await;
        assert_eq!(post.types(), ["stack.created", "webhook.disabled"]);
        assert_eq!(post.state_of("chat").await, ("disabled".to_owned(), Some("receiver_gone".to_owned())));
        post.world.stack("house", json!({})).await.expect(201);
        post.later(3_600).await;
        assert_eq!(post.arrived().len(), 0);

        let enable = json!({"state": "enabled"});
        post.world.call(&post.world.admin, Method::PATCH, "/api/v1/webhooks/chat", enable).await.expect(200);
        post.later(1).await;
        assert_eq!(post.types(), ["stack.created"], "what waited goes on, and what happened meanwhile is not told");
        assert_eq!(post.state_of("chat").await, ("enabled".to_owned(), None));
    })
    .await;
}

#[tokio::test]
async fn a_receiver_that_fails_for_five_days_is_left_alone() {
    Post::each(async |mut post: Post| {
        post.webhook("chat", json!({"events": ["stack.*"]})).await;
        post.answers(&[500; 100]);
        post.world.stack("shop", json!({})).await.expect(201);
        // Through the whole schedule, and the pauses that a failing receiver gets.
        for _ in 0..52 {
            post.later(2 * 3_600 + 600).await;
        }
        let listed = post.deliveries("chat").await;
        assert_eq!((listed[0].state.as_str(), listed[0].attempts), ("dead", 10));
        assert_eq!(post.state_of("chat").await.0, "enabled");
        post.later(2 * 24 * 3_600).await;
        post.world.stack("house", json!({})).await.expect(201);
        post.settle().await;
        assert_eq!(post.state_of("chat").await, ("disabled".to_owned(), Some("failed_for_days".to_owned())));
    })
    .await;
}

#[tokio::test]
async fn one_success_in_between_and_the_five_days_begin_again() {
    Post::each(async |mut post: Post| {
        post.webhook("chat", json!({"events": ["stack.*"]})).await;
        post.answers(&[500, 200, 500]);
        post.world.stack("shop", json!({})).await.expect(201);
        post.settle().await;
        post.later(7).await;
        post.later(6 * 24 * 3_600).await;
        post.world.stack("house", json!({})).await.expect(201);
        post.settle().await;
        assert_eq!(post.arrived().len(), 3);
        assert_eq!(post.state_of("chat").await.0, "enabled");
    })
    .await;
}

#[tokio::test]
async fn deliveries_are_sent_again_one_by_one_by_time_or_all_that_were_given_up() {
    Post::each(async |mut post: Post| {
        post.webhook("chat", json!({"events": ["stack.*"]})).await;
        let begin = post.world.state.clock.now();
        post.world.stack("shop", json!({})).await.expect(201);
        post.later(60).await;
        let between = post.world.state.clock.now();
        post.world.stack("house", json!({})).await.expect(201);
        post.settle().await;
        let first = post.arrived();
        assert_eq!(first.len(), 2);

        assert_eq!(post.replay(json!({"delivery": first[1].header("webhook-id")})).await, 1);
        post.settle().await;
        assert_eq!(post.arrived()[0].header("webhook-id"), first[1].header("webhook-id"));
        assert_eq!(post.replay(json!({"since": begin, "until": between})).await, 1);
        post.settle().await;
        assert_eq!(post.arrived()[0].header("webhook-id"), first[0].header("webhook-id"));
        assert_eq!(post.replay(json!({"failed": true})).await, 0);

        post.answers(&[500; 20]);
        assert_eq!(post.replay(json!({"delivery": first[0].header("webhook-id")})).await, 1);
        for _ in 0..60 {
            post.later(2 * 3_600).await;
        }
        assert_eq!(post.delivery("chat", first[0].header("webhook-id")).await.state.as_str(), "dead");
        post.answers(&[]);
        post.arrived();
        assert_eq!(post.replay(json!({"failed": true})).await, 1);
        post.settle().await;
        assert_eq!(post.arrived()[0].header("webhook-id"), first[0].header("webhook-id"));
        let unknown = json!({"delivery": "00000000-0000-7000-8000-000000000000"});
        post.world.post(&post.world.admin, "/api/v1/webhooks/chat/replay", unknown).await.expect(404);
    })
    .await;
}

#[tokio::test]
async fn what_a_broker_had_when_it_died_is_sent_by_another_after_its_lease() {
    Post::each(async |mut post: Post| {
        post.webhook("chat", json!({"events": ["stack.*"]})).await;
        post.world.stack("shop", json!({})).await.expect(201);
        // The first claims, and is never heard of again.
        let (dead, mut lost) = (courier(&post.world, "dead"), Hands { sequence: true, ..Hands::default() });
        dead.look(&mut lost).await.unwrap();
        dead.sequence(&mut lost).await.unwrap();
        dead.claim(&mut lost).await.unwrap();
        assert_eq!(lost.lanes.values().map(|lane| lane.waiting.len()).sum::<usize>(), 1);
        post.settle().await;
        assert_eq!(post.arrived().len(), 0, "it is somebody else's");
        post.later(LEASE.as_secs() + 1).await;
        let arrived = post.arrived();
        assert_eq!(arrived.len(), 1);
        let shown = post.delivery("chat", arrived[0].header("webhook-id")).await;
        assert_eq!((shown.state.as_str(), shown.attempts), ("delivered", 2));

        // It comes back and believes that it still has it: what it writes is not taken.
        let late = lost.lanes.values_mut().next().unwrap().waiting.pop_front().unwrap().delivery;
        lost.settled.push(Settled { delivery: late, judged: Judged::Dead });
        dead.settle(&mut lost).await.unwrap();
        assert_eq!(post.delivery("chat", arrived[0].header("webhook-id")).await.state.as_str(), "delivered");
    })
    .await;
}

#[tokio::test]
async fn two_brokers_side_by_side_send_everything_once() {
    Post::each(async |mut post: Post| {
        post.webhook("chat", json!({"events": ["stack.*"]})).await;
        for number in 0..40 {
            post.world.stack(&format!("shop-{number}"), json!({})).await.expect(201);
        }
        let (other, mut others) = (courier(&post.world, "two"), Hands::default());
        futures::join!(work(&post.courier, &mut post.hands), work(&other, &mut others));
        post.settle().await;
        let mut ids: Vec<_> = post.arrived().iter().map(|arrived| arrived.header("webhook-id").to_owned()).collect();
        assert_eq!(ids.len(), 40);
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 40);
    })
    .await;
}

#[tokio::test]
async fn while_a_secret_is_replaced_both_sign() {
    Post::each(async |mut post: Post| {
        let old = post.webhook("chat", json!({})).await;
        let rotated = post.world.post(&post.world.admin, "/api/v1/webhooks/chat/rotate", json!({"overlap_seconds": 600})).await;
        let new = rotated.expect(200).json["secret"].as_str().unwrap().to_owned();
        assert_ne!(old, new);
        post.settle().await;
        post.arrived();
        post.world.post(&post.world.admin, "/api/v1/webhooks/chat/test", Value::Null).await.expect(202);
        post.settle().await;
        let during = post.arrived();
        assert_eq!(during[0].json()["type"], "webhook.test");
        assert_eq!(verify(&old, &during[0]), verify(&new, &during[0]));
        post.later(600).await;
        post.world.post(&post.world.admin, "/api/v1/webhooks/chat/test", Value::Null).await.expect(202);
        post.settle().await;
        let after = post.arrived();
        verify(&new, &after[0]);
        let now = after[0].at.as_micros() / 1_000_000;
        assert!(Verifier::parse(&old).unwrap().verify(&after[0].headers, &after[0].body, now).is_err());
    })
    .await;
}

#[tokio::test]
async fn a_public_key_verifies_and_cloud_events_are_what_their_standard_says() {
    Post::each(async |mut post: Post| {
        let body = json!({"signature": "v1a", "settings": {"format": "cloudevents", "events": ["stack.*"]}, "headers": {"X-Api-Key": "hunter2"}});
        let public = post.webhook_of(&post.world.admin, "chat", body).await;
        assert!(public.starts_with("whpk_"));
        post.world.stack("shop", json!({})).await.expect(201);
        post.settle().await;
        let arrived = post.arrived();
        let (event, id) = (arrived[0].json(), verify(&public, &arrived[0]));
        assert_eq!(arrived[0].header("content-type"), "application/cloudevents+json");
        assert_eq!(arrived[0].header("x-api-key"), "hunter2");
        assert_eq!((event["specversion"].as_str(), event["id"].as_str()), (Some("1.0"), Some(id.as_str())));
        assert_eq!((event["type"].as_str(), event["subject"].as_str()), (Some("io.brokkr.stack.created"), Some("stacks/shop")));
        assert_eq!(event["source"], "/brokkr/here");
        let schema = post.world.get(&post.world.admin, event["dataschema"].as_str().unwrap()).await.expect(200).json;
        assert_eq!(schema["properties"]["type"]["const"], "stack.created");
    })
    .await;
}

#[tokio::test]
async fn a_generator_has_webhooks_of_its_own_and_hears_of_its_own_stacks() {
    Post::each(async |mut post: Post| {
        let (mine, yours) = (post.world.generator("mine").await, post.world.generator("yours").await);
        post.webhook_of(&mine, "chat", json!({})).await;
        let settings = json!({"targets": {"labels": {}}});
        post.world.put(&yours, "/api/v1/stacks/house", settings.clone()).await.expect(201);
        post.world.put(&mine, "/api/v1/stacks/shop", settings).await.expect(201);
        post.world.agent("edge", json!({})).await;
        post.settle().await;
        let arrived = post.arrived();
        assert_eq!(arrived.len(), 1);
        assert_eq!(
            (arrived[0].json()["type"].as_str(), arrived[0].json()["data"]["stack"].as_str()),
            (Some("stack.created"), Some("shop"))
        );
        post.world.get(&yours, "/api/v1/webhooks/chat").await.expect(404);
        post.world.post(&yours, "/api/v1/webhooks/chat/test", Value::Null).await.expect(404);
        assert_eq!(post.world.get(&yours, "/api/v1/webhooks").await.expect(200).json["items"], json!([]));
        assert_eq!(post.world.get(&mine, "/api/v1/webhooks").await.expect(200).json["items"].as_array().unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn nothing_secret_is_in_the_database_in_an_answer_or_in_a_span_and_a_new_key_seals_it_anew() {
    Post::each(async |mut post: Post| {
        let body = json!({"headers": {"authorization": "hunter2hunter2"}, "settings": {"events": ["stack.*"]}});
        let secret = post.webhook_of(&post.world.admin, "chat", body).await;
        let everything = crate::store::Scope::Everybody;
        let name = "chat".parse().unwrap();
        let row = post.world.state.db.find_webhook(everything, &name).await.unwrap().unwrap();
        let holds = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        for text in ["hunter2", &secret[6..], "127.0.0.1"] {
            assert!(!holds(&row.sealed, text), "{text}");
        }
        post.world.stack("shop", json!({})).await.expect(201);
        post.settle().await;
        assert_eq!(post.arrived().len(), 1);
        let shown = post.world.get(&post.world.admin, "/api/v1/webhooks/chat").await.expect(200).json.to_string();
        let told = post.world.get(&post.world.admin, "/api/v1/audit").await.expect(200).json.to_string();
        let spans = format!("{:?}{:?}", post.world.capture.spans(), post.world.capture.logs());
        for text in [shown, told, spans] {
            assert!(!text.contains("hunter2") && !text.contains(&secret[6..]), "{text}");
        }

        let former = Keyring::new_line("test", &SeededIds::new(9));
        let both = format!("{}{former}", Keyring::new_line("second", &SeededIds::new(10)));
        post.courier.keyring = Arc::new(Keyring::parse(&both).unwrap());
        post.courier.reseal().await.unwrap();
        let row = post.world.state.db.find_webhook(everything, &name).await.unwrap().unwrap();
        assert_eq!(row.sealed_key, "second");
        assert_eq!(endpoint::unseal(&row, &post.courier.keyring).unwrap().secret, secret);
    })
    .await;
}

#[tokio::test]
async fn a_webhook_that_leads_where_it_must_not_is_refused_and_one_that_comes_to_do_so_reaches_nobody() {
    Post::each(async |mut post: Post| {
        for url in ["http://169.254.169.254/latest", "https://10.0.0.1/", "http://127.0.0.1:1/"] {
            let answer =
                post.world.post(&post.world.admin, "/api/v1/webhooks", json!({"name": "bad", "url": url})).await.expect(422);
            assert_eq!(answer.code(), "webhook_url");
        }
        post.webhook("chat", json!({"events": ["stack.*"]})).await;
        // As if the configuration had been made narrower since.
        post.courier.sender = Sender::new(Guard::default(), "test", None).unwrap();
        post.world.stack("shop", json!({})).await.expect(201);
        post.settle().await;
        assert_eq!(post.arrived().len(), 0);
        let listed = post.deliveries("chat").await;
        assert_eq!(post.delivery("chat", listed[0].id).await.log[0].result, "blocked");
    })
    .await;
}

#[tokio::test]
async fn what_is_deleted_is_sent_nothing_and_its_rows_go() {
    Post::each(async |mut post: Post| {
        post.webhook("chat", json!({"events": ["stack.*"]})).await;
        post.answers(&[500]);
        post.world.stack("shop", json!({})).await.expect(201);
        post.settle().await;
        post.arrived();
        post.world.delete(&post.world.admin, "/api/v1/webhooks/chat").await.expect(204);
        post.later(10).await;
        assert_eq!(post.arrived().len(), 0);
        let db = &post.world.state.db;
        assert_eq!(db.prune_webhooks().await.unwrap(), 0, "its deliveries refer to it");
        assert_eq!(db.prune_deliveries(Timestamp::from_micros(0), 10).await.unwrap(), 1);
        assert_eq!(db.prune_webhooks().await.unwrap(), 1);
        post.webhook("chat", json!({})).await;
    })
    .await;
}
