use http::Method;
use serde_json::{Value, json};

use crate::testing::{Answer, Engine, World, config_map, request};

const OBJECTS: &str = "/api/v1/stacks/shop/deployment-objects";
const ROLLBACK: &str = "/api/v1/stacks/shop/rollback";

async fn send_with_key(world: &World, key: &str, body: &Value) -> Answer {
    let mut request = request(&world.admin, Method::PUT, OBJECTS, body);
    request.headers_mut().insert("idempotency-key", key.parse().unwrap());
    world.send(request).await
}

fn secret(value: &str) -> Value {
    json!([{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "shop"}, "stringData": {"password": value}}])
}

#[tokio::test]
async fn a_rollback_is_a_new_generation_with_old_content() {
    Engine::each(async |world: World| {
        let agent = world.agent("edge", json!({})).await;
        world.stack("shop", json!({})).await.expect(201);
        let first = world.apply("shop", "one").await.expect(201).json;
        world.apply("shop", "two").await.expect(201);

        let back = world.post(&world.admin, ROLLBACK, json!({})).await.expect(201).json;

        assert_eq!((&back["generation"], &back["rollback_to"], &back["digest"]), (&json!(3), &json!(1), &first["digest"]));
        let desired = world.desired(&agent).await.json;
        assert_eq!(desired["deployments"][0]["content"][0]["data"]["key"], "one");
        assert_eq!(world.get(&world.admin, &format!("{OBJECTS}/3")).await.expect(200).json, config_map("one"));

        let same = world.post(&world.admin, ROLLBACK, json!({"generation": 1})).await.expect(200).json;
        assert_eq!((&same["generation"], &same["created"]), (&json!(3), &json!(false)), "that is what it is already");
        assert_eq!(world.post(&world.admin, ROLLBACK, json!({"generation": 9})).await.expect(404).code(), "not_found");
    })
    .await;
}

#[tokio::test]
async fn a_request_with_the_same_idempotency_key_is_answered_with_what_the_first_one_made() {
    Engine::each(async |world: World| {
        world.stack("shop", json!({})).await.expect(201);
        let first = send_with_key(&world, "run-7", &config_map("one")).await.expect(201).json;
        send_with_key(&world, "run-8", &config_map("two")).await.expect(201);

        let again = send_with_key(&world, "run-7", &config_map("one")).await.expect(200).json;

        assert_eq!((&again["id"], &again["generation"], &again["created"]), (&first["id"], &json!(1), &json!(false)));
        let other = send_with_key(&world, "run-7", &config_map("three")).await.expect(422);
        assert_eq!((other.code(), other.json["place"].as_str()), ("idempotency_mismatch", Some("header Idempotency-Key")));
        assert_eq!(world.get(&world.admin, "/api/v1/stacks/shop").await.expect(200).json["generation"], 2, "nothing rolled");
        assert_eq!(send_with_key(&world, "", &config_map("x")).await.expect(400).code(), "invalid_header");
    })
    .await;
}

#[tokio::test]
async fn of_many_requests_with_one_idempotency_key_one_makes_a_generation() {
    Engine::each(async |world: World| {
        world.stack("shop", json!({})).await.expect(201);
        let body = config_map("one");
        let answers = futures::future::join_all((0..8).map(|_| send_with_key(&world, "run-7", &body))).await;
        let created: Vec<_> = answers.iter().filter(|answer| answer.json["created"] == true).collect();
        assert_eq!(created.len(), 1);
        assert!(answers.iter().all(|answer| answer.json["generation"] == 1), "{answers:?}");
    })
    .await;
}

#[tokio::test]
async fn content_with_secrets_is_sealed_in_the_database_and_plain_for_those_who_may_have_it() {
    Engine::each(async |world: World| {
        let agent = world.agent("edge", json!({})).await;
        world.stack("shop", json!({})).await.expect(201);
        let made = world.put(&world.admin, OBJECTS, secret("hunter2")).await.expect(201).json;
        assert_eq!(made["encrypted"], true);
        let id = made_stack(&world).await;
        let (_, stored) = world.state.db.read_content(id, 1).await.unwrap().unwrap();
        assert_eq!(stored.encryption_key.as_deref(), Some("test"));
        assert!(!stored.body.windows(7).any(|window| window == b"hunter2"));

        assert_eq!(world.get(&world.admin, &format!("{OBJECTS}/1")).await.expect(200).json, secret("hunter2"));
        let desired = world.desired(&agent).await.json;
        assert_eq!(desired["deployments"][0]["content"][0]["stringData"]["password"], "hunter2");
        let digest = made["digest"].as_str().unwrap();
        let content = world.get(&agent.key, &format!("/api/v1/agent/stacks/{id}/content/{digest}")).await.expect(200);
        assert_eq!(content.json, secret("hunter2"));

        let plain = world.apply("shop", "one").await.expect(201).json;
        assert_eq!(plain["encrypted"], false);
        let back = world.post(&world.admin, ROLLBACK, json!({"generation": 1})).await.expect(201).json;
        assert_eq!(back["encrypted"], true);
    })
    .await;
}

async fn made_stack(world: &World) -> brokkr_api::StackId {
    let stack = world.get(&world.admin, "/api/v1/stacks/shop").await.expect(200).json;
    stack["id"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn without_a_key_secrets_are_refused_and_everything_else_is_not() {
    Engine::each(async |mut world: World| {
        world.forget_keys();
        world.stack("shop", json!({})).await.expect(201);
        let refused = world.put(&world.admin, OBJECTS, secret("hunter2")).await.expect(422);
        assert_eq!(refused.code(), "encryption_key_missing");
        assert!(refused.json["detail"].as_str().unwrap().contains("encryption.keys_file"), "{}", refused.json);
        assert_eq!(world.get(&world.admin, "/api/v1/stacks/shop").await.expect(200).json["generation"], 0);
        world.apply("shop", "one").await.expect(201);
    })
    .await;
}
