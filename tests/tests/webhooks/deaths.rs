//! Two brokers on one PostgreSQL, both killed at random while changes are made: every event arrives, what arrives twice has the same id, and
//! events about one stack arrive in their order. `make soak` does it for ten minutes and leaves `target/soak/webhooks.json`.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use brokkr_api::{client::Client, stacks::PutStack, webhooks::WebhookSettings};
use brokkr_tests::{
    evidence::{is_soak, leave},
    fleet::{Broker, Engine, borrowed},
    lab::until,
    receiver::Receiver,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde::Serialize;

use crate::world::{broker, name, of_stacks, settings};

const STACKS: usize = 6;
/// Longer than the lease of what a killed broker had, and the wait after it.
const PATIENCE: Duration = Duration::from_secs(180);

/// What a trial did.
#[derive(Debug, Serialize)]
struct Evidence {
    seconds: u64,
    kills: u32,
    changes: u32,
    events: usize,
    arrived: usize,
    twice: usize,
}

/// Changes a stack until one of the brokers has acknowledged it.
async fn change(clients: &[Client; 2], random: &mut StdRng, number: u32) {
    let stack = name(&format!("shop-{}", random.random_range(0..STACKS)));
    let labels = serde_json::json!({"labels": {"number": number.to_string()}});
    let put: PutStack = serde_json::from_value(labels).unwrap();
    let first = random.random_range(0..2);
    let look = || async {
        for client in [&clients[first], &clients[1 - first]] {
            if client.put_stack(&stack, &put).await.is_ok() {
                return Ok(());
            }
        }
        Err("nobody answers".to_owned())
    };
    until("an acknowledged change", PATIENCE, look).await.unwrap();
}

async fn kill(brokers: &mut [Broker; 2], random: &mut StdRng) {
    let at = random.random_range(0..2);
    brokers[at].process.kill();
    brokers[at].again().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_twice_is_the_same_and_order_is_kept_while_brokers_are_killed() {
    let seconds = if is_soak() { 600 } else { 30 };
    let receiver = Receiver::start().await.unwrap();
    let one = broker(Engine::Postgres, &receiver).await;
    let two = one.beside_with(&borrowed(&settings(Engine::Postgres, &receiver))).await.unwrap();
    let clients = [one.admin(), two.admin()];
    for (webhook, ordered) in [("ordered", true), ("free", false)] {
        let how = WebhookSettings { ordered, concurrency: 4, ..of_stacks() };
        clients[0].create_webhook(&receiver.webhook(name(webhook), &format!("/{webhook}"), how)).await.unwrap();
    }
    let mut brokers = [one, two];
    let mut random = StdRng::seed_from_u64(7);
    let (began, mut kills, mut changes) = (Instant::now(), 0, 0);
    while began.elapsed() < Duration::from_secs(seconds) {
        for _ in 0..random.random_range(1..15) {
            changes += 1;
            change(&clients, &mut random, changes).await;
        }
        // Some attempts fail by themselves.
        if random.random_bool(0.2) {
            receiver.answer("/free", &[503]);
        }
        // In the middle of a change, too.
        changes += 1;
        let mut when = StdRng::seed_from_u64(u64::from(kills));
        futures::join!(change(&clients, &mut random, changes), kill(&mut brokers, &mut when));
        kills += 1;
    }
    let sql = "SELECT id, COALESCE(stack_id, '') FROM events WHERE type LIKE 'stack.%' ORDER BY id";
    let events: HashMap<String, String> = brokers[0]
        .query(sql)
        .unwrap()
        .iter()
        .filter_map(|line| line.split_once('|').map(|(id, stack)| (id.to_owned(), stack.to_owned())))
        .collect();
    assert!(events.len() >= changes as usize, "{changes} changes were answered, and {} have events", events.len());

    let mut evidence = Evidence { seconds, kills, changes, events: events.len(), arrived: 0, twice: 0 };
    for webhook in ["ordered", "free"] {
        let path = format!("/{webhook}");
        let missing = || async {
            let arrived: HashSet<_> = receiver.received(&path).iter().map(event).collect();
            let missing: Vec<_> = events.keys().filter(|id| !arrived.contains(*id)).collect();
            if missing.is_empty() {
                Ok(())
            } else {
                Err(format!("{} of {} are missing: {missing:?}", missing.len(), events.len()))
            }
        };
        until("every event", PATIENCE, missing).await.unwrap();
        let received = receiver.received(&path);
        let mut ids: HashMap<String, String> = HashMap::new();
        for one in &received {
            let id = ids.entry(event(one)).or_insert_with(|| one.header("webhook-id").to_owned());
            assert_eq!(id, one.header("webhook-id"), "the same event under two ids");
        }
        evidence.arrived += received.len();
        evidence.twice += received.len() - ids.len();
        if webhook == "ordered" {
            let mut newest: HashMap<String, u64> = HashMap::new();
            let mut seen = HashSet::new();
            for one in received.iter().filter(|one| seen.insert(event(one))) {
                let (data, position) = (one.json()["data"].clone(), one.json()["data"]["position"].as_u64().unwrap());
                let last = newest.entry(data["stack_id"].as_str().unwrap().to_owned()).or_default();
                assert!(*last < position, "position {position} of {} arrived first after {last}", data["stack"]);
                *last = position;
            }
        }
    }
    eprintln!("{evidence:?}");
    leave("webhooks", &evidence);
}

fn event(received: &brokkr_tests::receiver::Received) -> String {
    received.json()["data"]["event_id"].as_str().unwrap_or_default().to_owned()
}
