//! Tracing at run time: who follows what, from when on, and who is told.

use brokkr_api::tracing::{AgentTracing, Tracing};
use http::Method;
use serde_json::{Value, json};

use super::ends;
use crate::{
    http::follow_tracing,
    testing::{Answer, Engine, World},
};

const TRACING: &str = "/api/v1/tracing";

async fn set(world: &World, body: Value) -> Answer {
    world.call(&world.admin, Method::PUT, TRACING, body).await
}

async fn tracing(world: &World) -> Tracing {
    serde_json::from_value(world.get(&world.admin, TRACING).await.expect(200).json).unwrap()
}

fn value(tracing: &Tracing, key: &str) -> (String, String) {
    let found = tracing.pipeline.values.iter().find(|value| value.key == key).unwrap();
    (found.value.clone(), found.source.clone())
}

/// What this agent is told with its desired state.
async fn told(world: &World, key: &str) -> Value {
    world.get(key, "/api/v1/agent/desired-state").await.expect(200).json["tracing"].clone()
}

#[tokio::test]
async fn what_is_set_is_in_effect_at_once_and_says_where_it_comes_from_until_it_is_reset() {
    Engine::each(async |world: World| {
        let before = tracing(&world).await;
        assert_eq!((before.revision, before.changed_by.as_ref()), (0, None));
        assert_eq!(value(&before, "sampling_rate"), ("1".to_owned(), "default".to_owned()));
        let settings = json!({"enabled": true, "sampling_rate": 0.25, "service_name": "shop-broker"});
        let answer = set(&world, json!({"settings": settings})).await.expect(200);
        let now: Tracing = serde_json::from_value(answer.json).unwrap();
        assert_eq!((now.revision, now.changed_by.is_some()), (1, true));
        assert_eq!(value(&now, "sampling_rate"), ("0.25".to_owned(), "run time".to_owned()));
        assert_eq!(value(&now, "service_name"), ("shop-broker".to_owned(), "run time".to_owned()));
        assert_eq!(tracing(&world).await, now);
        let off = set(&world, json!({"settings": {"enabled": false}})).await.expect(200);
        assert_eq!(off.json["pipeline"]["enabled"], false);
        let reset = world.call(&world.admin, Method::DELETE, TRACING, Value::Null).await.expect(200);
        assert_eq!((&reset.json["revision"], &reset.json["broker"]), (&json!(3), &Value::Null));
        assert_eq!(tracing(&world).await.pipeline.values, before.pipeline.values);
    })
    .await;
}

#[tokio::test]
async fn agents_are_told_with_their_desired_state_and_those_of_the_selector_alone() {
    Engine::each(async |world: World| {
        let (edge, core) = (world.agent("edge", json!({"site": "a"})).await, world.agent("core", json!({"site": "b"})).await);
        assert_eq!(told(&world, &edge.key).await, Value::Null);
        let selector = json!({"labels": {"matchLabels": {"site": "a"}}});
        set(&world, json!({"settings": {"sampling_rate": 1.0}, "agents": selector, "broker": false})).await.expect(200);
        assert_eq!(told(&world, &edge.key).await, json!({"revision": 1, "settings": {"sampling_rate": 1.0}}));
        assert_eq!(told(&world, &core.key).await, json!({"revision": 1, "settings": {}}));
        assert_eq!(tracing(&world).await.broker, None);
        let labels = json!({"labels": {"site": "a"}});
        world.call(&world.admin, Method::PATCH, "/api/v1/agents/core", labels).await.expect(200);
        assert_eq!(told(&world, &core.key).await["settings"], json!({"sampling_rate": 1.0}));
        set(&world, json!({"settings": {"enabled": false}})).await.expect(200);
        for key in [&edge.key, &core.key] {
            assert_eq!(told(&world, key).await, json!({"revision": 2, "settings": {"enabled": false}}));
        }
    })
    .await;
}

#[tokio::test]
async fn a_poll_that_waits_is_answered_when_tracing_is_set_or_the_labels_change_that_it_follows() {
    Engine::each(async |world: World| {
        let edge = world.agent("edge", json!({"site": "a"})).await;
        let etag = async || {
            let answer = world.get(&edge.key, "/api/v1/agent/desired-state").await.expect(200);
            answer.headers["etag"].to_str().unwrap().to_owned()
        };
        let first = etag().await;
        set(&world, json!({"settings": {"enabled": true}})).await.expect(200);
        let second = etag().await;
        assert_ne!(first, second);
        world.call(&world.admin, Method::PATCH, "/api/v1/agents/edge", json!({"labels": {}})).await.expect(200);
        assert_ne!(second, etag().await);
    })
    .await;
}

#[tokio::test]
async fn a_malformed_endpoint_is_refused_and_what_is_understood_otherwise_comes_with_a_warning() {
    let world = World::start(Engine::Sqlite).await;
    for endpoint in ["collector:4317", "ftp://c:1", "http://", "http://c:99999", "http://u:p@c:4317", ""] {
        let refused = set(&world, json!({"settings": {"endpoint": endpoint}})).await.expect(400);
        assert_eq!(
            (&refused.json["code"], &refused.json["place"]),
            (&json!("invalid_field"), &json!("settings.endpoint")),
            "{endpoint}"
        );
    }
    assert!(set(&world, json!({"settings": {"exporter": "relay"}})).await.status.is_client_error());
    let mapped =
        json!({"enabled": true, "exporter": "jaeger", "endpoint": "http://jaeger.example:14268/api/traces", "sampling_rate": 7});
    let answer = set(&world, json!({"settings": mapped})).await.expect(200);
    assert_eq!(answer.json["broker"]["endpoint"], "http://jaeger.example:4317");
    assert_eq!(answer.json["broker"]["protocol"], "grpc");
    assert_eq!(answer.json["broker"]["sampling_rate"], 1.0);
    assert_eq!(answer.json["warnings"].as_array().unwrap().len(), 2, "{}", answer.json);
}

#[tokio::test]
async fn another_replica_follows_and_so_does_one_that_starts_later() {
    let world = World::start(Engine::Postgres).await;
    let settings = json!({"sampling_rate": 0.5});
    set(&world, json!({"settings": settings})).await.expect(200);
    let later = world.replica().await;
    let following = follow_tracing(later.state.clone(), later.state.stopping.clone());
    let reached = async |rate: &str| {
        while value(&tracing(&later).await, "sampling_rate") != (rate.to_owned(), "run time".to_owned()) {
            tokio::task::yield_now().await;
        }
    };
    let changes = async {
        reached("0.5").await;
        set(&world, json!({"settings": {"sampling_rate": 0.75}})).await.expect(200);
        reached("0.75").await;
    };
    tokio::select! {
        () = following => panic!("it follows until the end"),
        () = ends(changes) => {}
    }
}

#[tokio::test]
async fn what_agents_told_last_is_listed_by_name_with_those_that_told_nothing() {
    Engine::each(async |world: World| {
        let edge = world.agent("edge", json!({})).await;
        world.agent("silent", json!({})).await;
        let report = async |exported: u64, error: Value| {
            let values = json!([{"key": "endpoint", "value": "http://c:4317", "source": "default"}]);
            let pipeline =
                json!({"enabled": true, "values": values, "exported": exported, "failed": 0, "dropped": 0, "last_error": error});
            let body = json!({"revision": 4, "pipeline": pipeline});
            world.call(&edge.key, Method::PUT, "/api/v1/agent/tracing", body).await
        };
        report(1, Value::Null).await.expect(204);
        report(7, json!("no route to host")).await.expect(204);
        let listed = world.get(&world.admin, "/api/v1/tracing/agents").await.expect(200).json;
        let listed: Vec<AgentTracing> = serde_json::from_value(listed["items"].clone()).unwrap();
        let names: Vec<_> = listed.iter().map(|agent| agent.agent.to_string()).collect();
        assert_eq!(names, ["edge", "silent"]);
        let pipeline = listed[0].pipeline.clone().unwrap();
        assert_eq!((listed[0].revision, pipeline.exported, pipeline.last_error.as_deref()), (4, 7, Some("no route to host")));
        assert!(listed[0].reported_at.is_some() && listed[1].reported_at.is_none() && listed[1].pipeline.is_none());
        report(1, json!("a\u{7}b")).await.expect(400);
        report(1, json!("x".repeat(2_000))).await.expect(400);
    })
    .await;
}

#[tokio::test]
async fn a_change_is_an_event_and_an_entry_of_the_audit_log() {
    let world = World::start(Engine::Sqlite).await;
    set(&world, json!({"settings": {"enabled": true}})).await.expect(200);
    let entries = world.get(&world.admin, "/api/v1/audit?action=tracing.set").await.expect(200).json;
    assert_eq!(entries["items"].as_array().unwrap().len(), 1, "{entries}");
}
