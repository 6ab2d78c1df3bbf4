use std::time::Duration;

use brokkr_api::Timestamp;
use serde_json::{Value, json};

use crate::{
    jobs::{Job, Round, offline::Offline},
    testing::{Engine, World},
};

async fn events(world: &World, key: &str, query: &str) -> Value {
    while world.state.db.sequence_events().await.unwrap() > 0 {}
    world.get(key, &format!("/api/v1/events{query}")).await.expect(200).json
}

fn kinds(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn events_are_read_on_from_a_position_without_a_hole() {
    Engine::each(async |world: World| {
        let moment = Duration::from_millis(1);
        let agent = world.agent("edge", json!({})).await;
        world.clock.advance(moment);
        world.stack("shop", json!({})).await.expect(201);
        world.clock.advance(moment);
        world.apply("shop", "one").await.expect(201);
        world.clock.advance(moment);
        world.report_all(&agent, "applied").await.expect(200);

        let first = events(&world, &world.admin, "?limit=2").await;
        assert_eq!((kinds(&first), &first["more"]), (vec!["agent.created", "stack.created"], &json!(true)));
        let rest = events(&world, &world.admin, &format!("?after={}", first["next_after"])).await;
        assert_eq!(kinds(&rest), ["deployment_object.created", "deployment.applied"]);
        let positions: Vec<_> = first["items"].as_array().unwrap().iter().chain(rest["items"].as_array().unwrap()).collect();
        let positions: Vec<_> = positions.iter().map(|event| event["position"].as_u64().unwrap()).collect();
        assert_eq!(positions, [1, 2, 3, 4]);
        assert_eq!(rest["items"][1]["trace_id"].as_str().unwrap().len(), 32);
        let end = events(&world, &world.admin, &format!("?after={}", rest["next_after"])).await;
        assert_eq!((&end["items"], &end["next_after"], &end["more"]), (&json!([]), &rest["next_after"], &json!(false)));

        assert_eq!(kinds(&events(&world, &world.admin, "?type=deployment.applied").await), ["deployment.applied"]);
        assert_eq!(kinds(&events(&world, &world.admin, "?type=stack.").await), ["stack.created"]);
        assert_eq!(kinds(&events(&world, &world.admin, "?agent=edge&stack=shop").await), ["deployment.applied"]);
        world.get(&world.admin, "/api/v1/events?type=Nonsense!").await.expect(400);
        world.get(&world.admin, "/api/v1/events?after=18446744073709551615").await.expect(400);
    })
    .await;
}

#[tokio::test]
async fn a_generator_sees_the_events_of_its_own_stacks_alone() {
    Engine::each(async |world: World| {
        let (mine, yours) = (world.generator("mine").await, world.generator("yours").await);
        for key in [&mine, &yours] {
            world.put(key, "/api/v1/stacks/shop", json!({"labels": {}, "targets": {}})).await.expect(201);
        }
        let seen = events(&world, &mine, "").await;
        let own = world.get(&mine, "/api/v1/stacks/shop").await.expect(200).json;
        assert_eq!(kinds(&seen), ["stack.created"]);
        assert_eq!(seen["items"][0]["stack_id"], own["id"]);
        let theirs = world.get(&yours, "/api/v1/stacks/shop").await.expect(200).json;
        let asked = events(&world, &mine, &format!("?stack={}", theirs["id"].as_str().unwrap())).await;
        assert_eq!(asked["items"], json!([]), "not even by its id");
    })
    .await;
}

#[tokio::test]
async fn the_audit_log_says_who_did_what_to_which_resource_in_which_request() {
    Engine::each(async |world: World| {
        let mine = world.generator("mine").await;
        world.put(&mine, "/api/v1/stacks/shop", json!({"labels": {}, "targets": {}})).await.expect(201);
        let answer =
            world.put(&mine, "/api/v1/stacks/shop/deployment-objects", crate::testing::config_map("hunter2")).await.expect(201);
        world.get(&mine, "/api/v1/audit").await.expect(403);

        let page = world.get(&world.admin, "/api/v1/audit?resource_kind=stack").await.expect(200).json;
        let entries = page["items"].as_array().unwrap();
        let actions: Vec<_> = entries.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
        assert_eq!(actions, ["deployment_object.created", "stack.created"], "the newest first");
        let entry = &entries[0];
        assert_eq!(
            (&entry["actor"], &entry["role"], &entry["outcome"]),
            (&json!("mine"), &json!("generator"), &json!("success"))
        );
        assert_eq!(entry["resource_name"], "shop");
        assert_eq!(entry["request_id"], answer.header("x-request-id"));
        assert_eq!(entry["trace_id"], answer.header("x-trace-id"));
        assert!(!page.to_string().contains("hunter2"));

        let denied = world.get(&world.admin, "/api/v1/audit?action=request.denied").await.expect(200).json;
        assert_eq!(denied["items"][0]["outcome"], "denied");
        assert_eq!(denied["items"][0]["resource_name"], "GET /api/v1/audit");
        let paged = world.get(&world.admin, "/api/v1/audit?limit=1").await.expect(200).json;
        let next =
            world.get(&world.admin, &format!("/api/v1/audit?limit=1&cursor={}", paged["next_cursor"].as_str().unwrap())).await;
        assert_ne!(next.expect(200).json["items"], paged["items"]);
    })
    .await;
}

fn offline(world: &World) -> Offline {
    let state = &world.state;
    Offline { db: state.db.clone(), clock: state.clock.clone(), ids: state.ids.clone(), active: state.settings.active }
}

async fn round(world: &World, undisturbed: u64) {
    offline(world).round(Round { undisturbed: Duration::from_secs(undisturbed) }).await.unwrap();
}

#[tokio::test]
async fn an_agent_that_misses_its_polls_is_told_of_once_and_so_is_its_return() {
    Engine::each(async |world: World| {
        let agent = world.agent("edge", json!({})).await;
        world.agent("never-connected", json!({})).await;
        world.desired(&agent).await;
        world.state.presence.flush(&world.state.db).await.unwrap();
        let told = async || {
            let page = events(&world, &world.admin, "?type=agent.").await;
            kinds(&page).iter().filter(|kind| **kind != "agent.created").map(|kind| (*kind).to_owned()).collect::<Vec<_>>()
        };
        world.clock.advance(Duration::from_secs(60));
        round(&world, 1_000).await;
        assert_eq!(told().await, [""; 0], "it has time until 75 s");
        world.clock.advance(Duration::from_secs(16));
        round(&world, 30).await;
        assert_eq!(told().await, [""; 0], "the broker itself was away a moment ago");
        round(&world, 1_000).await;
        round(&world, 1_000).await;
        assert_eq!(told().await, ["agent.offline"]);
        assert!(world.get(&world.admin, "/api/v1/agents/edge").await.expect(200).json["offline_since"].is_string());

        world.desired(&agent).await;
        world.state.presence.flush(&world.state.db).await.unwrap();
        round(&world, 0).await;
        assert_eq!(told().await, ["agent.offline", "agent.online"]);
        let listed = world.get(&world.admin, "/api/v1/agents?online=true").await.expect(200).json;
        assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn what_is_old_enough_goes_and_the_history_keeps_its_depth() {
    Engine::each(async |world: World| {
        let agent = world.agent("edge", json!({})).await;
        world.stack("shop", json!({})).await.expect(201);
        for value in ["one", "two", "three", "four", "five"] {
            world.apply("shop", value).await.expect(201);
        }
        let db = &world.state.db;
        let later = Timestamp::from_micros(world.state.clock.now().as_micros() + 1);
        assert_eq!(db.prune_history(2, world.state.clock.now(), 100).await.unwrap(), 0, "they are too young");
        assert_eq!(db.prune_history(2, later, 100).await.unwrap(), 2);
        assert_eq!(db.prune_history(2, later, 100).await.unwrap(), 0);
        let kept = world.get(&world.admin, "/api/v1/stacks/shop/deployment-objects").await.expect(200).json;
        let generations: Vec<_> =
            kept["items"].as_array().unwrap().iter().map(|object| object["generation"].as_u64().unwrap()).collect();
        assert_eq!(generations, [5, 4, 3]);
        world.get(&world.admin, "/api/v1/stacks/shop/deployment-objects/1").await.expect(404);
        assert_eq!(world.desired(&agent).await.json["deployments"][0]["content"][0]["data"]["key"], "five");

        assert_eq!(db.prune_events(later, 100).await.unwrap(), 0, "what has no position was never read");
        let before = events(&world, &world.admin, "").await["items"].as_array().unwrap().len() as u64;
        assert_eq!(db.prune_events(later, 100).await.unwrap(), before);
        assert!(db.prune_audit(later, 100).await.unwrap() > 0);
        assert_eq!(world.get(&world.admin, "/api/v1/audit").await.expect(200).json["items"], json!([]));
    })
    .await;
}
