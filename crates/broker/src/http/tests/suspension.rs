use http::{Method, header};
use serde_json::{Value, json};

use crate::testing::{Engine, TestAgent, World, request};

const STACK: &str = "/api/v1/stacks/shop/suspension";
const AGENT: &str = "/api/v1/agents/edge/suspension";
const FLEET: &str = "/api/v1/fleet/suspension";

async fn started(world: &World) -> TestAgent {
    let agent = world.agent("edge", json!({})).await;
    world.stack("shop", json!({})).await.expect(201);
    world.apply("shop", "one").await.expect(201);
    agent
}

async fn deployment(world: &World) -> Value {
    world.get(&world.admin, "/api/v1/stacks/shop/deployments/edge").await.expect(200).json
}

#[tokio::test]
async fn whatever_is_suspended_the_agent_is_told_at_once_and_everyone_sees_why() {
    Engine::each(async |world: World| {
        let agent = started(&world).await;
        for (path, scope) in [(STACK, "stack"), (AGENT, "agent"), (FLEET, "fleet")] {
            let before = world.desired(&agent).await;
            assert_eq!(before.json["deployments"][0]["suspended"], Value::Null);
            let parked = world.poll(&agent, before.header("etag"), "30s");
            let suspend = world.put(&world.admin, path, json!({"reason": "freeze until Monday"}));
            let (woken, suspended) = futures::join!(parked, suspend);
            suspended.expect(200);

            let told = &woken.expect(200).json["deployments"][0];
            assert_eq!(told["suspended"]["scope"], scope);
            assert_eq!(told["suspended"]["reason"], "freeze until Monday");
            assert_eq!(told["suspended"]["by"], "first-admin");
            assert_eq!(told["revision"], before.json["deployments"][0]["revision"], "no revision is new");
            let seen = deployment(&world).await;
            assert_eq!((&seen["phase"], &seen["suspended"]["scope"]), (&json!("suspended"), &json!(scope)));
            let waiting = seen["waiting_for"].as_str().unwrap();
            assert!(waiting.contains("first-admin suspended: freeze until Monday"), "{waiting}");
            let rollout = world.get(&world.admin, "/api/v1/stacks/shop/rollout").await.expect(200).json;
            assert_eq!((&rollout["suspended"], &rollout["phases"]), (&json!(1), &json!({"suspended": 1})));

            world.delete(&world.admin, path).await.expect(200);
            assert_eq!(deployment(&world).await["phase"], "pending");
        }
        assert_eq!(world.desired(&agent).await.json["deployments"][0]["suspended"], Value::Null);
    })
    .await;
}

#[tokio::test]
async fn of_several_suspensions_the_widest_is_told_and_each_is_resumed_by_itself() {
    Engine::each(async |world: World| {
        let agent = started(&world).await;
        for path in [STACK, AGENT, FLEET] {
            world.put(&world.admin, path, json!({"reason": "stop"})).await.expect(200);
        }
        for (path, left) in [(FLEET, json!("agent")), (AGENT, json!("stack")), (STACK, Value::Null)] {
            world.delete(&world.admin, path).await.expect(200);
            assert_eq!(world.desired(&agent).await.json["deployments"][0]["suspended"]["scope"], left);
        }
    })
    .await;
}

#[tokio::test]
async fn a_suspended_stack_takes_changes_and_its_deletion_and_holds_them() {
    Engine::each(async |world: World| {
        let agent = started(&world).await;
        world.report_all(&agent, "applied").await.expect(200);
        world.put(&world.admin, STACK, json!({"reason": "stop"})).await.expect(200);
        assert_eq!(deployment(&world).await["phase"], "applied", "what is finished is finished");
        world.apply("shop", "two").await.expect(201);
        assert_eq!(deployment(&world).await["phase"], "suspended");
        world.delete(&world.admin, "/api/v1/stacks/shop").await.expect(202);
        let held = &world.desired(&agent).await.json["deployments"][0];
        assert_eq!((&held["action"], &held["suspended"]["reason"]), (&json!("delete"), &json!("stop")));
        world.delete(&world.admin, STACK).await.expect(200);
        assert_eq!(world.desired(&agent).await.json["deployments"][0]["suspended"], Value::Null);
    })
    .await;
}

#[tokio::test]
async fn an_agent_that_does_not_know_suspension_is_not_told_of_what_is_suspended() {
    Engine::each(async |world: World| {
        let agent = started(&world).await;
        world.put(&world.admin, STACK, json!({"reason": "stop"})).await.expect(200);
        let mut old = request(&agent.key, Method::GET, "/api/v1/agent/desired-state", &Value::Null);
        old.headers_mut().insert(brokkr_api::PROTOCOL_HEADER, "1".parse().unwrap());
        assert_eq!(world.send(old).await.expect(200).json["deployments"], json!([]), "what is not named is left alone");
    })
    .await;
}

#[tokio::test]
async fn a_reason_is_needed_and_short() {
    let world = World::start(Engine::Sqlite).await;
    started(&world).await;
    for reason in [String::new(), "  ".to_owned(), "x".repeat(257), "a\u{0}b".to_owned()] {
        let answer = world.put(&world.admin, STACK, json!({"reason": reason})).await.expect(400);
        assert_eq!((answer.code(), answer.json["place"].as_str()), ("invalid_field", Some("reason")));
    }
}

#[tokio::test]
async fn an_abandoned_agent_lets_stacks_finish_and_gives_its_name_back() {
    Engine::each(async |world: World| {
        let agent = started(&world).await;
        world.report_all(&agent, "applied").await.expect(200);
        world.delete(&world.admin, "/api/v1/stacks/shop").await.expect(202);
        world.agent("other", json!({})).await;
        world.stack("house", json!({})).await.expect(201);

        let gone = world.post(&world.admin, "/api/v1/agents:abandon", json!({"agent": "edge"})).await.expect(200).json;

        assert_eq!(gone["orphaned"], 2);
        world.get(&world.admin, "/api/v1/stacks/shop").await.expect(404);
        let house = world.get(&world.admin, "/api/v1/stacks/house/deployments").await.expect(200).json;
        let phases: Vec<_> =
            house["items"].as_array().unwrap().iter().map(|item| (item["agent"].clone(), item["phase"].clone())).collect();
        assert!(phases.contains(&(json!("edge"), json!("orphaned"))), "{phases:?}");
        super::ends(async {
            while world.get(&agent.key, "/api/v1/agent/desired-state").await.status != 401 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        world.get(&world.admin, "/api/v1/agents/edge").await.expect(404);
        let again = world.agent("edge", json!({})).await;
        assert_ne!(again.id, agent.id);
        world.post(&world.admin, "/api/v1/agents:abandon", json!({"agent": "nobody"})).await.expect(404);
    })
    .await;
}

#[tokio::test]
async fn an_agent_that_knows_more_than_the_database_proves_that_it_was_restored() {
    Engine::each(async |world: World| {
        let agent = started(&world).await;
        let etag = world.desired(&agent).await.header("etag").to_owned();
        let (epoch, seq) = etag.trim_matches('"').split_once('.').unwrap();
        let ahead = format!("\"{epoch}.{}\"", seq.parse::<u64>().unwrap() + 100);
        let refused = world.poll(&agent, &ahead, "0s").await.expect(503);
        assert_eq!((refused.code(), refused.header(header::RETRY_AFTER)), ("database_restored", "2"));
        let ready = world.get("", "/readyz").await.expect(200).json;
        assert_eq!(ready["checks"]["database"]["ok"], false, "{ready}");
        world.poll(&agent, &etag, "0s").await.expect(304);
    })
    .await;
}
