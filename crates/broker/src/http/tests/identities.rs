use std::{collections::BTreeMap, time::Duration};

use http::Method;
use serde_json::{Value, json};

use crate::{
    jobs::{Job, Round, key_age::KeyAge},
    testing::{Answer, Engine, TestAgent, World, config_map},
};

const TOKENS: &str = "/api/v1/registration-tokens";
const ENROLMENTS: &str = "/api/v1/enrolments";
const ROTATION: &str = "/api/v1/agents/edge/key-rotation";
const DEACTIVATION: &str = "/api/v1/agents/edge/deactivation";

fn secret(answer: &Answer) -> String {
    answer.json["secret"].as_str().unwrap().to_owned()
}

async fn token(world: &World, request: Value) -> Answer {
    world.post(&world.admin, TOKENS, request).await.expect(201)
}

async fn enrol(world: &World, token: &str, name: &str, uid: &str) -> Answer {
    world.post(token, ENROLMENTS, json!({"name": name, "cluster": name, "cluster_uid": uid})).await
}

async fn hello(world: &World, key: &str, uid: &str) -> Answer {
    let hello = json!({"cluster_uid": uid, "version": "1", "kubernetes_version": "v1.33.0", "capabilities": ["suspension"]});
    world.put(key, "/api/v1/agent/cluster", hello).await
}

/// Asks until the feed has told this broker.
async fn until(world: &World, key: &str, status: u16) -> Answer {
    super::ends(async {
        loop {
            let answer = world.get(key, "/api/v1/agent/desired-state").await;
            if answer.status.as_u16() == status {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

#[tokio::test]
async fn an_agent_enrols_with_a_token_and_is_what_the_token_says() {
    Engine::each(async |world: World| {
        world.stack("shop", json!({"region": "eu"})).await.expect(201);
        world.apply("shop", "one").await.expect(201);
        let made = token(&world, json!({"name": "edge", "labels": {"region": "eu"}})).await;
        let token = secret(&made);
        assert!(token.starts_with("brokkr_registration_"));

        let enrolled = enrol(&world, &token, "edge", "uid-1").await.expect(201);
        let key = secret(&enrolled);
        assert_eq!(world.statements(&enrolled).len(), 7, "{:?}", world.statements(&enrolled));
        let desired = world.get(&key, "/api/v1/agent/desired-state").await.expect(200).json;
        assert_eq!(desired["deployments"][0]["stack"], "shop");
        let agent = world.get(&world.admin, "/api/v1/agents/edge").await.expect(200).json;
        assert_eq!((&agent["labels"], &agent["cluster_uid"]), (&json!({"region": "eu"}), &json!("uid-1")));

        assert_eq!(hello(&world, &key, "uid-2").await.expect(409).code(), "cluster_mismatch", "bound before the first hello");
        hello(&world, &key, "uid-1").await.expect(200);
        let agent = world.get(&world.admin, "/api/v1/agents/edge").await.expect(200).json;
        assert_eq!((&agent["capabilities"], &agent["protocol"]), (&json!(["suspension"]), &json!(brokkr_api::PROTOCOL_VERSION)));

        let audit = world.get(&world.admin, "/api/v1/audit?action=agent.enrolled").await.expect(200).json;
        assert_eq!((&audit["items"][0]["actor"], &audit["items"][0]["actor_key"]), (&json!("edge"), &made.json["id"]));
        let listed = world.get(&world.admin, TOKENS).await.expect(200).json;
        assert_eq!((&listed["items"][0]["uses"], &listed["items"][0]["max_uses"]), (&json!(1), &json!(1)));
        assert!(!listed.to_string().contains(&token));
    })
    .await;
}

#[tokio::test]
async fn a_token_that_is_used_up_expired_revoked_or_made_up_enrols_nobody_and_does_not_say_why() {
    Engine::each(async |world: World| {
        let used_up = secret(&token(&world, json!({"name": "a"})).await);
        enrol(&world, &used_up, "one", "uid-1").await.expect(201);
        let revoked = token(&world, json!({"name": "b"})).await;
        world.delete(&world.admin, &format!("{TOKENS}/{}", revoked.json["id"].as_str().unwrap())).await.expect(204);
        let expired = secret(&token(&world, json!({"name": "c", "expires_in_seconds": 60})).await);
        world.clock.advance(Duration::from_secs(60));
        let mut details = Vec::new();
        for token in [&used_up, &secret(&revoked), &expired, "brokkr_registration_made-up", &world.admin] {
            let refused = enrol(&world, token, "two", "uid-2").await.expect(401);
            details.push(refused.json["detail"].clone());
        }
        details.dedup();
        assert_eq!(details.len(), 1, "{details:?}");
        world.get(&world.admin, "/api/v1/agents/two").await.expect(404);
        assert_eq!(world.get(&used_up, "/api/v1/stacks").await.expect(401).code(), "unauthenticated", "a token is no key");
    })
    .await;
}

#[tokio::test]
async fn of_many_enrolments_at_once_no_more_succeed_than_the_token_allows() {
    Engine::each(async |world: World| {
        let token = &secret(&token(&world, json!({"name": "a", "max_uses": 3})).await);
        let (world, attempts) = (&world, 0..8);
        let answers =
            attempts.map(|number| async move { enrol(world, token, &format!("edge-{number}"), &format!("uid-{number}")).await });
        let answers = futures::future::join_all(answers).await;
        let statuses: Vec<_> = answers.iter().map(|answer| answer.status.as_u16()).collect();
        assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 3, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 5, "{statuses:?}");
    })
    .await;
}

#[tokio::test]
async fn who_lost_the_answer_enrols_again_until_the_key_was_used_and_nobody_else_does() {
    Engine::each(async |world: World| {
        let token = &secret(&token(&world, json!({"name": "a"})).await);
        let lost = secret(&enrol(&world, token, "edge", "uid-1").await.expect(201));
        assert_eq!(enrol(&world, token, "edge", "uid-2").await.expect(401).code(), "unauthenticated", "another cluster");
        let again = enrol(&world, token, "edge", "uid-1").await.expect(201);
        let key = secret(&again);
        until(&world, &lost, 401).await;
        hello(&world, &key, "uid-1").await.expect(200);
        enrol(&world, token, "edge", "uid-1").await.expect(401);

        let other = &secret(&self::token(&world, json!({"name": "b"})).await);
        assert_eq!(enrol(&world, other, "edge", "uid-1").await.expect(409).code(), "name_taken");
        let listed = world.get(&world.admin, TOKENS).await.expect(200).json;
        let tokens = listed["items"].as_array().unwrap().iter();
        let uses: BTreeMap<_, _> =
            tokens.map(|token| (token["name"].as_str().unwrap(), token["uses"].as_u64().unwrap())).collect();
        let expected = BTreeMap::from([("a", 1), ("b", 0)]);
        assert_eq!(uses, expected, "what failed is not counted, and neither is what was repeated");
    })
    .await;
}

#[tokio::test]
async fn a_new_key_is_the_agents_from_its_first_use_and_the_old_one_expires() {
    Engine::each(async |world: World| {
        let agent = world.agent("edge", json!({})).await;
        let before = world.desired(&agent).await;
        assert_eq!(before.json["rotate_key"], false);
        world.post(&world.admin, ROTATION, Value::Null).await.expect(202);
        let woken = world.poll(&agent, before.header("etag"), "30s").await.expect(200);
        assert_eq!(woken.json["rotate_key"], true, "the agent is told at once");

        let unused = secret(&world.post(&agent.key, "/api/v1/agent/key", Value::Null).await.expect(201));
        let new = secret(&world.post(&agent.key, "/api/v1/agent/key", Value::Null).await.expect(201));
        until(&world, &unused, 401).await;
        world.desired(&agent).await;
        assert_eq!(
            world.get(&world.admin, "/api/v1/agents/edge").await.json["key_rotation_wanted"],
            true,
            "it has not used it yet"
        );

        let renewed = TestAgent { id: agent.id.clone(), key: new };
        assert_eq!(world.desired(&renewed).await.json["rotate_key"], false);
        world.desired(&agent).await;
        let audit = world.get(&world.admin, "/api/v1/audit?action=key.activated").await.expect(200).json;
        assert_eq!(audit["items"].as_array().unwrap().len(), 1, "the first use counts, and no other");
        world.clock.advance(Duration::from_secs(10 * 60));
        until(&world, &agent.key, 401).await;
        world.desired(&renewed).await;
    })
    .await;
}

#[tokio::test]
async fn a_pending_key_that_is_used_many_times_at_once_is_activated_once() {
    Engine::each(async |world: World| {
        let agent = world.agent("edge", json!({})).await;
        let new = &secret(&world.post(&agent.key, "/api/v1/agent/key", Value::Null).await.expect(201));
        let world = &world;
        futures::future::join_all((0..8).map(|_| async move { world.get(new, "/api/v1/agent/desired-state").await.expect(200) }))
            .await;
        let audit = world.get(&world.admin, "/api/v1/audit?action=key.activated").await.expect(200).json;
        assert_eq!(audit["items"].as_array().unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_request_that_is_refused_activates_no_key() {
    Engine::each(async |world: World| {
        let agent = world.agent("edge", json!({})).await;
        hello(&world, &agent.key, "uid-1").await.expect(200);
        let new = secret(&world.post(&agent.key, "/api/v1/agent/key", Value::Null).await.expect(201));
        let mut elsewhere = crate::testing::request(&new, Method::GET, "/api/v1/agent/desired-state", &Value::Null);
        elsewhere.headers_mut().insert(brokkr_api::CLUSTER_HEADER, "uid-2".parse().unwrap());
        assert_eq!(world.send(elsewhere).await.expect(409).code(), "cluster_mismatch");
        world.get(&new, "/api/v1/stacks").await.expect(403);
        world.clock.advance(Duration::from_secs(10 * 60));
        world.desired(&agent).await;
        let audit = world.get(&world.admin, "/api/v1/audit?action=key.activated").await.expect(200).json;
        assert_eq!(audit["items"], json!([]));
    })
    .await;
}

#[tokio::test]
async fn an_agents_new_key_ends_when_the_old_one_would_have_and_a_replaced_key_gives_none() {
    Engine::each(async |world: World| {
        world.agent("edge", json!({})).await;
        let expires_at = brokkr_api::Timestamp::from_micros(world.state.clock.now().as_micros() + 3_600_000_000);
        let body = json!({"name": "edge", "role": "agent", "agent": "edge", "expires_at": expires_at});
        let old = secret(&world.post(&world.admin, "/api/v1/keys", body).await.expect(201));
        let new = secret(&world.post(&old, "/api/v1/agent/key", Value::Null).await.expect(201));
        world.get(&new, "/api/v1/agent/desired-state").await.expect(200);
        super::ends(async {
            while world.post(&old, "/api/v1/agent/key", Value::Null).await.status != 403 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        world.clock.advance(Duration::from_secs(3_600));
        world.get(&new, "/api/v1/agent/desired-state").await.expect(401);
    })
    .await;
}

#[tokio::test]
async fn nobody_makes_a_key_that_may_do_more_than_his_own() {
    let world = World::start(Engine::Sqlite).await;
    let make = async |key: &str, body: Value| world.post(key, "/api/v1/keys", body).await;
    let narrow = json!({"name": "narrow", "role": "admin", "scopes": ["identities:write", "stacks:read"]});
    let narrow = secret(&make(&world.admin, narrow).await.expect(201));
    let refused = make(&narrow, json!({"name": "wide", "role": "admin"})).await.expect(403);
    assert_eq!(refused.json["place"], "scopes");
    make(&narrow, json!({"name": "viewer", "role": "viewer"})).await.expect(403);
    make(&narrow, json!({"name": "same", "role": "admin", "scopes": ["stacks:read"]})).await.expect(201);
    world.agent("edge", json!({})).await;
    make(&narrow, json!({"name": "edge", "role": "agent", "agent": "edge"})).await.expect(403);
}

#[tokio::test]
async fn keys_and_tokens_that_open_nothing_for_a_month_are_forgotten() {
    Engine::each(async |world: World| {
        let made = world.post(&world.admin, "/api/v1/keys", json!({"name": "second", "role": "admin"})).await.expect(201).json;
        token(&world, json!({"name": "t", "expires_in_seconds": 60})).await;
        world.delete(&world.admin, &format!("/api/v1/keys/{}", made["id"].as_str().unwrap())).await.expect(204);
        let count = async |path: &str| world.get(&world.admin, path).await.expect(200).json["items"].as_array().unwrap().len();
        let long_ago = brokkr_api::Timestamp::from_micros(world.state.clock.now().as_micros() - 1);
        assert_eq!(world.state.db.prune_keys(long_ago, 10).await.unwrap(), 0);
        assert_eq!((count("/api/v1/keys").await, count(TOKENS).await), (2, 1));
        world.clock.advance(Duration::from_secs(61));
        assert_eq!(world.state.db.prune_keys(world.state.clock.now(), 10).await.unwrap(), 1);
        assert_eq!((count("/api/v1/keys").await, count(TOKENS).await), (1, 0));
    })
    .await;
}

#[tokio::test]
async fn keys_that_are_old_are_asked_to_be_replaced() {
    Engine::each(async |world: World| {
        let agent = world.agent("edge", json!({})).await;
        hello(&world, &agent.key, "uid-1").await.expect(200);
        let day = Duration::from_secs(24 * 3_600);
        let state = &world.state;
        let mut job = KeyAge { db: state.db.clone(), clock: state.clock.clone(), ids: state.ids.clone(), most: Some(30 * day) };
        let round = Round { undisturbed: Duration::ZERO };
        world.clock.advance(29 * day);
        job.round(round).await.unwrap();
        assert_eq!(world.desired(&agent).await.json["rotate_key"], false);
        world.clock.advance(2 * day);
        job.round(round).await.unwrap();
        assert_eq!(world.desired(&agent).await.json["rotate_key"], true);
    })
    .await;
}

#[tokio::test]
async fn a_deactivated_agent_is_refused_and_its_parked_poll_ends_until_it_is_activated() {
    Engine::each(async |world: World| {
        let agent = world.agent("edge", json!({})).await;
        let etag = world.desired(&agent).await.header("etag").to_owned();
        let parked = super::ends(world.poll(&agent, &etag, "60s"));
        let (ended, _) = futures::join!(parked, async { world.put(&world.admin, DEACTIVATION, Value::Null).await.expect(200) });
        assert_eq!(ended.expect(403).code(), "agent_deactivated");
        let seen = world.get(&world.admin, "/api/v1/agents/edge").await.expect(200).json;
        assert!(seen["deactivated_at"].is_string());
        world.delete(&world.admin, DEACTIVATION).await.expect(200);
        until(&world, &agent.key, 200).await;
        let audit = world.get(&world.admin, "/api/v1/audit?resource_kind=agent&resource_name=edge").await.expect(200).json;
        let actions: Vec<_> = audit["items"].as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect();
        assert!(actions.contains(&"agent.deactivated") && actions.contains(&"agent.activated"), "{actions:?}");
    })
    .await;
}

#[tokio::test]
async fn an_agent_that_names_another_cluster_than_its_own_is_refused() {
    Engine::each(async |world: World| {
        let agent = world.agent("edge", json!({})).await;
        hello(&world, &agent.key, "uid-1").await.expect(200);
        let ask = |uid: &str| {
            let mut request = crate::testing::request(&agent.key, Method::GET, "/api/v1/agent/desired-state", &Value::Null);
            request.headers_mut().insert(brokkr_api::CLUSTER_HEADER, uid.parse().unwrap());
            world.send(request)
        };
        super::ends(async {
            while ask("uid-2").await.status != 409 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(ask("uid-2").await.expect(409).code(), "cluster_mismatch");
        ask("uid-1").await.expect(200);
    })
    .await;
}

#[tokio::test]
async fn a_key_opens_nothing_after_its_time_and_no_more_than_its_scopes() {
    Engine::each(async |world: World| {
        let expires_at = brokkr_api::Timestamp::from_micros(world.state.clock.now().as_micros() + 60_000_000);
        let body = json!({"name": "short", "role": "admin", "expires_at": expires_at});
        let key = secret(&world.post(&world.admin, "/api/v1/keys", body.clone()).await.expect(201));
        world.get(&key, "/api/v1/stacks").await.expect(200);
        world.clock.advance(Duration::from_secs(60));
        world.get(&key, "/api/v1/stacks").await.expect(401);
        let late = world.post(&world.admin, "/api/v1/keys", body).await.expect(400);
        assert_eq!(late.json["place"], "expires_at");

        let wide = json!({"name": "wide", "role": "viewer", "scopes": ["stacks:read", "audit:read"]});
        let refused = world.post(&world.admin, "/api/v1/keys", wide).await.expect(400);
        assert_eq!(refused.json["place"], "scopes[1]", "a scope gives nothing that the role has not");
    })
    .await;
}

#[tokio::test]
async fn a_generator_has_no_more_stacks_and_content_than_its_quota() {
    Engine::each(async |world: World| {
        let team = json!({"name": "team", "quota": {"max_stacks": 2, "max_bytes": 400}});
        world.post(&world.admin, "/api/v1/generators", team).await.expect(201);
        let key = json!({"name": "team", "role": "generator", "generator": "team"});
        let key = &secret(&world.post(&world.admin, "/api/v1/keys", key).await.expect(201));
        let settings = || json!({"labels": {}, "targets": {}});
        let (world, settings) = (&world, &settings);
        let puts = (0..5).map(|number| async move { world.put(key, &format!("/api/v1/stacks/s-{number}"), settings()).await });
        let answers = futures::future::join_all(puts).await;
        let refused = answers.iter().filter(|answer| answer.code() == "quota_exceeded").count();
        let stored = answers.iter().filter(|answer| answer.status == 201).count();
        assert_eq!((stored, refused), (2, 3), "whoever comes at once");

        let stack = answers.iter().find(|answer| answer.status == 201).unwrap().json["name"].as_str().unwrap().to_owned();
        let objects = format!("/api/v1/stacks/{stack}/deployment-objects");
        world.put(key, &objects, config_map("small")).await.expect(201);
        let refused = world.put(key, &objects, config_map(&"x".repeat(400))).await.expect(403);
        assert_eq!(refused.code(), "quota_exceeded");
        assert_eq!(world.get(key, &format!("/api/v1/stacks/{stack}")).await.expect(200).json["generation"], 1);

        let wider = json!({"quota": {"max_stacks": 3}});
        let changed = world.call(&world.admin, Method::PATCH, "/api/v1/generators/team", wider).await.expect(200).json;
        assert_eq!(changed["quota"], json!({"max_stacks": 3}), "the whole quota is replaced");
        super::ends(async {
            while world.put(key, "/api/v1/stacks/one-more", settings()).await.status != 201 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        world.put(key, &objects, config_map(&"x".repeat(400))).await.expect(201);
    })
    .await;
}

#[tokio::test]
async fn what_was_revoked_on_one_broker_opens_nothing_on_the_other() {
    let world = World::start(Engine::Postgres).await;
    let made = world.post(&world.admin, "/api/v1/keys", json!({"name": "second", "role": "admin"})).await.expect(201);
    let (id, key) = (made.json["id"].as_str().unwrap().to_owned(), secret(&made));
    let other = world.replica().await;
    other.get(&key, "/api/v1/stacks").await.expect(200);
    world.delete(&world.admin, &format!("/api/v1/keys/{id}")).await.expect(204);
    super::ends(async {
        while other.get(&key, "/api/v1/stacks").await.status != 401 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
