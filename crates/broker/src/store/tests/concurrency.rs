use std::{
    cell::Cell,
    collections::{BTreeMap, HashSet},
};

use futures::future::join_all;
use http::Method;
use serde_json::json;

use crate::testing::{Answer, Engine, TestAgent, World};

#[tokio::test]
async fn a_number_is_given_only_when_the_one_before_is_committed_or_given_up() {
    Engine::each(async |world: World| {
        let db = &world.state.db;
        let committed = Cell::new(false);
        let mut slow = db.begin().await.unwrap();
        let first = slow.next_change().await.unwrap();
        let next = async {
            let mut tx = db.begin().await.unwrap();
            let second = tx.next_change().await.unwrap();
            assert!(committed.get(), "{second} came while {first} was not visible");
            tx.commit().await.unwrap();
            second
        };
        let commit = async {
            // The other one is under way as long as this reads.
            for _ in 0..20 {
                assert!(db.last_change().await.unwrap() < first);
            }
            committed.set(true);
            slow.commit().await.unwrap();
        };
        let (second, ()) = futures::join!(next, commit);
        assert_eq!(second, first + 1);
    })
    .await;
}

#[tokio::test]
async fn a_follower_never_misses_a_change_while_many_commit() {
    Engine::each(async |world: World| {
        let start = world.state.db.last_change().await.unwrap();
        let open = Cell::new(40);
        let writer = async |number| {
            let change = world.store_key(number).await;
            open.set(open.get() - 1);
            change
        };
        let follower = async {
            let (mut last, mut seen) = (start, HashSet::new());
            loop {
                let done = open.get() == 0;
                let newest = world.state.db.last_change().await.unwrap();
                let keys = world.state.db.keys_since(last).await.unwrap();
                seen.extend(keys.into_iter().map(|key| key.change_seq));
                last = newest;
                if done {
                    return seen;
                }
            }
        };
        let (written, seen) = futures::join!(join_all((0..40).map(writer)), follower);
        assert_eq!(written.len(), 40);
        assert_eq!(seen, written.into_iter().collect());
    })
    .await;
}

#[tokio::test]
async fn two_who_make_the_same_stack_at_once_make_one() {
    Engine::each(async |world: World| {
        let both = join_all((0..6).map(|number| world.stack("shop", json!({"site": format!("s{number}")})))).await;
        let created = both.iter().filter(|answer| answer.status == 201).count();
        let replaced = both.iter().filter(|answer| answer.status == 200).count();
        assert_eq!((created, replaced), (1, 5), "{both:?}");
        let stacks = world.get(&world.admin, "/api/v1/stacks").await.expect(200).json;
        assert_eq!(stacks["items"].as_array().unwrap().len(), 1);
    })
    .await;
}

/// Everybody does everything at once: agents appear and are relabelled while stacks are retargeted and get new generations.
#[tokio::test]
async fn whatever_happens_at_once_every_agent_ends_with_the_newest_generation_of_what_it_matches() {
    Engine::each(async |world: World| {
        for number in 0..4 {
            world.agent(&format!("old-{number}"), json!({"site": "b"})).await;
            world.stack(&format!("stack-{number}"), json!({"site": "a"})).await.expect(201);
            world.apply(&format!("stack-{number}"), "one").await.expect(201);
        }
        let apply = async |number: usize| {
            let mut answers = Vec::new();
            for value in ["two", "three"] {
                answers.push(world.apply(&format!("stack-{number}"), value).await);
            }
            answers
        };
        let retarget = async |number: usize| {
            let path = format!("/api/v1/stacks/stack-{number}");
            let targets = json!({"labels": {"matchExpressions": [{"key": "site", "operator": "Exists"}]}});
            vec![world.put(&world.admin, &path, json!({"labels": {}, "targets": targets})).await]
        };
        let relabel = async |number: usize| {
            let path = format!("/api/v1/agents/old-{number}");
            vec![world.call(&world.admin, Method::PATCH, &path, json!({"labels": {"site": "a"}})).await]
        };
        let appear = async |number: usize| {
            let body = json!({"name": format!("new-{number}"), "cluster": "c", "labels": {"site": "a"}});
            vec![world.post(&world.admin, "/api/v1/agents", body).await]
        };

        let (applied, retargeted, relabelled, appeared) = futures::join!(
            join_all((0..4).map(apply)),
            join_all((0..4).map(retarget)),
            join_all((0..4).map(relabel)),
            join_all((0..4).map(appear))
        );

        let answers: Vec<Answer> = [applied, retargeted, relabelled, appeared].into_iter().flatten().flatten().collect();
        for answer in &answers {
            assert!(answer.status.is_success(), "{}: {}", answer.status, answer.json);
        }
        for number in 0..4 {
            let rollout = world.get(&world.admin, &format!("/api/v1/stacks/stack-{number}/rollout")).await.expect(200).json;
            let deployments = rollout["deployments"].as_array().unwrap();
            let seen: BTreeMap<_, _> = deployments
                .iter()
                .map(|one| {
                    (one["agent"].as_str().unwrap(), (one["action"].as_str().unwrap(), one["generation"].as_u64().unwrap()))
                })
                .collect();
            assert_eq!(seen.len(), 8, "{seen:?}");
            assert!(seen.values().all(|(action, generation)| (*action, *generation) == ("apply", 3)), "{seen:?}");
        }
    })
    .await;
}

/// Several rounds, because connections and statements that are used for the first time keep the agents apart.
#[tokio::test]
async fn when_the_last_agents_acknowledge_at_once_the_stack_goes() {
    Engine::each(async |world: World| {
        let mut agents = Vec::new();
        for number in 0..4 {
            agents.push(world.agent(&format!("agent-{number}"), json!({})).await);
        }
        for round in 0..12 {
            world.stack("shop", json!({})).await.expect(201);
            world.apply("shop", "one").await.expect(201);
            world.delete(&world.admin, "/api/v1/stacks/shop").await.expect(202);
            let acknowledgements = join_all(agents.iter().map(|agent| world.report_of(agent, "deleted"))).await;

            let both = agents.iter().zip(acknowledgements);
            let answers = join_all(both.map(|(agent, body)| world.post(&agent.key, "/api/v1/agent/reports", body))).await;

            assert!(answers.iter().all(|answer| answer.json["results"] == json!(["accepted"])), "{answers:?}");
            assert_eq!(world.get(&world.admin, "/api/v1/stacks/shop").await.status, 404, "round {round}");
        }
    })
    .await;
}

#[tokio::test]
async fn reports_of_many_stacks_in_any_order_do_not_wait_for_each_other_or_for_a_relabelling() {
    Engine::each(async |world: World| {
        let agent = world.agent("edge", json!({"site": "a"})).await;
        for number in 0..6 {
            world.stack(&format!("stack-{number}"), json!({"site": "a"})).await.expect(201);
            world.apply(&format!("stack-{number}"), "one").await.expect(201);
        }
        let desired = world.desired(&agent).await.json;
        let report = |agent: &TestAgent, backwards: bool| {
            let mut reports: Vec<_> = desired["deployments"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| json!({"stack_id": one["stack_id"], "revision": one["revision"], "phase": "applied", "attempt": 1}))
                .collect();
            if backwards {
                reports.reverse();
            }
            let body = json!({"epoch": desired["epoch"], "reports": reports});
            let key = agent.key.clone();
            let world = &world;
            async move { world.post(&key, "/api/v1/agent/reports", body).await }
        };
        let relabel = |site: &'static str| {
            world.call(&world.admin, Method::PATCH, "/api/v1/agents/edge", json!({"labels": {"site": site}}))
        };
        let (a, b, c, d, e) =
            futures::join!(report(&agent, false), report(&agent, true), relabel("b"), report(&agent, true), relabel("a"));
        for answer in [a, b, c, d, e] {
            answer.expect(200);
        }
    })
    .await;
}

/// Several rounds, as above.
#[tokio::test]
async fn agents_that_are_given_up_and_stacks_that_are_targeted_at_them_do_not_wait_for_each_other() {
    Engine::each(async |world: World| {
        for round in 0..12 {
            let site = format!("s{round}");
            let names: Vec<_> = (0..3).map(|number| format!("edge-{round}-{number}")).collect();
            for name in &names {
                world.agent(name, json!({"site": site})).await;
            }
            let abandon = |name: &String| world.post(&world.admin, "/api/v1/agents:abandon", json!({"agent": name}));
            let target = |number: usize| {
                let (world, name, site) = (&world, format!("stack-{round}-{number}"), json!({"site": site}));
                async move { world.stack(&name, site).await }
            };
            let (abandoned, targeted) = futures::join!(join_all(names.iter().map(abandon)), join_all((0..4).map(target)));
            for answer in abandoned.iter().chain(&targeted) {
                assert!(answer.status.is_success(), "round {round}: {} {}", answer.status, answer.json);
            }
        }
    })
    .await;
}
