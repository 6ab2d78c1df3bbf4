use std::{sync::Arc, time::Duration};

use brokkr_api::AuditId;
use futures::future::join_all;
use serde_json::{Value, json};

use super::ends;
use crate::{
    jobs::work_orders::WorkOrders,
    store::Restore,
    testing::{Answer, Engine, TestAgent, World},
};

pub(super) fn job(name: &str) -> Value {
    json!({"name": name, "targets": {"labels": {"matchLabels": {"site": "a"}}},
        "work": {"job": {"manifest": {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "import"}, "spec": {}}}}})
}

impl World {
    pub(super) async fn order(&self, body: Value) -> String {
        let made = self.post(&self.admin, "/api/v1/work-orders", body).await.expect(201).json;
        made["id"].as_str().unwrap().to_owned()
    }

    pub(super) async fn claim(&self, agent: &TestAgent) -> Answer {
        self.post(&agent.key, "/api/v1/agent/work-orders:claim", json!({"kinds": ["job", "apply"]})).await.expect(200)
    }

    /// Claims the one order that there is, and starts it; its token.
    pub(super) async fn start_one(&self, agent: &TestAgent) -> u64 {
        let claimed = self.claim(agent).await.json;
        let (id, token) = (&claimed["orders"][0]["id"], claimed["orders"][0]["token"].as_u64().unwrap());
        self.tell(agent, id.as_str().unwrap(), token, "started").await.expect(200);
        token
    }

    pub(super) async fn tell(&self, agent: &TestAgent, id: &str, token: u64, outcome: &str) -> Answer {
        let body = json!({"id": id, "token": token, "outcome": outcome, "reason": "ExitCode", "retry": true});
        self.post(&agent.key, "/api/v1/agent/work-orders:report", body).await
    }

    pub(super) async fn look(&self, id: &str) -> Value {
        self.get(&self.admin, &format!("/api/v1/work-orders/{id}")).await.expect(200).json
    }

    /// Lets time pass, and with it what time alone does to orders.
    pub(super) async fn pass(&self, span: Duration) {
        self.clock.advance(span);
        let job = WorkOrders {
            db: self.state.db.clone(),
            clock: Arc::clone(&self.state.clock),
            ids: Arc::clone(&self.state.ids),
            board: Arc::clone(&self.state.board),
        };
        while job.batch().await.unwrap() {}
    }

    /// Types of the events, sorted: what happened at the same time is in no order.
    async fn events(&self) -> Vec<String> {
        while self.state.db.sequence_events().await.unwrap() > 0 {}
        let events = self.get(&self.admin, "/api/v1/events?type=work_order.").await.expect(200).json;
        let kind = |event: &Value| event["type"].as_str().unwrap().to_owned();
        let mut kinds: Vec<_> = events["items"].as_array().unwrap().iter().map(kind).collect();
        kinds.sort_unstable();
        kinds
    }
}

pub(super) const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn an_order_goes_from_its_request_to_its_end_with_its_events_and_in_few_statements() {
    Engine::each(async |world: World| {
        let agent = world.agent("edge", json!({"site": "a"})).await;
        let made = world.post(&world.admin, "/api/v1/work-orders", job("import")).await.expect(201);
        assert!(world.statements(&made).len() <= 8, "{:?}", world.statements(&made));
        let id = made.json["id"].as_str().unwrap();
        assert_eq!((&made.json["state"], &made.json["attempts"]), (&json!("queued"), &json!(0)));

        let claimed = world.claim(&agent).await;
        // A key that was made a moment ago may be looked up.
        let statements: Vec<_> = world.statements(&claimed).into_iter().filter(|statement| *statement != "FIND_KEY").collect();
        assert_eq!(statements, ["AGENT_AND_QUEUES", "CLAIM_ORDER"]);
        let order = &claimed.json["orders"][0];
        assert_eq!((&order["id"], &order["attempt"], &order["started"]), (&json!(id), &json!(1), &json!(false)));
        assert_eq!(order["trace"]["relation"], "parent", "a work order is for one agent");
        let token = order["token"].as_u64().unwrap();
        assert_eq!(world.claim(&agent).await.json["orders"], json!([]), "nobody gets it twice");

        world.tell(&agent, id, token, "started").await.expect(200);
        assert_eq!(world.look(id).await["waiting_for"], "agent edge to finish it");
        let body = json!({"id": id, "token": token, "outcome": "succeeded", "log": "done\u{0}",
            "object": {"apiVersion": "batch/v1", "kind": "Job", "namespace": "shop", "name": "import-1"}});
        let told = world.post(&agent.key, "/api/v1/agent/work-orders:report", body).await.expect(200);
        assert!(world.statements(&told).len() <= 8, "{:?}", world.statements(&told));
        let seen = world.look(id).await;
        assert_eq!(
            (&seen["state"], &seen["agent"], &seen["object"]["name"]),
            (&json!("succeeded"), &json!("edge"), &json!("import-1"))
        );
        let log = world.get(&world.admin, &format!("/api/v1/work-orders/{id}/log")).await.expect(200).json;
        assert_eq!(log["log"], "done\u{0}");
        assert_eq!(world.events().await, ["work_order.queued", "work_order.started", "work_order.succeeded"]);
        let audit = world.get(&world.admin, "/api/v1/audit?resource_kind=work_order").await.expect(200).json;
        assert_eq!(audit["items"].as_array().unwrap().len(), 1, "what a person did: {audit}");
    })
    .await;
}

#[tokio::test]
async fn a_lease_that_is_lost_before_the_start_takes_the_order_to_another_agent() {
    Engine::each(async |world: World| {
        let (first, second) =
            (world.agent("first", json!({"site": "a"})).await, world.agent("second", json!({"site": "a"})).await);
        let id = world.order(job("import")).await;
        let old = world.claim(&first).await.json["orders"][0]["token"].as_u64().unwrap();
        world.pass(MINUTE).await;
        let waiting = world.look(&id).await;
        assert_eq!(
            (&waiting["state"], &waiting["reason"], &waiting["attempts"]),
            (&json!("waiting"), &json!("agent_lost"), &json!(1))
        );
        world.pass(Duration::from_secs(10)).await;
        let order = &world.claim(&second).await.json["orders"][0];
        assert_eq!((&order["attempt"], &order["trace"]["relation"]), (&json!(2), &json!("link")));

        for outcome in ["started", "succeeded", "failed", "cancelled"] {
            assert_eq!(world.tell(&first, &id, old, outcome).await.expect(409).code(), "lease_lost", "{outcome}");
        }
        let renewal = json!({"orders": [{"id": id, "token": old}]});
        let renewed = world.post(&first.key, "/api/v1/agent/work-orders:renew", renewal).await.expect(200).json;
        assert_eq!(renewed["orders"][0]["held"], false);
        assert_eq!(world.look(&id).await["agent"], "second");
    })
    .await;
}

#[tokio::test]
async fn what_was_started_becomes_unknown_when_its_agent_is_lost_and_says_so() {
    Engine::each(async |world: World| {
        let agent = world.agent("edge", json!({"site": "a"})).await;
        let id = world.order(job("import")).await;
        let token = world.start_one(&agent).await;
        let renewal = json!({"orders": [{"id": id, "token": token, "progress": "1 of 3 pods"}]});
        world.clock.advance(MINUTE / 2);
        world.post(&agent.key, "/api/v1/agent/work-orders:renew", renewal).await.expect(200);
        world.pass(MINUTE / 2).await;
        let running = world.look(&id).await;
        assert_eq!((&running["state"], &running["progress"]), (&json!("running"), &json!("1 of 3 pods")));
        world.pass(MINUTE).await;
        let unknown = world.look(&id).await;
        assert_eq!((&unknown["state"], &unknown["reason"]), (&json!("unknown"), &json!("agent_lost")));
        assert_eq!(world.tell(&agent, &id, token, "succeeded").await.expect(409).code(), "lease_lost");
        assert_eq!(world.claim(&agent).await.json["orders"], json!([]), "it is started in no second cluster");
        assert_eq!(world.events().await, ["work_order.queued", "work_order.started", "work_order.unknown"]);

        let again = world.post(&world.admin, &format!("/api/v1/work-orders/{id}/retry"), Value::Null).await.expect(200).json;
        assert_eq!(again["state"], "queued", "unless a person wants it");
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_order_that_runs_is_stopped_by_its_agent() {
    Engine::each(async |world: World| {
        let agent = world.agent("edge", json!({"site": "a"})).await;
        let id = world.order(job("import")).await;
        let token = world.start_one(&agent).await;
        let etag = world.desired(&agent).await.header("etag").to_owned();
        let cancel = format!("/api/v1/work-orders/{id}/cancel");
        let (poll, cancelled) =
            ends(async { futures::join!(world.poll(&agent, &etag, "30s"), world.post(&world.admin, &cancel, Value::Null)) })
                .await;
        poll.expect(200);
        assert!(world.statements(&cancelled).len() <= 8, "{:?}", world.statements(&cancelled));
        let cancelled = cancelled.expect(200).json;
        assert_eq!((&cancelled["state"], &cancelled["cancelling"]), (&json!("running"), &json!(true)));
        let renewal = json!({"orders": [{"id": id, "token": token}]});
        let renewed = world.post(&agent.key, "/api/v1/agent/work-orders:renew", renewal).await.expect(200).json;
        assert_eq!(renewed["orders"][0], json!({"id": id, "held": true, "cancel": true}));
        world.tell(&agent, &id, token, "cancelled").await.expect(200);
        assert_eq!(world.look(&id).await["state"], "cancelled");
        assert_eq!(world.post(&world.admin, &cancel, Value::Null).await.expect(409).code(), "work_order_state");
    })
    .await;
}

#[tokio::test]
async fn an_agent_that_begins_anew_gets_what_it_has_under_new_tokens() {
    Engine::each(async |world: World| {
        let agent = world.agent("edge", json!({"site": "a"})).await;
        let id = world.order(job("import")).await;
        let old = world.start_one(&agent).await;
        let claim = json!({"kinds": [], "resume": true});
        let resumed = world.post(&agent.key, "/api/v1/agent/work-orders:claim", claim).await.expect(200).json;
        let order = &resumed["orders"][0];
        assert_eq!((&order["id"], &order["started"], &order["attempt"]), (&json!(id), &json!(true), &json!(1)));
        assert_eq!(world.tell(&agent, &id, old, "succeeded").await.expect(409).code(), "lease_lost", "another process of it");
        world.tell(&agent, &id, order["token"].as_u64().unwrap(), "succeeded").await.expect(200);
    })
    .await;
}

#[tokio::test]
async fn the_most_urgent_order_is_claimed_first_and_of_equals_the_oldest() {
    Engine::each(async |world: World| {
        let agent = world.agent("edge", json!({"site": "a", "size": "big"})).await;
        let mut ids = Vec::new();
        for (name, priority) in [("low", -5), ("first", 0), ("second", 0), ("urgent", 7)] {
            world.clock.advance(Duration::from_millis(2));
            ids.push(
                world
                    .order(
                        json!({"priority": priority, "name": name, "work": job(name)["work"], "targets": job(name)["targets"]}),
                    )
                    .await,
            );
        }
        let other = json!({"labels": {"matchLabels": {"size": "big"}}});
        world.clock.advance(Duration::from_millis(2));
        ids.push(world.order(json!({"priority": 3, "name": "other", "work": job("x")["work"], "targets": other})).await);
        let mut claimed = Vec::new();
        for _ in 0..5 {
            claimed.push(world.claim(&agent).await.json["orders"][0]["name"].as_str().unwrap().to_owned());
        }
        assert_eq!(claimed, ["urgent", "other", "first", "second", "low"]);
    })
    .await;
}

#[tokio::test]
async fn nobody_claims_what_is_for_others_or_not_due_and_a_suspended_agent_claims_nothing() {
    Engine::each(async |world: World| {
        let (agent, other) = (world.agent("edge", json!({"site": "a"})).await, world.agent("other", json!({"site": "b"})).await);
        let mut later = job("later");
        later["not_before"] = json!("2026-01-01T00:01:00Z");
        let id = world.order(later).await;
        assert_eq!(world.look(&id).await["state"], "waiting");
        for agent in [&agent, &other] {
            assert_eq!(world.claim(agent).await.json["orders"], json!([]));
        }
        world.pass(MINUTE).await;
        assert_eq!(world.claim(&other).await.json["orders"], json!([]));
        world.put(&world.admin, "/api/v1/agents/edge/suspension", json!({"reason": "maintenance"})).await.expect(200);
        assert_eq!(world.claim(&agent).await.json["orders"], json!([]));
        world.delete(&world.admin, "/api/v1/agents/edge/suspension").await.expect(200);
        assert_eq!(world.claim(&agent).await.json["orders"][0]["id"], json!(id));
    })
    .await;
}

#[tokio::test]
async fn a_poll_with_free_hands_ends_when_there_is_work_and_still_runs_no_sql() {
    Engine::each(async |world: World| {
        let agent = world.agent("edge", json!({"site": "a"})).await;
        let etag = world.desired(&agent).await.header("etag").to_owned();
        let (poll, id) =
            ends(async { futures::join!(world.poll(&agent, &etag, "30s&work_orders=1"), world.order(job("import"))) }).await;
        let poll = poll.expect(304);
        assert_eq!((poll.header("brokkr-work-orders"), world.statements(&poll)), ("waiting", vec![]));
        assert_eq!(world.claim(&agent).await.json["orders"][0]["id"], json!(id));

        let poll = world.poll(&agent, &etag, "100ms&work_orders=1").await.expect(304);
        assert_eq!(poll.header("brokkr-work-orders"), "", "there is nothing more");
    })
    .await;
}

#[tokio::test]
async fn many_who_claim_at_once_get_each_order_once() {
    Engine::each(async |world: World| {
        let agents = join_all((0..10).map(|number| {
            let world = &world;
            async move { world.agent(&format!("edge-{number}"), json!({"site": "a"})).await }
        }))
        .await;
        for number in 0..30 {
            world.order(job(&format!("job-{number}"))).await;
        }
        let claimed = join_all(agents.iter().cycle().take(60).map(|agent| world.claim(agent))).await;
        let mut ids: Vec<_> =
            claimed.iter().filter_map(|answer| answer.json["orders"][0]["id"].as_str().map(str::to_owned)).collect();
        let claims = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), claims, "one of them twice");
        // Who came while others held the last ones may have found nothing; those are still there.
        let mut rest = 0;
        while world.claim(&agents[0]).await.json["orders"][0].is_object() {
            rest += 1;
        }
        assert_eq!(claims + rest, 30);
    })
    .await;
}

#[tokio::test]
async fn after_a_restore_from_backup_open_orders_are_unknown_and_former_tokens_open_nothing() {
    Engine::each(async |world: World| {
        let agent = world.agent("edge", json!({"site": "a"})).await;
        let id = world.order(job("import")).await;
        let token = world.start_one(&agent).await;
        let now = world.state.clock.now();
        let restore = Restore { jump: 1_000, suspend: false, now };
        let mut tx = world.state.db.begin().await.unwrap();
        tx.restore_epoch(restore, "another", AuditId(world.state.ids.uuid(now))).await.unwrap();
        tx.commit().await.unwrap();
        let unknown = world.look(&id).await;
        assert_eq!((&unknown["state"], &unknown["reason"]), (&json!("unknown"), &json!("restored")));
        assert_eq!(world.tell(&agent, &id, token, "succeeded").await.expect(409).code(), "lease_lost");
        world.post(&world.admin, &format!("/api/v1/work-orders/{id}/retry"), Value::Null).await.expect(200);
        assert!(world.start_one(&agent).await > token + 1, "what was given since the backup is not given again");
    })
    .await;
}
