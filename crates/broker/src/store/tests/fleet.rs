use serde_json::json;

use crate::testing::{Answer, Engine, World};

/// Most statements of a write, and of a list.
const WRITE: usize = 10;
const LIST: usize = 2;

fn within(world: &World, answer: &Answer, most: usize) {
    let statements = world.statements(answer);
    assert!((1..=most).contains(&statements.len()), "{} statements: {statements:?}", statements.len());
}

#[tokio::test]
async fn a_thousand_agents_cost_as_many_statements_as_one() {
    Engine::each(async |world: World| {
        world.many_agents(1_000).await;

        let made = world.stack("shop", json!({})).await.expect(201);
        assert_eq!(made.json["agents"], 1_000);
        within(&world, &made, WRITE);
        let accepted = world.apply("shop", "one").await.expect(201);
        assert_eq!(accepted.json["agents"], 1_000);
        within(&world, &accepted, WRITE);
        let sends = world.spans_of(&accepted).iter().filter(|span| span.name().starts_with("send")).count();
        assert_eq!(sends, 1, "one hand-off, whatever the number of agents");

        let changed = world.state.db.changes_since(0).await.unwrap();
        assert_eq!(changed.len(), 1_000);
        let last = world.state.db.last_change().await.unwrap();
        assert!(changed.iter().all(|(_, seq)| *seq == last), "everybody is woken by the newest change");
        let deleted = world.delete(&world.admin, "/api/v1/stacks/shop").await.expect(202);
        assert_eq!(deleted.json["agents"], 1_000);
        within(&world, &deleted, WRITE);
    })
    .await;
}

#[tokio::test]
async fn a_list_costs_the_same_whatever_it_holds_and_its_pages_hold_everything_once() {
    Engine::each(async |world: World| {
        world.many_agents(120).await;
        let mut names = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = world.get(&world.admin, &format!("/api/v1/agents?limit=50{cursor}")).await.expect(200);
            within(&world, &page, LIST);
            names.extend(page.json["items"].as_array().unwrap().iter().map(|agent| agent["name"].as_str().unwrap().to_owned()));
            match page.json["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(names.len(), 120);
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");

        for number in 0..3 {
            world.stack(&format!("stack-{number}"), json!({})).await.expect(201);
        }
        let stacks = world.get(&world.admin, "/api/v1/stacks").await.expect(200);
        within(&world, &stacks, LIST);
        assert_eq!(stacks.json["items"].as_array().unwrap().len(), 3);
    })
    .await;
}

#[tokio::test]
async fn a_report_costs_the_same_whatever_the_number_of_objects() {
    Engine::each(async |world: World| {
        let agent = world.agent("edge", json!({})).await;
        world.stack("shop", json!({})).await.expect(201);
        world.apply("shop", "one").await.expect(201);
        let desired = world.desired(&agent).await.json;
        let object = |number| json!({"apiVersion": "v1", "kind": "ConfigMap", "namespace": "shop", "name": format!("map-{number}"), "outcome": "created"});
        let report = json!({
            "stack_id": desired["deployments"][0]["stack_id"],
            "revision": 2,
            "phase": "applied",
            "attempt": 1,
            "objects": (0..500).map(object).collect::<Vec<_>>(),
        });
        let answer =
            world.post(&agent.key, "/api/v1/agent/reports", json!({"epoch": desired["epoch"], "reports": [report]})).await.expect(200);
        assert_eq!(answer.json["results"], json!(["accepted"]));
        within(&world, &answer, 3);
        let rollout = world.get(&world.admin, "/api/v1/stacks/shop/rollout").await.expect(200).json;
        assert_eq!(rollout["deployments"][0]["objects"].as_array().unwrap().len(), 20, "an answer stays small");
        let deployment = world.get(&world.admin, "/api/v1/stacks/shop/deployments/edge").await.expect(200).json;
        assert_eq!(deployment["objects"].as_array().unwrap().len(), 500);
    })
    .await;
}
