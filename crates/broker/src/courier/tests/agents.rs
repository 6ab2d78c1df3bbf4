//! Webhooks that agents send: what is claimed and reported over the API, on both engines.

use brokkr_api::deliveries::{ClaimedDeliveries, DeliveryToSend};

use super::*;
use crate::testing::{Answer, TestAgent};

const CLAIM: &str = "/api/v1/agent/webhook-deliveries:claim";
const REPORT: &str = "/api/v1/agent/webhook-deliveries:report";

/// Settings of a webhook that agents of site a send.
fn by_site_a(mut settings: Value) -> Value {
    settings["deliver_by"] = json!({"labels": {"matchLabels": {"site": "a"}}});
    settings
}

impl Post {
    async fn agents(&self) -> (TestAgent, TestAgent) {
        (self.world.agent("edge", json!({"site": "a"})).await, self.world.agent("other", json!({"site": "b"})).await)
    }

    async fn claim(&self, agent: &TestAgent, limit: u32) -> ClaimedDeliveries {
        claim(&self.world, agent, limit).await
    }

    /// The one delivery that there is for this agent.
    async fn one(&self, agent: &TestAgent) -> DeliveryToSend {
        let mut claimed = self.claim(agent, 10).await.deliveries;
        assert_eq!(claimed.len(), 1, "{claimed:?}");
        claimed.remove(0)
    }

    /// Reports an attempt, and tells what became of the report.
    async fn tell(&self, agent: &TestAgent, delivery: &DeliveryToSend, change: Value) -> Value {
        let answer = self.world.post(&agent.key, REPORT, json!({"deliveries": [told(delivery, &change)]})).await.expect(200);
        answer.json["results"][0].clone()
    }
}

async fn claim(world: &World, agent: &TestAgent, limit: u32) -> ClaimedDeliveries {
    let claimed = world.post(&agent.key, CLAIM, json!({"limit": limit})).await.expect(200).json;
    serde_json::from_value(claimed).unwrap()
}

fn told(delivery: &DeliveryToSend, change: &Value) -> Value {
    let mut report = json!({"id": delivery.id, "token": delivery.token, "result": "success", "status": 200, "latency_ms": 12});
    for (key, value) in change.as_object().unwrap() {
        report[key] = value.clone();
    }
    report
}

fn headers(delivery: &DeliveryToSend) -> HeaderMap {
    let header = |(name, value): (&String, &String)| (name.parse().unwrap(), value.parse().unwrap());
    delivery.headers.iter().map(header).collect()
}

#[tokio::test]
async fn an_agent_gets_what_it_is_to_send_signed_and_nobody_else_does() {
    Post::each(async |mut post: Post| {
        let (edge, other) = post.agents().await;
        let body = json!({"settings": by_site_a(json!({"events": ["stack.*"]})), "headers": {"Authorization": "Bearer hunter2"}});
        let secret = post.webhook_of(&post.world.admin, "chat", body).await;
        let made = post.world.stack("shop", json!({})).await.expect(201);
        post.settle().await;
        assert_eq!(post.arrived().len(), 0, "the broker has not sent it");
        assert_eq!(post.claim(&other, 10).await.deliveries, []);

        let answer = post.world.post(&edge.key, CLAIM, json!({"limit": 10})).await.expect(200);
        assert!(!answer.json.to_string().contains(&secret[6..]), "what it is signed with stays here");
        let claimed: ClaimedDeliveries = serde_json::from_value(answer.json).unwrap();
        assert_eq!((claimed.deliveries.len(), claimed.lease_seconds, claimed.again_after_ms), (1, 60, None));
        let delivery = &claimed.deliveries[0];
        let now = post.world.state.clock.now().as_micros() / 1_000_000;
        let id = Verifier::parse(&secret).unwrap().verify(&headers(delivery), delivery.body.as_bytes(), now).unwrap().to_owned();
        assert_eq!(id, delivery.id.to_string());
        assert_eq!((delivery.headers["authorization"].as_str(), delivery.url.as_str()), ("Bearer hunter2", post.url.as_str()));
        assert_eq!((delivery.headers["content-type"].as_str(), delivery.attempt), ("application/json", 1));
        let trace = delivery.trace.as_ref().unwrap();
        assert_eq!(&trace.traceparent[3..35], made.header("x-trace-id"));
        assert_eq!(trace.relation, brokkr_api::Relation::Parent);
        assert_eq!(post.claim(&edge, 10).await.deliveries, [], "it is on its way");

        let place = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let report = json!({"answer": "thanks, Bearer hunter2", "traceparent": place});
        assert_eq!(post.tell(&edge, delivery, report).await, "accepted");
        let shown = post.delivery("chat", delivery.id).await;
        assert_eq!((shown.state.as_str(), shown.attempts, shown.log.len()), ("delivered", 1, 1));
        assert_eq!((shown.log[0].answer.as_str(), shown.log[0].latency_ms), ("thanks, ***", 12));
        assert_eq!(shown.log[0].trace_id.as_deref(), Some(&place[3..35]));
    })
    .await;
}

#[tokio::test]
async fn what_is_reported_too_late_or_by_another_changes_nothing() {
    Post::each(async |mut post: Post| {
        let (edge, other) = post.agents().await;
        post.webhook("chat", by_site_a(json!({"events": ["stack.*"]}))).await;
        post.world.stack("shop", json!({})).await.expect(201);
        post.settle().await;
        let first = post.one(&edge).await;
        post.later(LEASE.as_secs() + 1).await;
        let second = post.one(&edge).await;
        assert_eq!((first.id, second.attempt), (second.id, 2));
        assert_eq!(post.tell(&edge, &first, json!({"result": "gone", "status": 410})).await, "lost");
        assert_eq!(post.tell(&other, &second, json!({})).await, "lost");
        let shown = post.delivery("chat", first.id).await;
        assert_eq!((shown.state.as_str(), shown.log.len()), ("pending", 0));
        assert_eq!(post.state_of("chat").await.0, "enabled");

        let twice = json!({"deliveries": [told(&second, &json!({})), told(&second, &json!({"result": "timeout"}))]});
        let answer = post.world.post(&edge.key, REPORT, twice).await.expect(200).json;
        assert_eq!(answer["results"], json!(["accepted", "lost"]));
        assert_eq!(post.delivery("chat", first.id).await.state.as_str(), "delivered");
        assert_eq!(post.tell(&edge, &second, json!({"result": "timeout"})).await, "lost", "it is told");
    })
    .await;
}

#[tokio::test]
async fn what_fails_is_due_again_by_the_same_schedule_and_linked_to_the_attempt_before() {
    Post::each(async |mut post: Post| {
        let (edge, _) = post.agents().await;
        post.webhook("chat", by_site_a(json!({"events": ["stack.*"]}))).await;
        post.world.stack("shop", json!({})).await.expect(201);
        post.settle().await;
        let first = post.one(&edge).await;
        let place = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let failed = json!({"result": "throttled", "status": 429, "retry_after_seconds": 120, "traceparent": place});
        post.tell(&edge, &first, failed).await;
        post.later(119).await;
        assert_eq!(post.claim(&edge, 10).await.deliveries, [], "who says when is not asked earlier");
        post.later(1).await;
        let second = post.one(&edge).await;
        assert_eq!((second.id, second.attempt, second.before.as_deref()), (first.id, 2, Some(place)));
        assert_eq!(second.trace.as_ref().unwrap().relation, brokkr_api::Relation::Link);
        post.tell(&edge, &second, json!({"result": "gone", "status": 410})).await;
        assert_eq!(post.state_of("chat").await, ("disabled".to_owned(), Some("receiver_gone".to_owned())));
        post.later(3_600).await;
        assert_eq!(post.claim(&edge, 10).await.deliveries, []);
    })
    .await;
}

#[tokio::test]
async fn in_order_the_next_of_a_stack_is_handed_out_when_the_one_before_it_has_arrived() {
    Post::each(async |mut post: Post| {
        let (edge, _) = post.agents().await;
        post.webhook("chat", by_site_a(json!({"events": ["stack.*", "deployment_object.*"], "ordered": true}))).await;
        post.world.stack("shop", json!({})).await.expect(201);
        for value in ["one", "two"] {
            post.world.apply("shop", value).await.expect(201);
        }
        post.settle().await;
        let mut positions = Vec::new();
        for _ in 0..3 {
            let delivery = post.one(&edge).await;
            positions.push(serde_json::from_str::<Value>(&delivery.body).unwrap()["data"]["position"].as_u64().unwrap());
            assert_eq!(post.claim(&edge, 10).await.deliveries, []);
            post.tell(&edge, &delivery, json!({})).await;
        }
        assert!(positions.is_sorted(), "{positions:?}");
        assert_eq!(post.claim(&edge, 10).await.deliveries, []);
    })
    .await;
}

#[tokio::test]
async fn two_agents_and_a_broker_side_by_side_never_have_the_same() {
    Post::each(async |mut post: Post| {
        let (edge, _) = post.agents().await;
        let second = post.world.agent("second", json!({"site": "a"})).await;
        post.webhook("chat", by_site_a(json!({"events": ["stack.*"], "concurrency": 16}))).await;
        post.webhook("own", json!({"events": ["stack.*"]})).await;
        for number in 0..30 {
            post.world.stack(&format!("shop-{number}"), json!({})).await.expect(201);
        }
        post.settle().await;
        assert_eq!(post.arrived().len(), 30, "its own, which nobody else sends");
        let mut ids = Vec::new();
        loop {
            let (one, two) = futures::join!(post.claim(&edge, 4), post.claim(&second, 4));
            assert!(one.deliveries.len() <= 4 && two.deliveries.len() <= 4);
            if one.deliveries.is_empty() && two.deliveries.is_empty() {
                break;
            }
            for (agent, claimed) in [(&edge, one), (&second, two)] {
                for delivery in &claimed.deliveries {
                    assert_eq!(post.tell(agent, delivery, json!({})).await, "accepted");
                    ids.push(delivery.id);
                }
            }
        }
        assert_eq!(ids.len(), 30);
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 30);
    })
    .await;
}

#[tokio::test]
async fn a_receiver_earns_its_attempts_whoever_makes_them_and_is_left_alone_when_it_fails() {
    Post::each(async |mut post: Post| {
        let (edge, _) = post.agents().await;
        post.webhook("chat", by_site_a(json!({"events": ["stack.*"], "concurrency": 4}))).await;
        for number in 0..20 {
            post.world.stack(&format!("shop-{number}"), json!({})).await.expect(201);
        }
        post.settle().await;
        let mut seen = Vec::new();
        for result in ["success", "success", "success", "server_error"] {
            let claimed = post.claim(&edge, 64).await.deliveries;
            seen.push(claimed.len());
            let reports: Vec<_> = claimed.iter().map(|delivery| told(delivery, &json!({"result": result}))).collect();
            post.world.post(&edge.key, REPORT, json!({"deliveries": reports})).await.expect(200);
        }
        assert_eq!(seen, [1, 2, 4, 4]);
        let last = post.one(&edge).await;
        post.tell(&edge, &last, json!({"result": "timeout"})).await;
        assert_eq!(post.claim(&edge, 64).await.deliveries, [], "five failures in a row");
        post.later(5).await;
        post.one(&edge).await;
    })
    .await;
}

#[tokio::test]
async fn a_rate_says_after_how_long_there_is_more() {
    Post::each(async |mut post: Post| {
        let (edge, _) = post.agents().await;
        post.webhook("chat", by_site_a(json!({"events": ["stack.*"], "rate_per_second": 10}))).await;
        for number in 0..2 {
            post.world.stack(&format!("shop-{number}"), json!({})).await.expect(201);
        }
        post.settle().await;
        let delivery = post.one(&edge).await;
        post.tell(&edge, &delivery, json!({})).await;
        let held = post.claim(&edge, 10).await;
        assert_eq!((held.deliveries.len(), held.again_after_ms), (0, Some(100)));
        post.world.clock.advance(Duration::from_millis(100));
        post.one(&edge).await;
    })
    .await;
}

#[tokio::test]
async fn a_report_at_another_broker_gives_the_receiver_its_attempt_back() {
    Post::each(async |mut post: Post| {
        let (edge, _) = post.agents().await;
        post.webhook("chat", by_site_a(json!({"events": ["stack.*"]}))).await;
        for number in 0..2 {
            post.world.stack(&format!("shop-{number}"), json!({})).await.expect(201);
        }
        post.settle().await;
        let first = post.one(&edge).await;
        {
            let elsewhere = post.world.replica().await;
            let report = json!({"deliveries": [told(&first, &json!({}))]});
            assert_eq!(elsewhere.post(&edge.key, REPORT, report).await.expect(200).json["results"], json!(["accepted"]));
        }
        assert_eq!(post.claim(&edge, 10).await.deliveries, [], "here it is on its way still");
        post.later(3).await;
        assert_ne!(post.one(&edge).await.id, first.id);
    })
    .await;
}

#[tokio::test]
async fn a_poll_with_free_hands_ends_when_there_is_something_to_send_and_still_runs_no_sql() {
    Post::each(async |mut post: Post| {
        let (edge, other) = post.agents().await;
        post.webhook("chat", by_site_a(json!({"events": ["stack.*"]}))).await;
        post.settle().await;
        let etag = post.world.desired(&edge).await.header("etag").to_owned();
        let other_etag = post.world.desired(&other).await.header("etag").to_owned();
        let mut poll = Box::pin(post.world.poll(&edge, &etag, "30s&webhook_deliveries=4"));
        let mut bystander = Box::pin(post.world.poll(&other, &other_etag, "30s&webhook_deliveries=4"));
        assert!(futures::poll!(&mut poll).is_pending() && futures::poll!(&mut bystander).is_pending());
        post.world.stack("shop", json!({"site": "nowhere"})).await.expect(201);
        let both = async {
            loop {
                // Whoever parked is known a moment later.
                work(&post.courier, &mut post.hands).await;
                if let std::task::Poll::Ready(answer) = futures::poll!(&mut poll) {
                    return answer;
                }
                tokio::task::yield_now().await;
            }
        };
        let answer: Answer = tokio::time::timeout(Duration::from_secs(20), both).await.unwrap().expect(304);
        assert_eq!((answer.header("brokkr-webhook-deliveries"), post.world.statements(&answer)), ("waiting", vec![]));
        assert!(futures::poll!(&mut bystander).is_pending(), "it is none of its business");
        post.one(&edge).await;
        let answer = post.world.poll(&edge, &etag, "100ms&webhook_deliveries=4").await.expect(304);
        assert_eq!(answer.header("brokkr-webhook-deliveries"), "", "there is nothing more");
    })
    .await;
}

#[tokio::test]
async fn a_webhook_says_why_nobody_sends() {
    Post::each(async |post: Post| {
        post.webhook("chat", by_site_a(json!({}))).await;
        let why = async |webhook: &str| {
            let shown = post.world.get(&post.world.admin, &format!("/api/v1/webhooks/{webhook}")).await.expect(200).json;
            let listed = post.world.get(&post.world.admin, "/api/v1/webhooks").await.expect(200).json;
            let found = listed["items"].as_array().unwrap().iter().find(|item| item["name"] == webhook).unwrap().clone();
            assert_eq!(found["no_sender"], shown["no_sender"]);
            shown["no_sender"].clone()
        };
        assert_eq!(why("chat").await, "no_match");
        let (edge, _) = post.agents().await;
        assert_eq!(why("chat").await, "not_enabled");
        let hello = json!({"cluster_uid": "a", "version": "1", "kubernetes_version": "1", "capabilities": ["webhooks"]});
        post.world.put(&edge.key, "/api/v1/agent/cluster", hello).await.expect(200);
        assert_eq!(why("chat").await, "offline");
        post.world.state.presence.flush(&post.world.state.db).await.unwrap();
        assert_eq!(why("chat").await, Value::Null);
        post.webhook("own", json!({})).await;
        assert_eq!(why("own").await, Value::Null);
    })
    .await;
}

#[tokio::test]
async fn where_agents_send_the_broker_judges_no_address_until_it_is_to_send_itself() {
    Post::each(async |post: Post| {
        let inside = "http://receiver.tools.svc:8080/hook";
        let refused = json!({"name": "inside", "url": inside});
        assert_eq!(post.world.post(&post.world.admin, "/api/v1/webhooks", refused).await.expect(422).code(), "webhook_url");
        let body = json!({"name": "inside", "url": inside, "settings": by_site_a(json!({}))});
        post.world.post(&post.world.admin, "/api/v1/webhooks", body).await.expect(201);
        let change = async |body: Value| post.world.call(&post.world.admin, Method::PATCH, "/api/v1/webhooks/inside", body).await;
        assert_eq!(change(json!({"settings": {}})).await.expect(422).code(), "webhook_url");
        change(json!({"url": "http://other.tools.svc:8080/"})).await.expect(200);
        change(json!({"settings": {}, "url": post.url})).await.expect(200);
        let wrong = json!({"settings": {"deliver_by": {"labels": {"matchExpressions": [{"key": "a", "operator": "In"}]}}}});
        change(wrong).await.expect(400);
    })
    .await;
}

#[tokio::test]
async fn a_suspended_agent_tells_what_happened_and_a_deactivated_one_nothing() {
    Post::each(async |mut post: Post| {
        let (edge, _) = post.agents().await;
        post.webhook("chat", by_site_a(json!({"events": ["stack.*"]}))).await;
        post.world.stack("shop", json!({})).await.expect(201);
        post.settle().await;
        post.world.put(&post.world.admin, "/api/v1/agents/edge/suspension", json!({"reason": "maintenance"})).await.expect(200);
        let delivery = post.one(&edge).await;
        post.world.put(&post.world.admin, "/api/v1/agents/edge/deactivation", Value::Null).await.expect(200);
        let closed = async {
            // The feed follows its database.
            while post.world.post(&edge.key, CLAIM, json!({"limit": 1})).await.status != StatusCode::FORBIDDEN {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), closed).await.unwrap();
        let report = json!({"deliveries": [told(&delivery, &json!({}))]});
        post.world.post(&edge.key, REPORT, report).await.expect(403);
        post.later(LEASE.as_secs() + 1).await;
        post.world.post(&edge.key, CLAIM, json!({"limit": 1})).await.expect(403);
        assert_eq!(post.delivery("chat", delivery.id).await.state.as_str(), "pending");
    })
    .await;
}

#[tokio::test]
async fn what_no_report_can_say_is_refused() {
    Post::each(async |post: Post| {
        let (edge, _) = post.agents().await;
        let id = "00000000-0000-7000-8000-000000000000";
        let good = json!({"id": id, "token": 1, "result": "success", "status": 200, "latency_ms": 1});
        for (field, value) in [
            ("result", json!("well")),
            ("status", json!(99)),
            ("token", json!(u64::MAX)),
            ("latency_ms", json!(3_600_001)),
            ("retry_after_seconds", json!(86_401)),
            ("answer", json!("a".repeat(257))),
        ] {
            let mut bad = good.clone();
            bad[field] = value;
            let answer = post.world.post(&edge.key, REPORT, json!({"deliveries": [bad]})).await.expect(400);
            assert_eq!(answer.code(), "invalid_field", "{field}");
        }
        post.world.post(&edge.key, REPORT, json!({"deliveries": vec![good.clone(); 65]})).await.expect(400);
        let unknown = post.world.post(&edge.key, REPORT, json!({"deliveries": [good]})).await.expect(200).json;
        assert_eq!(unknown["results"], json!(["lost"]));
        for limit in [0, 65] {
            post.world.post(&edge.key, CLAIM, json!({"limit": limit})).await.expect(400);
        }
    })
    .await;
}
