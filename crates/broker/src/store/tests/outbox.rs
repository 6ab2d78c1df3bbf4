//! The deliveries of an event are written in the transaction of the change that it tells of.

use std::time::Duration;

use brokkr_api::{EventId, WebhookId, webhooks::WebhookSettings};
use brokkr_telemetry::metrics::DbOperation;
use http::Method;
use serde_json::{Value, json};

use super::name;
use crate::{
    store::{NewEvent, NewWebhook, Tx, events::INSERT_EVENTS, sql::Statement},
    testing::{Engine, World},
};

static OUTBOX: Statement = Statement::new(
    "OUTBOX",
    DbOperation::Select,
    "outbox",
    "SELECT e.type || ' ' || w.name || ' ' || o.state || ' ' || COALESCE(CAST(o.position - e.position AS TEXT), 'nowhere') AS line
     FROM outbox o JOIN events e ON e.id = o.event_id JOIN webhooks w ON w.id = o.destination ORDER BY e.created_at, e.id, w.name",
);

/// What waits: of which event, for whom, how, and whether it is where its event is.
async fn outbox(world: &World) -> Vec<String> {
    let rows = world.state.db.all(&OUTBOX, vec![]).await.unwrap();
    rows.iter().map(|row| row.text("line").unwrap()).collect()
}

async fn webhook(world: &World, name: &str, settings: Value) {
    let body = json!({"name": name, "url": "https://hooks.example.com/", "settings": settings});
    world.post(&world.admin, "/api/v1/webhooks", body).await.expect(201);
}

fn event(world: &World, kind: &'static str) -> NewEvent<'static> {
    let now = world.state.clock.now();
    let id = EventId(world.state.ids.uuid(now));
    NewEvent { id, kind, stack: None, agent: None, generation: None, data: json!({}), trace: None, now }
}

async fn happen(tx: &mut Tx, world: &World, kind: &'static str) {
    tx.insert_events(&[event(world, kind)]).await.unwrap();
}

#[tokio::test]
async fn a_change_and_its_deliveries_are_committed_together_or_neither_is() {
    Engine::each(async |world: World| {
        webhook(&world, "stacks", json!({"events": ["stack.*"], "ordered": true})).await;
        webhook(&world, "agents", json!({"events": ["agent.*"]})).await;
        let mut tx = world.state.db.begin().await.unwrap();
        happen(&mut tx, &world, "stack.deleted").await;
        drop(tx);
        assert_eq!(outbox(&world).await, [] as [&str; 0], "what was taken back");

        world.stack("shop", json!({})).await.expect(201);
        world.clock.advance(Duration::from_secs(1));
        world.agent("edge", json!({})).await;
        world.clock.advance(Duration::from_secs(1));
        world.stack("shop", json!({"site": "a"})).await.expect(200);
        let written =
            ["stack.created stacks held nowhere", "agent.created agents held nowhere", "stack.updated stacks held nowhere"];
        assert_eq!(outbox(&world).await, written, "before anybody looks at the events");

        while world.state.db.sequence_events().await.unwrap() > 0 {}
        let placed = ["stack.created stacks pending 0", "agent.created agents pending 0", "stack.updated stacks held 0"];
        assert_eq!(outbox(&world).await, placed);
    })
    .await;
}

#[tokio::test]
async fn who_hears_of_a_change_is_decided_with_the_change() {
    Engine::each(async |world: World| {
        let settings = |tier: &str| json!({"labels": {"tier": tier}, "targets": {"names": ["edge"]}});
        let web = json!({"events": ["stack.*"], "stacks": {"labels": {"matchLabels": {"tier": "web"}}}});
        webhook(&world, "web", web).await;
        world.put(&world.admin, "/api/v1/stacks/shop", settings("web")).await.expect(201);
        world.put(&world.admin, "/api/v1/stacks/shop", settings("db")).await.expect(200);
        world.call(&world.admin, Method::PATCH, "/api/v1/webhooks/web", json!({"state": "disabled"})).await.expect(200);
        world.put(&world.admin, "/api/v1/stacks/shop", settings("web")).await.expect(200);

        while world.state.db.sequence_events().await.unwrap() > 0 {}
        assert_eq!(outbox(&world).await, ["stack.created web pending 0"], "as the stack and the webhook were then");
    })
    .await;
}

#[tokio::test]
async fn a_webhook_that_another_broker_made_a_moment_ago_hears_of_the_next_change() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let world = World::start(engine).await;
        world.stack("before", json!({})).await.expect(201);
        let other = world.replica().await;
        webhook(&other, "new", json!({"events": ["stack.*"]})).await;
        drop(other);
        world.stack("after", json!({})).await.expect(201);
        assert_eq!(outbox(&world).await, ["stack.created new held nowhere"]);
    }
}

#[tokio::test]
async fn a_webhook_whose_making_was_taken_back_hears_of_nothing_and_hides_nobody() {
    Engine::each(async |world: World| {
        let now = world.state.clock.now();
        let never = NewWebhook {
            id: WebhookId(world.state.ids.uuid(now)),
            name: &name("never"),
            generator: None,
            settings: &WebhookSettings::default(),
            sealed: vec![],
            sealed_key: "none",
            now,
        };
        let mut tx = world.state.db.begin().await.unwrap();
        tx.insert_webhook(never).await.unwrap();
        // The transaction knows of its own webhook, and nobody else ever will.
        happen(&mut tx, &world, "stack.deleted").await;
        drop(tx);

        world.stack("before", json!({})).await.expect(201);
        webhook(&world, "next", json!({"events": ["stack.*"]})).await;
        world.stack("after", json!({})).await.expect(201);
        assert_eq!(outbox(&world).await, ["stack.created next held nowhere"]);
    })
    .await;
}

#[tokio::test]
async fn what_a_broker_learns_while_an_event_is_written_takes_no_delivery_from_it() {
    // One writer at a time is all that SQLite allows, so that nobody learns anything meanwhile there.
    let world = World::start(Engine::Postgres).await;
    webhook(&world, "first", json!({"events": ["stack.*"]})).await;
    let mut slow = world.state.db.begin().await.unwrap();
    let events = [event(&world, "stack.deleted")];
    let values = slow.values_of(&events).unwrap();
    let rows = slow.all(&INSERT_EVENTS, values).await.unwrap();
    webhook(&world, "second", json!({"events": ["stack.*"]})).await;
    slow.enqueue(&events, &rows).await.unwrap();
    slow.commit().await.unwrap();

    assert_eq!(outbox(&world).await, ["stack.deleted first held nowhere"], "as the webhooks were when it was written");
}
