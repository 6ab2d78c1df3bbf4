use std::time::Duration;

use http::{Method, header};
use serde_json::{Value, json};

use crate::testing::{Engine, TestAgent, World, request};

const STACK: &str = "/api/v1/stacks/shop";
const REPORTS: &str = "/api/v1/agent/reports";

fn plan(letter: &str) -> String {
    format!("sha256:{}", letter.repeat(64))
}

fn settings(policy: Value) -> Value {
    let mut settings = json!({"targets": {"labels": {}}});
    settings["policy"] = policy;
    settings
}

/// An agent that has applied a stack with one generation.
async fn started(world: &World) -> TestAgent {
    let agent = world.agent("edge", json!({})).await;
    world.put(&world.admin, STACK, settings(json!({}))).await.expect(201);
    world.apply("shop", "one").await.expect(201);
    world.report_all(&agent, "applied").await.expect(200);
    agent
}

async fn told(world: &World, agent: &TestAgent) -> Value {
    world.desired(agent).await.json["deployments"][0].clone()
}

async fn deployment(world: &World) -> Value {
    world.get(&world.admin, &format!("{STACK}/deployments/edge")).await.expect(200).json
}

/// Events of a type, as soon as they have a position.
async fn events(world: &World, kind: &str) -> Vec<Value> {
    world.state.db.sequence_events().await.unwrap();
    let page = world.get(&world.admin, &format!("/api/v1/events?type={kind}")).await.expect(200).json;
    page["items"].as_array().unwrap().clone()
}

async fn report(world: &World, agent: &TestAgent, phase: &str, with: Value) {
    let mut body = world.report_of(agent, phase).await;
    body["reports"][0].as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
    let answer = world.post(&agent.key, REPORTS, body).await.expect(200);
    assert_eq!(answer.json["results"], json!(["accepted"]));
}

async fn approve(world: &World, revision: &Value, plan: &str) -> crate::testing::Answer {
    world.post(&world.admin, &format!("{STACK}/approvals"), json!({"agent": "edge", "revision": revision, "plan": plan})).await
}

#[tokio::test]
async fn another_policy_is_a_new_revision_of_the_same_generation_and_the_same_one_is_nothing() {
    Engine::each(async |world: World| {
        let agent = started(&world).await;
        let before = world.desired(&agent).await;
        let first = before.json["deployments"][0].clone();
        assert_eq!(first.get("policy"), None, "the default is not sent");
        world.put(&world.admin, STACK, settings(json!({"conflicts": "report"}))).await.expect(200);
        assert_eq!(told(&world, &agent).await["revision"], first["revision"], "that is the default");

        let policy = json!({"conflicts": "force", "ignore_fields": [{"kind": "Deployment.apps", "paths": ["/spec/replicas"]}]});
        let parked = world.poll(&agent, before.header("etag"), "30s");
        let put = world.put(&world.admin, STACK, settings(policy.clone()));
        let (woken, put) = futures::join!(parked, put);
        let put = put.expect(200).json;
        assert_eq!(
            (&put["policy"]["conflicts"], &put["policy"]["ignore_fields"]),
            (&policy["conflicts"], &policy["ignore_fields"])
        );
        let second = woken.expect(200).json["deployments"][0].clone();
        assert_eq!(second["policy"], put["policy"]);
        assert_eq!(second["revision"].as_u64().unwrap(), first["revision"].as_u64().unwrap() + 1);
        assert_eq!((&second["generation"], &second["digest"]), (&first["generation"], &first["digest"]));
        assert_eq!(deployment(&world).await["phase"], "pending", "it is a new rollout");
        assert_eq!(events(&world, "stack.updated").await[0]["data"]["changed"], json!(["policy"]));

        world.put(&world.admin, STACK, settings(policy)).await.expect(200);
        assert_eq!(told(&world, &agent).await["revision"], second["revision"]);
        let read = world.get(&world.admin, STACK).await.expect(200).json;
        assert_eq!(read["policy"], put["policy"]);
        world.put(&world.admin, STACK, settings(json!({}))).await.expect(200);
        assert_eq!(told(&world, &agent).await.get("policy"), None, "a request without one asks for the default");
    })
    .await;
}

#[tokio::test]
async fn tombstones_carry_the_policy_and_a_change_of_it_reaches_those_who_have_still_to_remove_the_stack() {
    Engine::each(async |world: World| {
        let agent = started(&world).await;
        let nowhere = |policy: Value| json!({"targets": {"names": ["nobody"]}, "policy": policy});
        world.put(&world.admin, STACK, nowhere(json!({}))).await.expect(200);
        let withdrawn = told(&world, &agent).await;
        assert_eq!((&withdrawn["action"], withdrawn.get("policy")), (&json!("withdraw"), None));
        world.put(&world.admin, STACK, nowhere(json!({"delete_policy": "orphan"}))).await.expect(200);
        let kept = told(&world, &agent).await;
        assert_eq!((&kept["action"], &kept["policy"]["delete_policy"]), (&json!("withdraw"), &json!("orphan")));
        assert!(kept["revision"].as_u64() > withdrawn["revision"].as_u64());
        world.delete(&world.admin, STACK).await.expect(202);
        let deleted = told(&world, &agent).await;
        assert_eq!((&deleted["action"], &deleted["policy"]["delete_policy"]), (&json!("delete"), &json!("orphan")));
    })
    .await;
}

#[tokio::test]
async fn a_label_of_the_stack_keeps_its_objects_and_a_slip_in_it_is_refused() {
    Engine::each(async |world: World| {
        let agent = started(&world).await;
        let before = told(&world, &agent).await;
        let labelled = |value: &str| json!({"targets": {"labels": {}}, "labels": {"brokkr.io/delete-policy": value}});
        let refused = world.put(&world.admin, STACK, labelled("orphaned")).await.expect(400).json;
        assert_eq!(refused["place"], "labels.brokkr.io/delete-policy");
        world.put(&world.admin, STACK, labelled("orphan")).await.expect(200);
        let after = told(&world, &agent).await;
        assert_eq!(after["policy"]["delete_policy"], "orphan");
        assert_ne!(after["revision"], before["revision"]);
        world.put(&world.admin, STACK, json!({"targets": {"labels": {}}, "labels": {"a": "b"}})).await.expect(200);
        let last = told(&world, &agent).await;
        assert_eq!(last.get("policy"), None);
        world.put(&world.admin, STACK, json!({"targets": {"labels": {}}, "labels": {"a": "c"}})).await.expect(200);
        assert_eq!(told(&world, &agent).await["revision"], last["revision"], "other labels are no policy");
    })
    .await;
}

#[tokio::test]
async fn a_policy_without_meaning_is_refused_with_its_place() {
    let world = World::start(Engine::Sqlite).await;
    for (policy, place) in [
        (json!({"conflicts": "fight"}), "policy.conflicts"),
        (json!({"adopt": true}), "policy"),
        (json!({"wave_timeout_seconds": 0}), "policy.wave_timeout_seconds"),
        (json!({"ignore_fields": [{"paths": ["/metadata/name"]}]}), "policy.ignore_fields[0].paths[0]"),
        (json!({"service_account": "deployer"}), "policy.service_account"),
    ] {
        let refused = world.put(&world.admin, STACK, settings(policy.clone())).await.expect(400);
        assert_eq!(refused.code(), "invalid_field");
        assert!(refused.json["place"].as_str().unwrap().starts_with(place), "{policy}: {}", refused.json);
    }
}

#[tokio::test]
async fn an_agent_that_knows_no_policies_is_not_told_of_stacks_that_have_one() {
    Engine::each(async |world: World| {
        let agent = started(&world).await;
        let older = async |version: &str| {
            let mut request = request(&agent.key, Method::GET, "/api/v1/agent/desired-state", &Value::Null);
            request.headers_mut().insert(brokkr_api::PROTOCOL_HEADER, version.parse().unwrap());
            world.send(request).await.expect(200).json["deployments"].as_array().unwrap().len()
        };
        assert_eq!(older("2").await, 1);
        world.put(&world.admin, STACK, settings(json!({"delete_policy": "orphan"}))).await.expect(200);
        assert_eq!((older("2").await, older("3").await), (0, 1));
    })
    .await;
}

#[tokio::test]
async fn held_deletions_are_shown_and_an_approval_of_exactly_them_reaches_the_agent_at_once() {
    Engine::each(async |world: World| {
        let agent = started(&world).await;
        let held = json!({"held": {"plan": plan("a"), "objects": 12},
            "objects": [{"apiVersion": "v1", "kind": "Namespace", "name": "old", "outcome": "held", "reason": "ProtectedKind"}]});
        report(&world, &agent, "applied", held).await;
        let seen = deployment(&world).await;
        assert_eq!((&seen["held"]["objects"], &seen["approved"]), (&json!(12), &json!(false)));
        assert_eq!(seen["waiting_for"], "somebody to approve the deletion of 12 objects: brokkr approve shop --agent edge");
        let rollout = world.get(&world.admin, &format!("{STACK}/rollout")).await.expect(200).json;
        assert_eq!((&rollout["done"], &rollout["deployments"][0]["held"]), (&json!(true), &seen["held"]));

        let revision = seen["revision"].clone();
        for (revision, plan) in [(json!(7), plan("a")), (revision.clone(), plan("b"))] {
            let refused = approve(&world, &revision, &plan).await.expect(409);
            assert_eq!(refused.code(), "approval_outdated");
            let detail = refused.json["detail"].as_str().unwrap();
            assert!(detail.contains("12 objects") && detail.contains(&self::plan("a")), "it says what is held now: {detail}");
        }
        assert_eq!(told(&world, &agent).await.get("approved"), None);

        let before = world.desired(&agent).await;
        let parked = world.poll(&agent, before.header("etag"), "30s");
        let plan = plan("a");
        let approving = approve(&world, &revision, &plan);
        let (woken, approved) = futures::join!(parked, approving);
        assert_eq!(approved.expect(200).json["approved"], true);
        let told_now = woken.expect(200).json["deployments"][0].clone();
        assert_eq!((&told_now["approved"], &told_now["revision"]), (&json!(plan), &revision));
        approve(&world, &revision, &plan).await.expect(200);
        let approvals = events(&world, "deployment.approved").await;
        assert_eq!(approvals.len(), 1, "approved again it is not news");
        assert_eq!(approvals[0]["data"]["objects"], 12);
        let audit = world.get(&world.admin, "/api/v1/audit?action=deployment.approved").await.expect(200).json;
        assert_eq!(audit["items"][0]["actor"], "first-admin");

        // An agent of before is not told.
        let mut old = request(&agent.key, Method::GET, "/api/v1/agent/desired-state", &Value::Null);
        old.headers_mut().insert(brokkr_api::PROTOCOL_HEADER, "2".parse().unwrap());
        assert_eq!(world.send(old).await.expect(200).json["deployments"][0].get("approved"), None);

        report(&world, &agent, "applied", json!({})).await;
        let done = deployment(&world).await;
        assert_eq!((done.get("held"), done.get("waiting_for")), (None, None));
        assert_eq!(done["objects"][0]["name"], "old", "a report without objects leaves what was told of them");
    })
    .await;
}

#[tokio::test]
async fn a_new_revision_ends_what_is_held_and_what_was_approved() {
    Engine::each(async |world: World| {
        let agent = started(&world).await;
        for (letter, change) in [("a", "generation"), ("b", "policy"), ("c", "deletion")] {
            let held = json!({"held": {"plan": plan(letter), "objects": 1}});
            report(&world, &agent, "applied", held).await;
            let revision = deployment(&world).await["revision"].clone();
            approve(&world, &revision, &plan(letter)).await.expect(200);
            match change {
                "generation" => drop(world.apply("shop", "two").await.expect(201)),
                "policy" => drop(world.put(&world.admin, STACK, settings(json!({"adoption": "adopt"}))).await.expect(200)),
                _ => drop(world.delete(&world.admin, STACK).await.expect(202)),
            }
            let (seen, told) = (deployment(&world).await, told(&world, &agent).await);
            assert_eq!((seen.get("held"), &seen["approved"], told.get("approved")), (None, &json!(false), None), "{change}");
            let refused = approve(&world, &seen["revision"], &plan(letter)).await.expect(409);
            assert!(refused.json["detail"].as_str().unwrap().contains("holds nothing"), "{}", refused.json);
        }
    })
    .await;
}

#[tokio::test]
async fn only_who_may_write_the_stack_approves_and_what_does_not_exist_is_not_found() {
    let world = World::start(Engine::Sqlite).await;
    let agent = started(&world).await;
    report(&world, &agent, "applied", json!({"held": {"plan": plan("a"), "objects": 1}})).await;
    let other = world.generator("team").await;
    let body = json!({"agent": "edge", "revision": 1, "plan": plan("a")});
    world.post(&other, &format!("{STACK}/approvals"), body.clone()).await.expect(404);
    world.post(&agent.key, &format!("{STACK}/approvals"), body).await.expect(403);
    let nobody = json!({"agent": "nobody", "revision": 1, "plan": plan("a")});
    world.post(&world.admin, &format!("{STACK}/approvals"), nobody).await.expect(404);
}

#[tokio::test]
async fn drift_is_one_event_for_each_report_and_is_counted() {
    Engine::each(async |world: World| {
        let agent = started(&world).await;
        let drift = json!({"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "web",
            "fields": [".spec.replicas"], "managers": ["kubectl-edit"], "outcome": "repaired"});
        report(&world, &agent, "applied", json!({"drift": [drift, drift]})).await;
        let told = events(&world, "deployment.drifted").await;
        assert_eq!(told.len(), 1);
        assert_eq!(told[0]["data"], json!({"stack": "shop", "objects": [drift, drift]}));
        report(&world, &agent, "applied", json!({})).await;
        let seen = deployment(&world).await;
        assert_eq!((&seen["drifts"], seen["last_drift_at"].is_string()), (&json!(2), true));
        assert_eq!(events(&world, "deployment.drifted").await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn held_plans_and_drift_beyond_their_bounds_are_refused() {
    let world = World::start(Engine::Sqlite).await;
    let agent = started(&world).await;
    let drift = |key: &str, value: Value| {
        let mut drift = json!({"apiVersion": "v1", "kind": "Pod", "name": "a", "fields": [], "outcome": "failed"});
        drift[key] = value;
        json!({"drift": [drift]})
    };
    for wrong in [
        json!({"held": {"plan": "sha256:x", "objects": 1}}),
        json!({"held": {"plan": plan("a"), "objects": u64::MAX}}),
        drift("fields", json!(vec!["a"; 21])),
        drift("fields", json!(["a".repeat(513)])),
        drift("fields", json!(["a\0b"])),
        drift("managers", json!(vec!["a"; 6])),
        drift("managers", json!(["a".repeat(129)])),
        drift("name", json!("a".repeat(321))),
        drift("values", json!(["secret"])),
        json!({"drift": vec![drift("kind", json!("Pod"))["drift"][0].clone(); 101]}),
    ] {
        let mut body = world.report_of(&agent, "applied").await;
        body["reports"][0].as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        let refused = world.post(&agent.key, REPORTS, body).await.expect(400);
        assert_eq!(refused.code(), "invalid_field", "{wrong}");
    }
}

#[tokio::test]
async fn health_alone_changes_the_phase_and_each_change_is_told_once() {
    Engine::each(async |world: World| {
        let agent = world.agent("edge", json!({})).await;
        world.put(&world.admin, STACK, settings(json!({}))).await.expect(201);
        world.apply("shop", "one").await.expect(201);
        for (status, phase) in [
            ("progressing", "applied"),
            ("healthy", "healthy"),
            ("healthy", "healthy"),
            ("degraded", "degraded"),
            ("progressing", "applied"),
            ("healthy", "healthy"),
        ] {
            // Events of one moment have no order.
            world.clock.advance(Duration::from_millis(1));
            report(&world, &agent, "applied", json!({"health": {"status": status}})).await;
            let rollout = world.get(&world.admin, &format!("{STACK}/rollout")).await.expect(200).json;
            assert_eq!((&rollout["done"], &rollout["phases"]), (&json!(true), &json!({phase: 1})), "{status}");
        }
        let kinds: Vec<_> = events(&world, "deployment.").await.iter().map(|event| event["type"].clone()).collect();
        assert_eq!(kinds, ["deployment.applied", "deployment.healthy", "deployment.degraded", "deployment.healthy"]);
    })
    .await;
}

#[tokio::test]
async fn a_change_of_a_stack_says_that_the_fleet_is_suspended() {
    Engine::each(async |world: World| {
        world.put(&world.admin, "/api/v1/fleet/suspension", json!({"reason": "stop"})).await.expect(200);
        let created = world.put(&world.admin, STACK, settings(json!({}))).await.expect(201);
        assert_eq!(created.json["suspended"]["scope"], "fleet", "without any agent too");
        let mut put = request(&world.admin, Method::PUT, STACK, &settings(json!({"adoption": "adopt"})));
        put.headers_mut().insert(header::IF_MATCH, created.header("etag").parse().unwrap());
        assert_eq!(world.send(put).await.expect(200).json["suspended"]["reason"], "stop");
    })
    .await;
}
