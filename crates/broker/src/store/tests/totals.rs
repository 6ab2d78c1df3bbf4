//! What is counted for the gauges, on both engines, against what was done.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::{
    sampler::Sampler,
    store::sql::{Statement, Value as Bound},
    testing::{Engine, TestAgent, World},
};
use brokkr_telemetry::metrics::DbOperation;

async fn sample(world: &World) {
    let metrics = world.capture.telemetry().broker_metrics();
    let sampler =
        Sampler { db: world.state.db.clone(), clock: world.state.clock.clone(), metrics, active: world.state.settings.active };
    sampler.sample().await.unwrap();
}

fn gauge(world: &World, series: &str) -> f64 {
    world.capture.metric(series).unwrap_or_else(|| panic!("{series} is not there"))
}

async fn seen(world: &World, agents: &[&TestAgent]) {
    for agent in agents {
        world.state.presence.agent_seen(agent.id.parse().unwrap(), world.state.clock.now());
    }
    world.state.presence.flush(&world.state.db).await.unwrap();
}

#[tokio::test]
async fn the_fleet_is_counted_by_presence_and_nobody_counts_who_is_out_of_service() {
    Engine::each(async |world: World| {
        let (one, two) = (world.agent("one", json!({})).await, world.agent("two", json!({})).await);
        let three = world.agent("three", json!({})).await;
        let _never_connected = world.agent("four", json!({})).await;
        let out = world.agent("out", json!({})).await;
        seen(&world, &[&out]).await;
        world.put(&world.admin, "/api/v1/agents/out/deactivation", Value::Null).await.expect(200);
        seen(&world, &[&one]).await;
        world.clock.advance(Duration::from_secs(100));
        seen(&world, &[&two]).await;
        world.clock.advance(Duration::from_secs(10));
        seen(&world, &[&three]).await;
        world.clock.advance(Duration::from_secs(5));
        sample(&world).await;
        assert_eq!(gauge(&world, "brokkr_active_agents"), 2.0);
        assert_eq!(gauge(&world, "brokkr_agents{state=\"online\"}"), 2.0);
        assert_eq!(gauge(&world, "brokkr_agents{state=\"offline\"}"), 2.0);
        assert_eq!(gauge(&world, "brokkr_agent_heartbeat_age_seconds{stat=\"median\"}"), 15.0);
        assert_eq!(gauge(&world, "brokkr_agent_heartbeat_age_seconds{stat=\"max\"}"), 115.0);
    })
    .await;
}

#[tokio::test]
async fn an_unsettled_change_ages_until_it_is_applied_or_fails_and_never_while_it_waits_for_a_person() {
    Engine::each(async |world: World| {
        let unsettled = || gauge(&world, "brokkr_rollout_oldest_unsettled_seconds");
        let phase = |phase: &str| gauge(&world, &format!("brokkr_deployments{{phase=\"{phase}\"}}"));
        let (one, away) = (world.agent("one", json!({"a": "1"})).await, world.agent("away", json!({"a": "2"})).await);
        world.stack("empty", json!({"a": "1"})).await.expect(201);
        seen(&world, &[&one, &away]).await;
        world.clock.advance(Duration::from_secs(60));
        sample(&world).await;
        assert_eq!((unsettled(), phase("pending")), (0.0, 1.0), "a stack without content waits for a person");

        world.stack("shop", json!({})).await.expect(201);
        world.apply("shop", "one").await.expect(201);
        world.clock.advance(Duration::from_secs(30));
        seen(&world, &[&one]).await;
        sample(&world).await;
        assert_eq!((unsettled(), phase("pending")), (30.0, 3.0), "of the one that is online");

        world.put(&world.admin, "/api/v1/stacks/shop/suspension", json!({"reason": "audit"})).await.expect(200);
        sample(&world).await;
        assert_eq!((unsettled(), phase("suspended"), phase("pending")), (0.0, 2.0, 1.0));
        world.delete(&world.admin, "/api/v1/stacks/shop/suspension").await.expect(200);

        world.report_all(&one, "failed").await.expect(200);
        sample(&world).await;
        assert_eq!((unsettled(), phase("failed")), (0.0, 1.0), "the agent tries again, and the failure is told elsewhere");

        world.report_all(&one, "progressing").await.expect(200);
        world.clock.advance(Duration::from_secs(5));
        sample(&world).await;
        assert_eq!((unsettled(), phase("progressing")), (35.0, 1.0));

        assert_eq!(world.capture.metric("brokkr_rollout_duration_seconds_count"), None, "nothing was applied so far");
        world.report_all(&one, "applied").await.expect(200);
        world.report_all(&one, "applied").await.expect(200);
        sample(&world).await;
        assert_eq!((unsettled(), phase("applied")), (0.0, 1.0));
        assert_eq!(gauge(&world, "brokkr_rollout_duration_seconds_count"), 1.0, "once for each revision");
        assert_eq!(gauge(&world, "brokkr_rollout_duration_seconds_sum"), 35.0);

        world.delete(&world.admin, "/api/v1/stacks/shop").await.expect(202);
        world.clock.advance(Duration::from_secs(7));
        seen(&world, &[&one]).await;
        sample(&world).await;
        assert_eq!((unsettled(), phase("deleting")), (7.0, 2.0), "a deletion is a change too");
        let mut held = world.report_of(&one, "deleting").await;
        held["reports"][0]["held"] = json!({"plan": format!("sha256:{}", "a".repeat(64)), "objects": 3});
        world.post(&one.key, "/api/v1/agent/reports", held).await.expect(200);
        sample(&world).await;
        assert_eq!((unsettled(), phase("deleting")), (0.0, 2.0), "until somebody approves it");
    })
    .await;
}

#[tokio::test]
async fn the_next_key_to_expire_is_one_that_is_in_use_and_followed_by_none() {
    Engine::each(async |world: World| {
        let next = || gauge(&world, "brokkr_key_next_expiry_timestamp_seconds");
        sample(&world).await;
        assert_eq!(next(), 0.0);
        let now = world.state.clock.now();
        for (name, days) in [("late", 30_u64), ("soon", 3)] {
            let expires_at = now.after(Duration::from_secs(days * 86_400));
            let body = json!({"name": name, "role": "viewer", "expires_at": expires_at});
            world.post(&world.admin, "/api/v1/keys", body).await.expect(201);
        }
        sample(&world).await;
        #[expect(clippy::cast_precision_loss, reason = "seconds of this century")]
        let seconds = |days: u64| now.after(Duration::from_secs(days * 86_400)).as_micros() as f64 / 1e6;
        assert_eq!(next(), seconds(3));
        world.clock.advance(Duration::from_secs(4 * 86_400));
        sample(&world).await;
        assert_eq!(next(), seconds(30), "one that has expired opens nothing any more");
    })
    .await;
}

static QUEUE: Statement = Statement::new(
    "QUEUE",
    DbOperation::Insert,
    "outbox",
    "INSERT INTO outbox (id, event_id, destination, state, attempts, next_attempt_at, created_at)
     SELECT e.id, e.id, w.id, 'pending', 0, $1, $1 FROM events e CROSS JOIN webhooks w WHERE NOT EXISTS (SELECT 1 FROM outbox o WHERE o.event_id = e.id)",
);

#[tokio::test]
async fn what_waits_for_delivery_is_counted_with_the_age_of_the_oldest() {
    Engine::each(async |world: World| {
        world.agent("one", json!({})).await;
        world.stack("shop", json!({})).await.expect(201);
        world.apply("shop", "one").await.expect(201);
        let webhook = json!({"name": "chat", "url": "https://hooks.example.com/"});
        world.post(&world.admin, "/api/v1/webhooks", webhook).await.expect(201);
        let at = world.state.clock.now();
        let mut tx = world.state.db.begin().await.unwrap();
        #[expect(clippy::cast_precision_loss, reason = "a handful")]
        let queued = tx.execute(&QUEUE, vec![Bound::from(at)]).await.unwrap() as f64;
        tx.commit().await.unwrap();
        world.clock.advance(Duration::from_secs(42));
        sample(&world).await;
        assert!(queued > 0.0);
        assert_eq!(gauge(&world, "brokkr_queue_depth{queue=\"deliveries\"}"), queued);
        assert_eq!(gauge(&world, "brokkr_queue_oldest_age_seconds{queue=\"deliveries\"}"), 42.0);
        let disable = json!({"state": "disabled"});
        world.call(&world.admin, Method::PATCH, "/api/v1/webhooks/chat", disable).await.expect(200);
        sample(&world).await;
        assert_eq!(gauge(&world, "brokkr_queue_depth{queue=\"deliveries\"}"), 0.0, "nobody waits for what nobody sends");
    })
    .await;
}

/// Queries that the metrics know of.
fn queries(world: &World) -> f64 {
    DbOperation::WORDS.iter().map(|word| gauge(world, &format!("brokkr_database_queries_total{{operation=\"{word}\"}}"))).sum()
}

#[tokio::test]
async fn a_query_is_counted_once_and_beginning_committing_and_telling_others_are_none() {
    Engine::each(async |world: World| {
        world.agent("one", json!({})).await;
        world.stack("shop", json!({})).await.expect(201);
        let answer = world.apply("shop", "one").await.expect(201);
        let during = world.spans_of(&answer);
        let of = |operation: &str| {
            during.iter().filter(|span| span.attribute("db.operation.name").as_deref() == Some(operation)).count()
        };
        assert_eq!((of("BEGIN"), of("COMMIT")), (1, 1));
        assert!(world.statements(&answer).len() > 3);
        // The feed reads meanwhile, in traces of its own.
        let spans = world.capture.spans();
        let all = spans.iter().filter(|span| span.attribute("db.query.summary").is_some()).count();
        assert_eq!(queries(&world).to_string(), all.to_string());
        assert!(spans.iter().filter(|span| span.attribute("db.system.name").is_some()).count() > all);
    })
    .await;
}

#[tokio::test]
async fn a_scrape_asks_the_database_nothing() {
    Engine::each(async |world: World| {
        sample(&world).await;
        for _ in 0..3 {
            let answer = world.call("", Method::GET, "/metrics", Value::Null).await.expect(200);
            assert!(String::from_utf8_lossy(&answer.bytes).contains("brokkr_active_agents 0"));
            let spans = world.spans_of(&answer);
            let of_database = |name: &str| spans.iter().any(|span| span.attribute(name).is_some());
            assert!(!spans.is_empty() && !of_database("db.query.summary") && !of_database("db.system.name"), "{spans:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_route_does_not_have_makes_no_series() {
    let world = World::start(Engine::Sqlite).await;
    world.get(&world.admin, "/api/v1/stacks").await.expect(200);
    world.call("", Method::GET, "/nowhere", Value::Null).await.expect(404);
    for method in ["PATCH", "DELETE", "BREW"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        world.call("", method, "/api/v1/stacks", Value::Null).await.expect(405);
    }
    let text = world.capture.metrics();
    assert!(text.contains("brokkr_http_requests_total{endpoint=\"/api/v1/stacks\",method=\"GET\",status=\"200\"}"), "{text}");
    for method in ["PATCH", "DELETE", "_OTHER"] {
        assert!(text.contains(&format!("endpoint=\"unmatched\",method=\"{method}\",status=\"405\"")), "{text}");
        assert!(!text.contains(&format!("endpoint=\"/api/v1/stacks\",method=\"{method}\"")), "{text}");
    }
}
