use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};

use crate::{
    http::openapi,
    testing::{Answer, Engine, World},
};

const ADMIN: &[&str] = &["admin"];
const OWNERS: &[&str] = &["admin", "generator"];
const AGENT: &[&str] = &["agent"];

/// Who may call what. Whoever is not named is forbidden; who has no key is unknown.
const ROUTES: &[(&str, &str, &[&str])] = &[
    ("POST", "/api/v1/keys", ADMIN),
    ("GET", "/api/v1/keys", ADMIN),
    ("DELETE", "/api/v1/keys/{key}", ADMIN),
    ("POST", "/api/v1/generators", ADMIN),
    ("GET", "/api/v1/generators", ADMIN),
    ("POST", "/api/v1/agents", ADMIN),
    ("GET", "/api/v1/agents", ADMIN),
    ("GET", "/api/v1/agents/{agent}", ADMIN),
    ("PATCH", "/api/v1/agents/{agent}", ADMIN),
    ("GET", "/api/v1/stacks", OWNERS),
    ("PUT", "/api/v1/stacks/{stack}", OWNERS),
    ("GET", "/api/v1/stacks/{stack}", OWNERS),
    ("DELETE", "/api/v1/stacks/{stack}", OWNERS),
    ("PUT", "/api/v1/stacks/{stack}/deployment-objects", OWNERS),
    ("GET", "/api/v1/stacks/{stack}/deployment-objects", OWNERS),
    ("GET", "/api/v1/stacks/{stack}/deployment-objects/{generation}", OWNERS),
    ("GET", "/api/v1/stacks/{stack}/rollout", OWNERS),
    ("PUT", "/api/v1/agent/cluster", AGENT),
    ("GET", "/api/v1/agent/desired-state", AGENT),
    ("GET", "/api/v1/agent/stacks/{stack}/content/{digest}", AGENT),
    ("POST", "/api/v1/agent/reports", AGENT),
];

#[test]
fn every_documented_route_has_a_row() {
    let document: Value = serde_json::from_str(&openapi()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let documented: BTreeSet<_> = paths
        .iter()
        .flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(move |method| (method.to_uppercase(), path.clone())))
        .collect();
    let rows: BTreeSet<_> = ROUTES.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
    assert_eq!(rows, documented);
}

#[tokio::test]
async fn each_route_is_open_to_those_in_its_row_and_closed_to_everybody_else() {
    let world = World::start(Engine::Sqlite).await;
    let callers = [
        ("admin", world.admin.clone()),
        ("generator", world.generator("team").await),
        ("agent", world.agent("edge", json!({})).await.key),
    ];
    for (method, template, allowed) in ROUTES {
        let path = brokkr_api::routes::fill(template, &["00000000-0000-7000-8000-000000000000", "1"]);
        let method: Method = method.parse().unwrap();
        let body = if method == Method::GET || method == Method::DELETE { Value::Null } else { json!({}) };
        let answer = world.call("", method.clone(), &path, body.clone()).await.expect(401);
        assert_eq!((answer.code(), answer.header("www-authenticate")), ("unauthenticated", "Bearer"), "{method} {path}");
        for (role, key) in &callers {
            let status = world.call(key, method.clone(), &path, body.clone()).await.status.as_u16();
            let open = status != 403 && status != 401 && status < 500;
            assert_eq!(open, allowed.contains(role), "{role} calls {method} {path}: {status}");
        }
    }
}

#[tokio::test]
async fn a_made_up_key_costs_no_query_and_an_unknown_one_opens_nothing() {
    let world = World::start(Engine::Sqlite).await;
    let elsewhere = World::start(Engine::Postgres).await;
    // Another installation's key, with other randomness than this one's.
    let unknown = elsewhere.generator("team").await;
    for key in ["brokkr_admin_", "hunter2", &world.admin[1..]] {
        let answer = world.get(key, "/api/v1/stacks").await.expect(401);
        assert_eq!(answer.code(), "unauthenticated");
    }
    assert_eq!(world.get(&unknown, "/api/v1/stacks").await.expect(401).code(), "unauthenticated");
}

#[tokio::test]
async fn what_belongs_to_another_generator_does_not_exist() {
    Engine::each(async |world: World| {
        let (mine, yours) = (world.generator("mine").await, world.generator("yours").await);
        let settings = json!({"labels": {}, "targets": {"labels": {}}});
        let made = world.put(&yours, "/api/v1/stacks/shop", settings.clone()).await.expect(201).json;
        world.put(&yours, "/api/v1/stacks/shop/deployment-objects", crate::testing::config_map("one")).await.expect(201);
        world.stack("house", json!({})).await.expect(201);

        for name in ["shop", "house", "never-was"] {
            let stack = format!("/api/v1/stacks/{name}");
            let same = |answer: Answer| {
                let answer = answer.expect(404);
                assert_eq!((answer.code(), &answer.json["detail"]), ("not_found", &json!(format!("there is no stack {name}"))));
            };
            same(world.get(&mine, &stack).await);
            same(world.delete(&mine, &stack).await);
            for below in ["rollout", "deployment-objects", "deployment-objects/1"] {
                same(world.get(&mine, &format!("{stack}/{below}")).await);
            }
            same(world.put(&mine, &format!("{stack}/deployment-objects"), crate::testing::config_map("two")).await);
        }
        assert_eq!(world.get(&mine, "/api/v1/stacks").await.expect(200).json["items"], json!([]));

        let own = world.put(&mine, "/api/v1/stacks/shop", settings).await.expect(201).json;
        assert_ne!(own["id"], made["id"], "names belong to their owner");
        let listed = world.get(&yours, "/api/v1/stacks").await.expect(200).json;
        assert_eq!(listed["items"].as_array().unwrap().len(), 1);
        assert_eq!(listed["items"][0]["id"], made["id"]);
        let all = world.get(&world.admin, "/api/v1/stacks").await.expect(200).json;
        assert_eq!(all["items"].as_array().unwrap().len(), 3, "an admin sees everybody's");
    })
    .await;
}

#[tokio::test]
async fn a_revoked_key_opens_nothing_more() {
    Engine::each(async |world: World| {
        let body = json!({"name": "second", "role": "admin"});
        let made = world.post(&world.admin, "/api/v1/keys", body).await.expect(201).json;
        let key = made["secret"].as_str().unwrap();
        world.get(key, "/api/v1/stacks").await.expect(200);
        let path = format!("/api/v1/keys/{}", made["id"].as_str().unwrap());
        world.delete(&world.admin, &path).await.expect(204);

        super::ends(async {
            // The feed follows its database; on this broker it is told at once.
            while world.get(key, "/api/v1/stacks").await.status != 401 {
                tokio::task::yield_now().await;
            }
        })
        .await;

        world.delete(&world.admin, &path).await.expect(404);
        let listed = world.get(&world.admin, "/api/v1/keys").await.expect(200).json.to_string();
        assert!(!listed.contains(key) && !listed.contains("digest"), "{listed}");
    })
    .await;
}
