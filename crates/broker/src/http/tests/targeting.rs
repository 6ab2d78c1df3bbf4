use http::Method;
use serde_json::{Value, json};

use crate::testing::{Engine, World};

async fn fleet(world: &World, count: usize) {
    for number in 0..count {
        world.agent(&format!("edge-{number}"), json!({"site": format!("s{number}"), "region": "eu"})).await;
    }
}

fn everybody_in(region: &str) -> Value {
    json!({"labels": {"matchLabels": {"region": region}}})
}

fn named(names: &[&str]) -> Value {
    json!({"names": names})
}

async fn put(world: &World, targets: Value, token: Option<&str>) -> crate::testing::Answer {
    let mut body = json!({"labels": {}, "targets": targets});
    if let Some(token) = token {
        body["preview_token"] = json!(token);
    }
    world.put(&world.admin, "/api/v1/stacks/shop", body).await
}

async fn preview(world: &World, targets: Value) -> Value {
    let path = "/api/v1/stacks/shop/targets:preview";
    world.post(&world.admin, path, json!({"targets": targets})).await.expect(200).json
}

#[tokio::test]
async fn a_preview_tells_who_gains_and_who_loses_and_changes_nothing() {
    Engine::each(async |world: World| {
        fleet(&world, 4).await;
        put(&world, named(&["edge-0", "edge-1"]), None).await.expect(201);
        let told = preview(&world, named(&["edge-1", "edge-2"])).await;
        assert_eq!((&told["gains"], &told["loses"]), (&json!(["edge-2"]), &json!(["edge-0"])));
        assert_eq!((&told["gained"], &told["lost"], &told["kept"]), (&json!(1), &json!(1), &json!(1)));
        assert_eq!(told["needs_token"], false, "one agent is not many");
        let stack = world.get(&world.admin, "/api/v1/stacks/shop").await.expect(200).json;
        assert_eq!(stack["targets"], named(&["edge-0", "edge-1"]));
    })
    .await;
}

#[tokio::test]
async fn what_takes_a_stack_from_many_agents_needs_the_token_of_a_preview_of_exactly_that() {
    Engine::each(async |world: World| {
        fleet(&world, 8).await;
        put(&world, everybody_in("eu"), None).await.expect(201);
        world.apply("shop", "one").await.expect(201);

        let refused = put(&world, everybody_in("us"), None).await.expect(409);
        assert_eq!((refused.code(), refused.json["place"].as_str()), ("preview_required", Some("preview_token")));
        assert!(refused.json["detail"].as_str().unwrap().contains("8 of 8"), "{}", refused.json);

        let token_for_another = preview(&world, named(&["edge-0"])).await["token"].as_str().unwrap().to_owned();
        assert_eq!(put(&world, everybody_in("us"), Some(&token_for_another)).await.expect(409).code(), "preview_required");

        let told = preview(&world, everybody_in("us")).await;
        assert_eq!((&told["lost"], &told["needs_token"]), (&json!(8), &json!(true)));
        let token = told["token"].as_str().unwrap();
        world.agent("edge-8", json!({"region": "eu"})).await;
        let stale = put(&world, everybody_in("us"), Some(token)).await.expect(409);
        assert_eq!(stale.code(), "preview_required", "nine agents lose it now, and nobody has looked at that");

        let token = preview(&world, everybody_in("us")).await["token"].as_str().unwrap().to_owned();
        let changed = put(&world, everybody_in("us"), Some(&token)).await.expect(200).json;
        assert_eq!(changed["agents"], 9, "the tombstones are not acknowledged yet");
        let deployments = world.get(&world.admin, "/api/v1/stacks/shop/deployments").await.expect(200).json;
        let actions: Vec<_> = deployments["items"].as_array().unwrap().iter().map(|item| item["action"].clone()).collect();
        assert_eq!(actions, vec![json!("withdraw"); 9]);
    })
    .await;
}

#[tokio::test]
async fn a_change_of_a_stack_that_nobody_expects_is_refused_by_its_etag() {
    Engine::each(async |world: World| {
        let made = put(&world, named(&[]), None).await.expect(201);
        let first = made.header("etag").to_owned();
        assert_eq!(world.get(&world.admin, "/api/v1/stacks/shop").await.header("etag"), first);
        let applied = world.apply("shop", "one").await.expect(201);
        let second = applied.header("etag").to_owned();
        assert_ne!(first, second, "a new generation is a new version");

        let body = json!({"labels": {"team": "a"}, "targets": {}});
        let send = |etag: &str, method: Method, path: &str, body: &Value| {
            let mut request = crate::testing::request(&world.admin, method, path, body);
            request.headers_mut().insert("if-match", etag.parse().unwrap());
            world.send(request)
        };
        let stack = "/api/v1/stacks/shop";
        let objects = "/api/v1/stacks/shop/deployment-objects";
        for (method, path, body) in [
            (Method::PUT, stack, &body),
            (Method::PUT, objects, &crate::testing::config_map("two")),
            (Method::DELETE, stack, &Value::Null),
            (Method::POST, "/api/v1/stacks/shop/rollback", &json!({"generation": 1})),
        ] {
            assert_eq!(send(&first, method.clone(), path, body).await.code(), "precondition_failed", "{method} {path}");
        }
        assert_eq!(send("shop", Method::PUT, stack, &body).await.expect(400).code(), "invalid_header");
        let third = send(&second, Method::PUT, stack, &body).await.expect(200).header("etag").to_owned();
        send(&third, Method::PUT, objects, &crate::testing::config_map("two")).await.expect(201);
        assert_eq!(send(&third, Method::PUT, "/api/v1/stacks/new", &body).await.code(), "precondition_failed", "there is none");
    })
    .await;
}

#[tokio::test]
async fn whoever_is_no_generator_addresses_the_stacks_of_generators_by_their_id() {
    Engine::each(async |world: World| {
        let (mine, yours) = (world.generator("mine").await, world.generator("yours").await);
        let settings = json!({"labels": {"tier": "gold"}, "targets": {}});
        let id =
            world.put(&yours, "/api/v1/stacks/shop", settings.clone()).await.expect(201).json["id"].as_str().unwrap().to_owned();
        world.put(&mine, "/api/v1/stacks/house", json!({"labels": {}, "targets": {}})).await.expect(201);
        let by_id = format!("/api/v1/stacks/{id}");
        assert_eq!(world.get(&world.admin, &by_id).await.expect(200).json["name"], "shop");
        world.get(&world.admin, "/api/v1/stacks/shop").await.expect(404);
        world.get(&mine, &by_id).await.expect(404);
        world.get(&yours, &by_id).await.expect(200);
        assert_eq!(
            world.put(&world.admin, "/api/v1/stacks/00000000-0000-7000-8000-000000000000", settings).await.expect(404).code(),
            "not_found"
        );

        let listed = |answer: crate::testing::Answer| {
            let items = answer.expect(200).json["items"].as_array().unwrap().clone();
            items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(listed(world.get(&world.admin, "/api/v1/stacks?generator=yours").await), ["shop"]);
        assert_eq!(listed(world.get(&world.admin, "/api/v1/stacks?label=tier=gold").await), ["shop"]);
        assert_eq!(listed(world.get(&world.admin, "/api/v1/stacks?label=tier=tin").await), [""; 0]);
        assert_eq!(world.get(&world.admin, "/api/v1/stacks?label=tier").await.expect(400).code(), "invalid_query");
    })
    .await;
}
