//! Receivers that fail, and brokers that die.

use super::*;

#[tokio::test]
async fn what_fails_is_sent_again_later_under_the_same_id_and_linked_to_the_attempt_before() {
    Post::each(async |mut post: Post| {
        post.webhook("chat", json!({"events": ["stack.*"]})).await;
        post.answers(&[500, 503]);
        post.world.stack("shop", json!({})).await.expect(201);
        post.settle().await;
        post.later(3).await;
        assert_eq!(post.arrived().len(), 1, "the second is not due");
        post.later(4).await;
        post.later(100).await;
        let second = post.arrived();
        assert_eq!(second.len(), 1);
        post.later(300).await;
        let third = post.arrived();
        assert_eq!(second[0].header("webhook-id"), third[0].header("webhook-id"));
        assert_eq!(second[0].body, third[0].body);
        assert_ne!(second[0].header("webhook-timestamp"), third[0].header("webhook-timestamp"));

        let shown = post.delivery("chat", third[0].header("webhook-id")).await;
        assert_eq!(shown.log.iter().map(|attempt| attempt.status.unwrap()).collect::<Vec<_>>(), [500, 503, 200]);
        let spans = post.world.capture.spans();
        let attempts: Vec<_> = spans.iter().filter(|span| span.name() == "send webhook").collect();
        assert_eq!(attempts.len(), 3);
        for (before, attempt) in attempts.iter().zip(&attempts[1..]) {
            let links = attempt.links();
            assert!(links.contains(&before.span_id()), "{links:?}");
            assert_eq!(links.len(), 2, "and to what happened");
            assert_ne!(attempt.trace_id(), before.trace_id(), "a late attempt is a trace of its own");
        }
    })
    .await;
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_told_nothing_more_and_others_are_told_of_it() {
    Post::each(async |mut post: Post| {
        post.webhook("chat", json!({"events": ["stack.*"]})).await;
        post.webhook("watch", json!({"events": ["webhook.disabled"]})).await;
        post.answers(&[410]);
        post.world.stack("shop", json!({})).await.expect(201);
        post.settle().await;
        assert_eq!(post.types(), ["stack.created", "webhook.disabled"]);
        assert_eq!(post.state_of("chat").await, ("disabled".to_owned(), Some("receiver_gone".to_owned())));
        post.world.stack("house", json!({})).await.expect(201);
        post.later(3_600).await;
        assert_eq!(post.arrived().len(), 0);

        let enable = json!({"state": "enabled"});
        post.world.call(&post.world.admin, Method::PATCH, "/api/v1/webhooks/chat", enable).await.expect(200);
        post.later(1).await;
        assert_eq!(post.types(), ["stack.created"], "what waited goes on, and what happened meanwhile is not told");
        assert_eq!(post.state_of("chat").await, ("enabled".to_owned(), None));
    })
    .await;
}

#[tokio::test]
async fn a_receiver_that_fails_for_five_days_is_left_alone() {
    Post::each(async |mut post: Post| {
        post.webhook("chat", json!({"events": ["stack.*"]})).await;
        post.answers(&[500; 100]);
        post.world.stack("shop", json!({})).await.expect(201);
        // Through the whole schedule, and the pauses that a failing receiver gets.
        for _ in 0..52 {
            post.later(2 * 3_600 + 600).await;
        }
        let listed = post.deliveries("chat").await;
        assert_eq!((listed[0].state.as_str(), listed[0].attempts), ("dead", 10));
        assert_eq!(post.state_of("chat").await.0, "enabled");
        post.later(2 * 24 * 3_600).await;
        post.world.stack("house", json!({})).await.expect(201);
        post.settle().await;
        assert_eq!(post.state_of("chat").await, ("disabled".to_owned(), Some("failed_for_days".to_owned())));
    })
    .await;
}

#[tokio::test]
async fn one_success_in_between_and_the_five_days_begin_again() {
    Post::each(async |mut post: Post| {
        post.webhook("chat", json!({"events": ["stack.*"]})).await;
        post.answers(&[500, 200, 500]);
        post.world.stack("shop", json!({})).await.expect(201);
        post.settle().await;
        post.later(7).await;
        post.later(6 * 24 * 3_600).await;
        post.world.stack("house", json!({})).await.expect(201);
        post.settle().await;
        assert_eq!(post.arrived().len(), 3);
        assert_eq!(post.state_of("chat").await.0, "enabled");
    })
    .await;
}

#[tokio::test]
async fn deliveries_are_sent_again_one_by_one_by_time_or_all_that_were_given_up() {
    Post::each(async |mut post: Post| {
        post.webhook("chat", json!({"events": ["stack.*"]})).await;
        let begin = post.world.state.clock.now();
        post.world.stack("shop", json!({})).await.expect(201);
        post.later(60).await;
        let between = post.world.state.clock.now();
        post.world.stack("house", json!({})).await.expect(201);
        post.settle().await;
        let first = post.arrived();
        assert_eq!(first.len(), 2);

        assert_eq!(post.replay(json!({"delivery": first[1].header("webhook-id")})).await, 1);
        post.settle().await;
        assert_eq!(post.arrived()[0].header("webhook-id"), first[1].header("webhook-id"));
        assert_eq!(post.replay(json!({"since": begin, "until": between})).await, 1);
        post.settle().await;
        assert_eq!(post.arrived()[0].header("webhook-id"), first[0].header("webhook-id"));
        assert_eq!(post.replay(json!({"failed": true})).await, 0);

        post.answers(&[500; 20]);
        assert_eq!(post.replay(json!({"delivery": first[0].header("webhook-id")})).await, 1);
        for _ in 0..60 {
            post.later(2 * 3_600).await;
        }
        assert_eq!(post.delivery("chat", first[0].header("webhook-id")).await.state.as_str(), "dead");
        post.answers(&[]);
        post.arrived();
        assert_eq!(post.replay(json!({"failed": true})).await, 1);
        post.settle().await;
        assert_eq!(post.arrived()[0].header("webhook-id"), first[0].header("webhook-id"));
        let unknown = json!({"delivery": "00000000-0000-7000-8000-000000000000"});
        post.world.post(&post.world.admin, "/api/v1/webhooks/chat/replay", unknown).await.expect(404);
    })
    .await;
}

#[tokio::test]
async fn what_a_broker_had_when_it_died_is_sent_by_another_after_its_lease() {
    Post::each(async |mut post: Post| {
        post.webhook("chat", json!({"events": ["stack.*"]})).await;
        post.world.stack("shop", json!({})).await.expect(201);
        // The first claims, and is never heard of again.
        let (dead, mut lost) = (courier(&post.world, "dead"), Hands { sequence: true, ..Hands::default() });
        dead.look(&mut lost).await.unwrap();
        dead.sequence(&mut lost).await.unwrap();
        dead.claim(&mut lost).await.unwrap();
        assert_eq!(lost.lanes.values().map(|lane| lane.waiting.len()).sum::<usize>(), 1);
        post.settle().await;
        assert_eq!(post.arrived().len(), 0, "it is somebody else's");
        post.later(LEASE.as_secs() + 1).await;
        let arrived = post.arrived();
        assert_eq!(arrived.len(), 1);
        let shown = post.delivery("chat", arrived[0].header("webhook-id")).await;
        assert_eq!((shown.state.as_str(), shown.attempts), ("delivered", 2));
        let log: Vec<_> = shown.log.iter().map(|attempt| (attempt.number, attempt.result.as_str())).collect();
        assert_eq!(log, [(1, "lost"), (2, "success")], "every attempt is listed");

        // It comes back and believes that it still has it: what it writes is not taken.
        let late = lost.lanes.values_mut().next().unwrap().waiting.pop_front().unwrap().delivery;
        lost.settled.push(Settled { delivery: late, judged: Judged::Dead });
        dead.settle(&mut lost).await.unwrap();
        assert_eq!(post.delivery("chat", arrived[0].header("webhook-id")).await.state.as_str(), "delivered");
    })
    .await;
}
