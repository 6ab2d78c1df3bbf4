use serde_json::{Value, json};

use super::ends;
use crate::testing::{Engine, TestAgent, World};

/// An agent that has read the first generation of a stack, and what its next poll knows.
async fn settled(world: &World) -> (TestAgent, String) {
    let agent = world.agent("edge", json!({})).await;
    world.stack("shop", json!({})).await.expect(201);
    world.apply("shop", "one").await.expect(201);
    let etag = world.desired(&agent).await.header("etag").to_owned();
    // Until the feed has caught up, a poll cannot know whether it is the newest.
    (agent, etag)
}

#[tokio::test]
async fn a_poll_that_finds_nothing_new_runs_no_sql() {
    Engine::each(async |world: World| {
        let (agent, etag) = settled(&world).await;
        let answer = world.poll(&agent, &etag, "0s").await.expect(304);
        assert_eq!(world.statements(&answer), [""; 0]);
        let news = world.desired(&agent).await;
        assert_eq!(world.statements(&news), ["READ_DESIRED"]);
    })
    .await;
}

#[tokio::test]
async fn a_change_wakes_the_agents_that_it_concerns() {
    Engine::each(async |world: World| {
        let (agent, etag) = settled(&world).await;
        let (news, _) = ends(async { futures::join!(world.poll(&agent, &etag, "30s"), world.apply("shop", "two")) }).await;
        let news = news.expect(200);
        assert_eq!(news.json["deployments"][0]["generation"], 2);
        assert_ne!(news.header("etag"), etag);

        let etag = news.header("etag").to_owned();
        world.stack("elsewhere", json!({"site": "nowhere"})).await.expect(201);
        world.apply("elsewhere", "one").await.expect(201);
        world.poll(&agent, &etag, "0s").await.expect(304);
    })
    .await;
}

#[tokio::test]
async fn a_change_made_on_another_broker_wakes_the_agents_of_this_one() {
    let world = World::start(Engine::Postgres).await;
    let (agent, etag) = settled(&world).await;
    let other = world.replica().await;
    let (news, _) = ends(async { futures::join!(world.poll(&agent, &etag, "30s"), other.apply("shop", "two")) }).await;
    assert_eq!(news.expect(200).json["deployments"][0]["generation"], 2);
}

#[tokio::test]
async fn a_parked_poll_ends_when_its_key_is_revoked() {
    Engine::each(async |world: World| {
        let (agent, etag) = settled(&world).await;
        let keys = world.get(&world.admin, "/api/v1/keys").await.json;
        let of_agent = |key: &&Value| key["role"] == "agent";
        let id = keys["items"].as_array().unwrap().iter().find(of_agent).unwrap()["id"].as_str().unwrap().to_owned();
        let revoke = format!("/api/v1/keys/{id}");
        let (answer, _) =
            ends(async { futures::join!(world.poll(&agent, &etag, "30s"), world.delete(&world.admin, &revoke)) }).await;
        assert_eq!(answer.expect(401).code(), "unauthenticated");
    })
    .await;
}

#[tokio::test]
async fn a_broker_that_drains_lets_parked_polls_go() {
    let world = World::start(Engine::Sqlite).await;
    let (agent, etag) = settled(&world).await;
    let (answer, ()) = ends(async { futures::join!(world.poll(&agent, &etag, "30s"), async { world.drain() }) }).await;
    answer.expect(304);
    let ready = world.get("", "/readyz").await.expect(503);
    assert_eq!(ready.json["ready"], false);
    world.get("", "/healthz").await.expect(200);
}

#[tokio::test]
async fn what_an_agent_knows_of_another_epoch_counts_for_nothing() {
    let world = World::start(Engine::Sqlite).await;
    let (agent, etag) = settled(&world).await;
    let seq = etag.trim_matches('"').split_once('.').unwrap().1.to_owned();
    for unknown in [format!("\"older.{seq}\""), "\"\"".to_owned(), "*".to_owned()] {
        let answer = ends(world.poll(&agent, &unknown, "30s")).await.expect(200);
        assert_eq!(answer.header("etag"), etag);
        assert_eq!(answer.json["deployments"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn waiting_for_a_rollout_ends_with_the_report_that_finishes_it() {
    let world = World::start(Engine::Sqlite).await;
    let (agent, _) = settled(&world).await;
    let path = "/api/v1/stacks/shop/rollout?wait=30s";
    let (rollout, _) = ends(async { futures::join!(world.get(&world.admin, path), world.report_all(&agent, "applied")) }).await;
    let rollout = rollout.expect(200).json;
    assert_eq!((&rollout["done"], &rollout["finished"], &rollout["total"]), (&json!(true), &json!(1), &json!(1)));
}
