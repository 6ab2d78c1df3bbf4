use http::Method;
use serde_json::{Value, json};

use super::ends;
use crate::{
    store::close_for_tests as close,
    testing::{Engine, World},
};

#[tokio::test]
async fn without_its_database_the_broker_lives_is_ready_and_answers_polls_without_news() {
    Engine::each(async |world: World| {
        let agent = world.agent("edge", json!({})).await;
        let etag = world.desired(&agent).await.header("etag").to_owned();
        world.poll(&agent, &etag, "0s").await.expect(304);

        close(&world.state.db).await;
        ends(async {
            while world.state.feed.trouble().is_none() {
                world.state.feed.nudge();
                tokio::task::yield_now().await;
            }
        })
        .await;

        world.poll(&agent, &etag, "0s").await.expect(304);
        world.get("", "/healthz").await.expect(200);
        let ready = world.get("", "/readyz").await.expect(200);
        assert_eq!(ready.json["ready"], true);
        assert!(ready.json["checks"]["database"].to_string().contains("database_unavailable"), "{}", ready.json);

        let settings = json!({"labels": {}, "targets": {"labels": {}}});
        for (key, method, path, body) in [
            (&world.admin, Method::GET, "/api/v1/stacks", Value::Null),
            (&world.admin, Method::PUT, "/api/v1/stacks/shop", settings),
            (&world.admin, Method::GET, "/api/v1/agents", Value::Null),
            (&agent.key, Method::GET, "/api/v1/agent/desired-state", Value::Null),
        ] {
            let answer = world.call(key, method, path, body).await.expect(503);
            assert_eq!((answer.code(), answer.header("retry-after")), ("database_unavailable", "2"), "{path}");
            let detail = answer.json["detail"].as_str().unwrap();
            assert!(!detail.contains("pool") && !detail.contains("sqlx"), "the cause stays in the log: {detail}");
        }
        let told = world.capture.logs().into_iter().filter(|line| line.contains("the change feed cannot be read")).count();
        assert_eq!(told, 1, "said once, however often it is tried");
    })
    .await;
}
