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
mod failures;
mod trust;

use super::*;
use crate::{
    domain::webhook::schema,
    testing::{Engine, World},
};

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

    /// What has arrived since it was asked last. Each message is as the schema of its type says.
    fn arrived(&self) -> Vec<Arrived> {
        let arrived = std::mem::take(&mut self.script.lock().arrived);
        for message in arrived.iter().map(Arrived::json).filter(|message| message["specversion"].is_null()) {
            let schema = schema::schema(message["type"].as_str().unwrap()).unwrap();
            assert_eq!(schema::departs(&schema, &message, "message"), None);
        }
        arrived
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
async fn a_round_takes_as_many_statements_for_fifty_webhooks_as_for_one() {
    Post::each(async |mut post: Post| {
        let mut counts = Vec::new();
        for numbers in [0..1, 1..50] {
            for number in numbers {
                post.webhook(&format!("chat-{number}"), json!({"events": ["stack.*"], "ordered": number % 2 == 0})).await;
            }
            // They are read, and what they were told of before is done.
            post.settle().await;
            post.world.stack(&format!("stack-{}", counts.len()), json!({})).await.expect(201);
            let statements = || {
                let spans = post.world.capture.spans();
                let names = spans.iter().filter_map(|span| span.attribute("db.query.summary"));
                // The broker follows the change feed meanwhile.
                names.filter(|name| !["READ_CHANGE", "KEYS_SINCE", "CHANGES_SINCE"].contains(&name.as_str())).collect::<Vec<_>>()
            };
            let before = statements().len();
            post.hands.sequence = true;
            post.courier.round(&mut post.hands, true, false).await.unwrap();
            counts.push(statements().split_off(before));
            assert!(post.hands.running.len() == 1 || post.hands.running.len() > 10, "{}", post.hands.running.len());
            post.settle().await;
        }
        assert!(counts[0].contains(&"CLAIMABLE".to_owned()), "{counts:?}");
        assert_eq!(counts[0], counts[1]);
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
        let later = post.world.state.clock.now();
        assert_eq!(db.prune_webhooks(later).await.unwrap(), 0, "its deliveries refer to it");
        assert_eq!(db.prune_deliveries(Timestamp::from_micros(0), 10).await.unwrap(), 1);
        assert_eq!(db.prune_webhooks(later.before(Duration::from_secs(3_600))).await.unwrap(), 0, "a change may refer to it yet");
        assert_eq!(db.prune_webhooks(later).await.unwrap(), 1);
        post.webhook("chat", json!({})).await;
    })
    .await;
}
