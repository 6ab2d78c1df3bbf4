//! Asking for work orders, looking at them, and what is refused.

use std::time::Duration;

use serde_json::{Value, json};

use super::work_orders::{MINUTE, job};
use crate::testing::{Engine, World};

#[tokio::test]
async fn a_request_that_is_sent_again_makes_no_second_order() {
    Engine::each(async |world: World| {
        let send = async |key: &str, body: Value| {
            let mut request = crate::testing::request(&world.admin, http::Method::POST, "/api/v1/work-orders", &body);
            request.headers_mut().insert("idempotency-key", key.parse().unwrap());
            world.send(request).await
        };
        let first = send("k", job("import")).await.expect(201).json;
        let again = send("k", job("import")).await.expect(200).json;
        assert_eq!(first["id"], again["id"]);
        assert_eq!(send("k", job("other")).await.expect(422).code(), "idempotency_mismatch");
        let team = world.generator("team").await;
        let mut request = crate::testing::request(&team, http::Method::POST, "/api/v1/work-orders", &job("import"));
        request.headers_mut().insert("idempotency-key", "k".parse().unwrap());
        let own = world.send(request).await.expect(201).json;
        assert_ne!(own["id"], first["id"], "keys belong to their owner");
        let path = format!("/api/v1/work-orders/{}", first["id"].as_str().unwrap());
        for path in [path.clone(), format!("{path}/log")] {
            world.get(&team, &path).await.expect(404);
        }
        world.post(&team, &format!("{path}/cancel"), Value::Null).await.expect(404);
        let listed = world.get(&team, "/api/v1/work-orders").await.expect(200).json;
        assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn lists_come_in_pages_and_by_state() {
    Engine::each(async |world: World| {
        let mut ids = Vec::new();
        for number in 0..5 {
            world.clock.advance(Duration::from_millis(2));
            ids.push(world.order(job(&format!("job-{number}"))).await);
        }
        ids.reverse();
        world.post(&world.admin, &format!("/api/v1/work-orders/{}/cancel", ids[0]), Value::Null).await.expect(200);
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = world.get(&world.admin, &format!("/api/v1/work-orders?limit=2{cursor}")).await.expect(200);
            assert!(world.statements(&page).len() <= 2);
            let items = page.json["items"].as_array().unwrap();
            seen.extend(items.iter().map(|order| order["id"].as_str().unwrap().to_owned()));
            let Some(next) = page.json["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(seen, ids);
        let queued = world.get(&world.admin, "/api/v1/work-orders?state=queued").await.expect(200).json;
        assert_eq!(queued["items"].as_array().unwrap().len(), 4);
        let named = world.get(&world.admin, "/api/v1/work-orders?name=job-2").await.expect(200).json;
        assert_eq!(named["items"].as_array().unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn finished_orders_are_forgotten_after_their_time_and_others_never() {
    Engine::each(async |world: World| {
        let (open, done) = (world.order(job("open")).await, world.order(job("done")).await);
        world.post(&world.admin, &format!("/api/v1/work-orders/{done}/cancel"), Value::Null).await.expect(200);
        world.clock.advance(MINUTE);
        let pruned = world.state.db.prune_work_orders(world.state.clock.now(), 10).await.unwrap();
        assert_eq!(pruned, 1);
        world.look(&open).await;
        world.get(&world.admin, &format!("/api/v1/work-orders/{done}")).await.expect(404);
    })
    .await;
}

#[tokio::test]
async fn what_agents_may_not_say_is_refused_with_its_place_and_changes_nothing() {
    Engine::each(async |world: World| {
        let agent = world.agent("edge", json!({"site": "a"})).await;
        let id = world.order(job("import")).await;
        let token = world.start_one(&agent).await;
        let report = |change: Value| {
            let mut body = json!({"id": id, "token": token, "outcome": "failed"});
            body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            ("report", body)
        };
        let renewal = |change: Value| {
            let mut one = json!({"id": id, "token": token});
            one.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            ("renew", json!({"orders": [one]}))
        };
        let long = |length: usize| "x".repeat(length);
        let object = json!({"api_version": "v1", "kind": "Pod", "name": long(321)});
        let cases = [
            ("token", report(json!({"token": u64::MAX}))),
            ("reason", report(json!({"reason": long(65)}))),
            ("message", report(json!({"message": long(1_025)}))),
            ("log", report(json!({"log": long(64 * 1_024 + 1)}))),
            ("object", report(json!({"object": object}))),
            ("orders", renewal(json!({"progress": long(257)}))),
            ("orders", renewal(json!({"progress": "two\nlines"}))),
            ("orders", renewal(json!({"token": u64::MAX}))),
            ("orders", ("renew", json!({"orders": vec![json!({"id": id, "token": 1}); 201]}))),
            ("kinds", ("claim", json!({"kinds": vec!["job"; 9]}))),
        ];
        for (place, (verb, body)) in cases {
            let path = format!("/api/v1/agent/work-orders:{verb}");
            let refused = world.post(&agent.key, &path, body).await.expect(400);
            assert_eq!((refused.code(), refused.json["place"].as_str()), ("invalid_field", Some(place)), "{}", refused.json);
        }
        for (verb, body) in [
            report(json!({"outcome": "done"})),
            report(json!({"id": "x"})),
            report(json!({"unknown": 1})),
            renewal(json!({"token": -1})),
            ("claim", json!({"kinds": ["party"]})),
            ("claim", json!({})),
        ] {
            let answer = world.post(&agent.key, &format!("/api/v1/agent/work-orders:{verb}"), body.clone()).await;
            assert!(["malformed_body", "invalid_field"].contains(&answer.expect(400).code()), "{body}");
        }
        assert_eq!(world.look(&id).await["state"], "running");
    })
    .await;
}

#[tokio::test]
async fn what_people_may_not_ask_for_is_refused_with_its_place_and_makes_nothing() {
    Engine::each(async |world: World| {
        let with = |field: &str, value: Value| {
            let mut body = job("import");
            body[field] = value;
            body
        };
        let cases = [
            (400, "priority", with("priority", json!(1_001))),
            (400, "deadline_seconds", with("deadline_seconds", json!(0))),
            (400, "max_attempts", with("max_attempts", json!(0))),
            (400, "backoff_seconds", with("backoff_seconds", json!(3_601))),
            (400, "ttl_seconds", with("ttl_seconds", json!(604_801))),
            (400, "parameters", with("parameters", json!({"LD_PRELOAD": "x"}))),
            (400, "secrets[0]", with("secrets", json!([{"name": "A", "secret": "S!", "key": "k"}]))),
            (422, "work.job.manifest", with("work", json!({"job": {"manifest": {"apiVersion": "v1", "kind": "Pod"}}}))),
            (400, "work.apply.success", with("work", json!({"apply": {"objects": [], "success": ""}}))),
        ];
        for (status, place, body) in cases {
            let refused = world.post(&world.admin, "/api/v1/work-orders", body).await.expect(status);
            assert_eq!(refused.json["place"].as_str(), Some(place), "{}", refused.json);
        }
        let malformed = [
            ("name", json!("No Name")),
            ("work", json!({"dance": {}})),
            ("work", json!({"job": {"manifest": {}}, "apply": {"objects": [], "success": "true"}})),
            ("targets", json!([])),
            ("priority", json!("high")),
            ("not_before", json!("tomorrow")),
            ("deadline_seconds", json!(-1)),
            ("max_attempts", json!(1.5)),
            ("on_agent_loss", json!("cry")),
            ("parameters", json!({"A": 1})),
            ("secrets", json!([{"name": "A", "secret": "s", "key": "k", "value": "hunter2"}])),
            ("ttl_seconds", json!(null)),
            ("extra", json!(1)),
        ];
        for (field, value) in malformed {
            let refused = world.post(&world.admin, "/api/v1/work-orders", with(field, value)).await.expect(400);
            assert!(["malformed_body", "invalid_field"].contains(&refused.code()), "{field}: {}", refused.json);
            assert!(!refused.json.to_string().contains("hunter2"), "values of Secrets are not for anybody to repeat");
        }
        let listed = world.get(&world.admin, "/api/v1/work-orders").await.expect(200).json;
        assert_eq!(listed["items"], json!([]));
        for path in ["?state=lost", "?limit=0", "?limit=501", "?name=A%20B", "?colour=red"] {
            world.get(&world.admin, &format!("/api/v1/work-orders{path}")).await.expect(400);
        }
        for verb in ["cancel", "retry"] {
            let unknown = "/api/v1/work-orders/0190aaaa-bbbb-7ccc-8ddd-0123456789ab";
            world.post(&world.admin, &format!("{unknown}/{verb}"), Value::Null).await.expect(404);
        }
    })
    .await;
}
