//! What requests cost in statements: at most two for a list, at most eight for a write, whatever the numbers.

use http::Method;
use serde_json::{Value, json};

use crate::testing::{Answer, Engine, World, config_map};

const LISTS: &[&str] = &[
    "/api/v1/stacks",
    "/api/v1/stacks?label=a=b",
    "/api/v1/agents",
    "/api/v1/agents?online=true",
    "/api/v1/keys",
    "/api/v1/generators",
    "/api/v1/events",
    "/api/v1/audit",
    "/api/v1/work-orders",
    "/api/v1/work-orders?state=queued",
    "/api/v1/stacks/shop/deployment-objects",
    "/api/v1/stacks/shop/deployments",
    "/api/v1/stacks/shop/deployments?phase=failed",
    "/api/v1/agents/edge-0/deployments",
    "/api/v1/webhooks",
    "/api/v1/webhooks/chat/deliveries",
    "/api/v1/webhooks/chat/deliveries?state=dead",
    "/api/v1/tracing",
    "/api/v1/tracing/agents",
];

#[track_caller]
fn at_most(world: &World, answer: &Answer, most: usize, what: &str) {
    let statements = world.statements(answer);
    assert!(!statements.is_empty() && statements.len() <= most, "{what}: {statements:?}");
}

async fn write(world: &World, key: &str, method: Method, path: &str, body: Value) -> Answer {
    let answer = world.call(key, method.clone(), path, body).await;
    assert!(answer.status.is_success(), "{method} {path}: {}", answer.json);
    at_most(world, &answer, 8, &format!("{method} {path}"));
    answer
}

#[tokio::test]
async fn a_list_takes_two_statements_at_most_and_a_write_eight() {
    Engine::each(async |world: World| {
        let admin = world.admin.clone();
        let agents: Vec<_> = futures::future::join_all((0..5).map(|number| {
            let world = &world;
            async move { world.agent(&format!("edge-{number}"), json!({"site": "a"})).await }
        }))
        .await;
        // Somebody who wants to hear of everything: each write has its deliveries.
        let listener = json!({"name": "listener", "url": "https://hooks.example.com/"});
        write(&world, &admin, Method::POST, "/api/v1/webhooks", listener).await;
        let stack = "/api/v1/stacks/shop";
        let settings = |site: &str| json!({"labels": {}, "targets": {"labels": {"matchLabels": {"site": site}}}});
        write(&world, &admin, Method::PUT, stack, settings("a")).await;
        write(&world, &admin, Method::PUT, &format!("{stack}/deployment-objects"), config_map("one")).await;
        write(&world, &admin, Method::PUT, &format!("{stack}/deployment-objects"), config_map("one")).await;
        write(&world, &admin, Method::PUT, &format!("{stack}/deployment-objects"), config_map("two")).await;
        write(&world, &admin, Method::POST, &format!("{stack}/rollback"), json!({"generation": 1})).await;
        for phase in ["progressing", "applied", "healthy"] {
            let body = world.report_of(&agents[0], phase).await;
            write(&world, &agents[0].key, Method::POST, "/api/v1/agent/reports", body).await;
        }
        let mut held = world.report_of(&agents[0], "failed").await;
        let plan = format!("sha256:{}", "a".repeat(64));
        held["reports"][0]["held"] = json!({"plan": plan, "objects": 3});
        let fields = json!([{"apiVersion": "v1", "kind": "ConfigMap", "namespace": "a", "name": "b", "fields": [".data"], "outcome": "repaired"}]);
        held["reports"][0]["drift"] = fields;
        let revision = held["reports"][0]["revision"].clone();
        write(&world, &agents[0].key, Method::POST, "/api/v1/agent/reports", held).await;
        let approve = json!({"agent": "edge-0", "revision": revision, "plan": plan});
        for _ in 0..2 {
            write(&world, &admin, Method::POST, &format!("{stack}/approvals"), approve.clone()).await;
        }
        let mut policy = settings("a");
        policy["policy"] = json!({"adoption": "adopt"});
        write(&world, &admin, Method::PUT, stack, policy).await;
        write(&world, &admin, Method::PUT, &format!("{stack}/suspension"), json!({"reason": "x"})).await;
        write(&world, &admin, Method::DELETE, &format!("{stack}/suspension"), Value::Null).await;
        write(&world, &admin, Method::PUT, "/api/v1/agents/edge-1/suspension", json!({"reason": "x"})).await;
        write(&world, &admin, Method::PUT, "/api/v1/fleet/suspension", json!({"reason": "x"})).await;
        write(&world, &admin, Method::DELETE, "/api/v1/fleet/suspension", Value::Null).await;
        let tracing = json!({"settings": {"enabled": true, "sampling_rate": 1.0}, "agents": {"names": ["edge-1"]}});
        write(&world, &admin, Method::PUT, "/api/v1/tracing", tracing).await;
        let pipeline = json!({"enabled": true, "values": [], "exported": 1, "failed": 0, "dropped": 0});
        let body = json!({"revision": 1, "pipeline": pipeline});
        write(&world, &agents[0].key, Method::PUT, "/api/v1/agent/tracing", body).await;
        write(&world, &admin, Method::DELETE, "/api/v1/tracing", Value::Null).await;
        let webhook = json!({"name": "chat", "url": "https://hooks.example.com/", "settings": {"ordered": true}});
        write(&world, &admin, Method::POST, "/api/v1/webhooks", webhook).await;
        write(&world, &admin, Method::PATCH, "/api/v1/webhooks/chat", json!({"state": "disabled"})).await;
        write(&world, &admin, Method::POST, "/api/v1/webhooks/chat/rotate", json!({})).await;
        write(&world, &admin, Method::POST, "/api/v1/webhooks/chat/test", Value::Null).await;
        for replay in [json!({"failed": true}), json!({"since": "2020-01-01T00:00:00Z", "until": "2030-01-01T00:00:00Z"})] {
            write(&world, &admin, Method::POST, "/api/v1/webhooks/chat/replay", replay).await;
        }
        let by_agent = json!({"state": "enabled", "settings": {"ordered": true, "deliver_by": {"names": ["edge-0"]}}});
        write(&world, &admin, Method::PATCH, "/api/v1/webhooks/chat", by_agent).await;
        write(&world, &admin, Method::PUT, &format!("{stack}/suspension"), json!({"reason": "y"})).await;
        write(&world, &admin, Method::DELETE, &format!("{stack}/suspension"), Value::Null).await;
        while world.state.db.sequence_events().await.unwrap() > 0 {}
        // Until it is the turn of a line: the next one goes when its first ends, the webhook is disabled, and somebody hears of that.
        loop {
            let claim =
                write(&world, &agents[0].key, Method::POST, "/api/v1/agent/webhook-deliveries:claim", json!({"limit": 1})).await;
            let claimed = &claim.json["deliveries"][0];
            let in_line = claimed["type"].as_str().unwrap().starts_with("stack.");
            let (result, status) = if in_line { ("gone", 410) } else { ("success", 200) };
            let ended =
                json!({"id": claimed["id"], "token": claimed["token"], "result": result, "status": status, "latency_ms": 1});
            let report = json!({"deliveries": [ended]});
            let answer = write(&world, &agents[0].key, Method::POST, "/api/v1/agent/webhook-deliveries:report", report).await;
            assert_eq!(answer.json["results"], json!(["accepted"]));
            if in_line {
                break;
            }
        }
        for list in LISTS {
            let answer = world.get(&admin, list).await.expect(200);
            at_most(&world, &answer, 2, list);
        }
        let preview = json!({"targets": settings("b")["targets"]});
        let token = write(&world, &admin, Method::POST, &format!("{stack}/targets:preview"), preview).await.json["token"].clone();
        let mut narrowed = settings("b");
        narrowed["preview_token"] = token;
        write(&world, &admin, Method::PUT, stack, narrowed).await;
        write(&world, &admin, Method::PATCH, "/api/v1/agents/edge-2", json!({"labels": {"site": "b"}})).await;
        write(&world, &admin, Method::POST, "/api/v1/agents", json!({"name": "new", "cluster": "new", "labels": {"site": "b"}}))
            .await;
        write(&world, &admin, Method::POST, "/api/v1/agents:abandon", json!({"agent": "edge-3"})).await;
        write(&world, &admin, Method::DELETE, stack, Value::Null).await;
        let body = world.report_of(&agents[0], "deleted").await;
        write(&world, &agents[0].key, Method::POST, "/api/v1/agent/reports", body).await;
        write(&world, &admin, Method::PUT, "/api/v1/stacks/last", settings("a")).await;
        write(&world, &admin, Method::PUT, "/api/v1/stacks/empty", settings("a")).await;
        write(&world, &admin, Method::DELETE, "/api/v1/stacks/empty", Value::Null).await;
        write(&world, &admin, Method::PUT, "/api/v1/stacks/last/deployment-objects", config_map("one")).await;
        write(&world, &admin, Method::DELETE, "/api/v1/stacks/last", Value::Null).await;
        // Of the last one the deletion ends with it.
        for agent in world.get(&admin, "/api/v1/stacks/last/deployments").await.json["items"].as_array().unwrap() {
            write(&world, &admin, Method::POST, "/api/v1/agents:abandon", json!({"agent": agent["agent"]})).await;
        }
        world.get(&admin, "/api/v1/stacks/last").await.expect(404);
    })
    .await;
}
