use http::Method;
use serde_json::{Value, json};

use crate::testing::{Engine, TestAgent, World};

/// What the agent has to do, as (action, revision, generation).
async fn work(world: &World, agent: &TestAgent) -> Vec<(String, u64, u64)> {
    let desired = world.desired(agent).await.json;
    let number = |value: &Value| value.as_u64().unwrap();
    let entry = |deployment: &Value| {
        let action = deployment["action"].as_str().unwrap().to_owned();
        (action, number(&deployment["revision"]), number(&deployment["generation"]))
    };
    desired["deployments"].as_array().unwrap().iter().map(entry).collect()
}

fn entry(action: &str, revision: u64, generation: u64) -> Vec<(String, u64, u64)> {
    vec![(action.to_owned(), revision, generation)]
}

async fn relabel(world: &World, agent: &str, labels: Value) {
    let path = format!("/api/v1/agents/{agent}");
    world.call(&world.admin, Method::PATCH, &path, json!({"labels": labels})).await.expect(200);
}

#[tokio::test]
async fn the_same_content_twice_is_one_generation_and_wakes_nobody() {
    Engine::each(async |world: World| {
        let agent = world.agent("edge", json!({})).await;
        world.stack("shop", json!({})).await.expect(201);
        assert_eq!(world.apply("shop", "one").await.expect(201).json["generation"], 1);
        let before = world.desired(&agent).await;

        let again = world.apply("shop", "one").await.expect(200).json;

        assert_eq!((&again["generation"], &again["created"]), (&json!(1), &json!(false)));
        assert_eq!(world.desired(&agent).await.header("etag"), before.header("etag"));
        assert_eq!(world.apply("shop", "two").await.expect(201).json["generation"], 2);
        assert_eq!(world.apply("shop", "one").await.expect(201).json["generation"], 3, "an older content is a new generation");
        assert_eq!(work(&world, &agent).await, entry("apply", 4, 3), "revisions only grow");
    })
    .await;
}

#[tokio::test]
async fn a_deleted_stack_gives_its_name_and_content_back_when_its_agent_has_acknowledged() {
    Engine::each(async |world: World| {
        let agent = world.agent("edge", json!({})).await;
        let first = world.stack("shop", json!({})).await.expect(201).json;
        world.apply("shop", "one").await.expect(201);
        world.report_all(&agent, "applied").await.expect(200);

        world.delete(&world.admin, "/api/v1/stacks/shop").await.expect(202);
        assert_eq!(world.apply("shop", "two").await.expect(409).code(), "stack_deleting");
        assert_eq!(work(&world, &agent).await, entry("delete", 3, 1));
        assert_eq!(world.report_all(&agent, "failed").await.expect(200).json["results"], json!(["accepted"]));
        assert_eq!(work(&world, &agent).await, entry("delete", 3, 1), "the tombstone stays until it is acknowledged");
        world.report_all(&agent, "deleted").await.expect(200);

        world.get(&world.admin, "/api/v1/stacks/shop").await.expect(404);
        assert_eq!(work(&world, &agent).await, []);
        let totals = world.state.db.totals().await.unwrap();
        assert_eq!((totals.stacks, totals.deployment_objects), (0, 0));
        let second = world.stack("shop", json!({})).await.expect(201).json;
        assert_ne!(first["id"], second["id"]);
    })
    .await;
}

#[tokio::test]
async fn a_stack_that_never_reached_an_agent_goes_at_once() {
    Engine::each(async |world: World| {
        let agent = world.agent("edge", json!({})).await;
        world.stack("shop", json!({})).await.expect(201);
        world.delete(&world.admin, "/api/v1/stacks/shop").await.expect(202);
        world.get(&world.admin, "/api/v1/stacks/shop").await.expect(404);
        assert_eq!(work(&world, &agent).await, []);
    })
    .await;
}

#[tokio::test]
async fn an_agent_that_is_targeted_again_goes_on_with_the_next_revision() {
    Engine::each(async |world: World| {
        let agent = world.agent("edge", json!({"site": "a"})).await;
        world.stack("shop", json!({"site": "a"})).await.expect(201);
        world.apply("shop", "one").await.expect(201);
        world.report_all(&agent, "applied").await.expect(200);

        relabel(&world, "edge", json!({})).await;
        assert_eq!(work(&world, &agent).await, entry("withdraw", 3, 1));
        world.report_all(&agent, "deleted").await.expect(200);
        assert_eq!(work(&world, &agent).await, []);
        world.get(&world.admin, "/api/v1/stacks/shop").await.expect(200);
        relabel(&world, "edge", json!({"site": "a"})).await;

        assert_eq!(work(&world, &agent).await, entry("apply", 4, 1));
    })
    .await;
}

#[tokio::test]
async fn a_report_for_an_older_revision_changes_nothing() {
    Engine::each(async |world: World| {
        let agent = world.agent("edge", json!({})).await;
        world.stack("shop", json!({})).await.expect(201);
        world.apply("shop", "one").await.expect(201);
        let old = world.desired(&agent).await.json;
        world.apply("shop", "two").await.expect(201);
        let rollout = async || world.get(&world.admin, "/api/v1/stacks/shop/rollout").await.expect(200).json["deployments"].clone();
        let before = rollout().await;

        let deployment = &old["deployments"][0];
        let report = |stack: &Value, revision: &Value| {
            json!({"epoch": old["epoch"], "reports": [{"stack_id": stack, "revision": revision, "phase": "applied", "attempt": 1}]})
        };
        let stale = report(&deployment["stack_id"], &deployment["revision"]);
        let answer = world.post(&agent.key, "/api/v1/agent/reports", stale).await.expect(200);
        assert_eq!(answer.json["results"], json!(["stale"]));
        let unknown = report(&json!(agent.id), &json!(1));
        let answer = world.post(&agent.key, "/api/v1/agent/reports", unknown).await.expect(200);
        assert_eq!(answer.json["results"], json!(["unknown"]));

        assert_eq!(rollout().await, before);
    })
    .await;
}
