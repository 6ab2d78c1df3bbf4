//! What receivers can rely on, what is secret, and where messages may go.

use super::*;

#[tokio::test]
async fn while_a_secret_is_replaced_both_sign() {
    Post::each(async |mut post: Post| {
        let old = post.webhook("chat", json!({})).await;
        let rotated = post.world.post(&post.world.admin, "/api/v1/webhooks/chat/rotate", json!({"overlap_seconds": 600})).await;
        let new = rotated.expect(200).json["secret"].as_str().unwrap().to_owned();
        assert_ne!(old, new);
        post.settle().await;
        post.arrived();
        post.world.post(&post.world.admin, "/api/v1/webhooks/chat/test", Value::Null).await.expect(202);
        post.settle().await;
        let during = post.arrived();
        assert_eq!(during[0].json()["type"], "webhook.test");
        assert_eq!(verify(&old, &during[0]), verify(&new, &during[0]));
        post.later(600).await;
        post.world.post(&post.world.admin, "/api/v1/webhooks/chat/test", Value::Null).await.expect(202);
        post.settle().await;
        let after = post.arrived();
        verify(&new, &after[0]);
        let now = after[0].at.as_micros() / 1_000_000;
        assert!(Verifier::parse(&old).unwrap().verify(&after[0].headers, &after[0].body, now).is_err());
    })
    .await;
}

#[tokio::test]
async fn a_public_key_verifies_and_cloud_events_are_what_their_standard_says() {
    Post::each(async |mut post: Post| {
        let body = json!({"signature": "v1a", "settings": {"format": "cloudevents", "events": ["stack.*"]}, "headers": {"X-Api-Key": "hunter2"}});
        let public = post.webhook_of(&post.world.admin, "chat", body).await;
        assert!(public.starts_with("whpk_"));
        post.world.stack("shop", json!({})).await.expect(201);
        post.settle().await;
        let arrived = post.arrived();
        let (event, id) = (arrived[0].json(), verify(&public, &arrived[0]));
        assert_eq!(arrived[0].header("content-type"), "application/cloudevents+json");
        assert_eq!(arrived[0].header("x-api-key"), "hunter2");
        assert_eq!((event["specversion"].as_str(), event["id"].as_str()), (Some("1.0"), Some(id.as_str())));
        assert_eq!((event["type"].as_str(), event["subject"].as_str()), (Some("io.brokkr.stack.created"), Some("stacks/shop")));
        assert_eq!(event["source"], "/brokkr/here");
        let (name, place) = event["dataschema"].as_str().unwrap().split_once('#').unwrap();
        let document = post.world.get(&post.world.admin, "/api/v1/event-types/stack.created").await.expect(200).json;
        assert_eq!(document["$id"], name);
        let wrong = schema::departs(document.pointer(place).unwrap(), &event["data"], "data");
        assert_eq!(wrong, None);
    })
    .await;
}

#[tokio::test]
async fn a_generator_has_webhooks_of_its_own_and_hears_of_its_own_stacks() {
    Post::each(async |mut post: Post| {
        let (mine, yours) = (post.world.generator("mine").await, post.world.generator("yours").await);
        post.webhook_of(&mine, "chat", json!({})).await;
        let settings = json!({"targets": {"labels": {}}});
        post.world.put(&yours, "/api/v1/stacks/house", settings.clone()).await.expect(201);
        post.world.put(&mine, "/api/v1/stacks/shop", settings).await.expect(201);
        post.world.agent("edge", json!({})).await;
        post.settle().await;
        let arrived = post.arrived();
        assert_eq!(arrived.len(), 1);
        assert_eq!(
            (arrived[0].json()["type"].as_str(), arrived[0].json()["data"]["stack"].as_str()),
            (Some("stack.created"), Some("shop"))
        );
        post.world.get(&yours, "/api/v1/webhooks/chat").await.expect(404);
        post.world.post(&yours, "/api/v1/webhooks/chat/test", Value::Null).await.expect(404);
        assert_eq!(post.world.get(&yours, "/api/v1/webhooks").await.expect(200).json["items"], json!([]));
        assert_eq!(post.world.get(&mine, "/api/v1/webhooks").await.expect(200).json["items"].as_array().unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn nothing_secret_is_in_the_database_in_an_answer_or_in_a_span_and_a_new_key_seals_it_anew() {
    Post::each(async |mut post: Post| {
        let body = json!({"headers": {"authorization": "hunter2hunter2"}, "settings": {"events": ["stack.*"]}});
        let secret = post.webhook_of(&post.world.admin, "chat", body).await;
        let everything = crate::store::Scope::Everybody;
        let name = "chat".parse().unwrap();
        let row = post.world.state.db.find_webhook(everything, &name).await.unwrap().unwrap();
        let holds = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        for text in ["hunter2", &secret[6..], "127.0.0.1"] {
            assert!(!holds(&row.sealed, text), "{text}");
        }
        post.world.stack("shop", json!({})).await.expect(201);
        post.settle().await;
        assert_eq!(post.arrived().len(), 1);
        let shown = post.world.get(&post.world.admin, "/api/v1/webhooks/chat").await.expect(200).json.to_string();
        let told = post.world.get(&post.world.admin, "/api/v1/audit").await.expect(200).json.to_string();
        let spans = format!("{:?}{:?}", post.world.capture.spans(), post.world.capture.logs());
        for text in [shown, told, spans] {
            assert!(!text.contains("hunter2") && !text.contains(&secret[6..]), "{text}");
        }

        let former = Keyring::new_line("test", &SeededIds::new(9));
        let both = format!("{}{former}", Keyring::new_line("second", &SeededIds::new(10)));
        post.courier.keyring = Arc::new(Keyring::parse(&both).unwrap());
        post.courier.reseal().await.unwrap();
        let row = post.world.state.db.find_webhook(everything, &name).await.unwrap().unwrap();
        assert_eq!(row.sealed_key, "second");
        assert_eq!(endpoint::unseal(&row, &post.courier.keyring).unwrap().secret, secret);
    })
    .await;
}

#[tokio::test]
async fn a_webhook_that_leads_where_it_must_not_is_refused_and_one_that_comes_to_do_so_reaches_nobody() {
    Post::each(async |mut post: Post| {
        for url in ["http://169.254.169.254/latest", "https://10.0.0.1/", "http://127.0.0.1:1/"] {
            let answer =
                post.world.post(&post.world.admin, "/api/v1/webhooks", json!({"name": "bad", "url": url})).await.expect(422);
            assert_eq!(answer.code(), "webhook_url");
        }
        post.webhook("chat", json!({"events": ["stack.*"]})).await;
        // As if the configuration had been made narrower since.
        post.courier.sender = Sender::new(Guard::default(), "test", None).unwrap();
        post.world.stack("shop", json!({})).await.expect(201);
        post.settle().await;
        assert_eq!(post.arrived().len(), 0);
        let listed = post.deliveries("chat").await;
        assert_eq!(post.delivery("chat", listed[0].id).await.log[0].result, "blocked");
    })
    .await;
}
