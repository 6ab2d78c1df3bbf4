use serde_json::json;

use crate::testing::{Engine, TestAgent, World};

async fn fetch(world: &World, agent: &TestAgent, of: &serde_json::Value) -> crate::testing::Answer {
    let text = |key: &str| of[key].as_str().unwrap().to_owned();
    world.get(&agent.key, &format!("/api/v1/agent/stacks/{}/content/{}", text("stack_id"), text("digest"))).await
}

#[tokio::test]
async fn content_goes_to_the_agents_that_have_the_deployment_and_to_no_other() {
    Engine::each(async |world: World| {
        let inside = world.agent("inside", json!({"site": "a"})).await;
        let outside = world.agent("outside", json!({"site": "b"})).await;
        world.stack("shop", json!({"site": "a"})).await.expect(201);
        world.apply("shop", "one").await.expect(201);
        let deployment = world.desired(&inside).await.json["deployments"][0].clone();

        let answer = fetch(&world, &inside, &deployment).await.expect(200);
        assert_eq!(answer.json[0]["data"]["key"], "one");
        assert!(answer.header("cache-control").contains("private"), "{}", answer.header("cache-control"));
        assert_eq!(fetch(&world, &outside, &deployment).await.expect(404).code(), "not_found");
        assert_eq!(world.desired(&outside).await.json["deployments"], json!([]));

        world.apply("shop", "two").await.expect(201);
        fetch(&world, &inside, &deployment).await.expect(404);
    })
    .await;
}

#[tokio::test]
async fn small_content_comes_along_until_it_is_acknowledged_and_large_content_is_fetched() {
    Engine::each(async |world: World| {
        let agent = world.agent("edge", json!({})).await;
        world.stack("shop", json!({})).await.expect(201);
        let deployment = async || world.desired(&agent).await.json["deployments"][0].clone();

        world.apply("shop", "small").await.expect(201);
        assert_eq!(deployment().await["content"][0]["data"]["key"], "small");
        world.report_all(&agent, "applied").await.expect(200);
        assert_eq!(deployment().await["content"], json!(null));

        let large = "x".repeat(70_000);
        world.apply("shop", &large).await.expect(201);
        let entry = deployment().await;
        assert_eq!(entry["content"], json!(null));
        assert_eq!(fetch(&world, &agent, &entry).await.expect(200).json[0]["data"]["key"], large);
    })
    .await;
}

#[tokio::test]
async fn at_most_a_mebibyte_of_content_comes_along() {
    Engine::each(async |world: World| {
        let agent = world.agent("edge", json!({})).await;
        let content = "x".repeat(60_000);
        for number in 0..20 {
            let name = format!("stack-{number}");
            world.stack(&name, json!({})).await.expect(201);
            world.apply(&name, &content).await.expect(201);
        }
        let desired = world.desired(&agent).await.json;
        let deployments = desired["deployments"].as_array().unwrap();
        let (inline, left): (Vec<_>, Vec<_>) = deployments.iter().partition(|one| one["content"].is_array());
        assert_eq!((inline.len(), left.len()), (17, 3), "17 of 60 kB are as much as fits");
        for deployment in left {
            fetch(&world, &agent, deployment).await.expect(200);
        }
    })
    .await;
}

#[tokio::test]
async fn an_agents_key_stays_in_the_cluster_where_it_was_first_used() {
    Engine::each(async |world: World| {
        let agent = world.agent("edge", json!({})).await;
        let hello = |uid: &str| json!({"cluster_uid": uid, "version": "1", "kubernetes_version": "v1.36.3"});
        for _ in 0..2 {
            let welcome = world.put(&agent.key, "/api/v1/agent/cluster", hello("here")).await.expect(200).json;
            assert_eq!((&welcome["agent"], &welcome["agent_id"]), (&json!("edge"), &json!(agent.id)));
        }
        let answer = world.put(&agent.key, "/api/v1/agent/cluster", hello("there")).await.expect(409);
        assert_eq!(answer.code(), "cluster_mismatch");
    })
    .await;
}
