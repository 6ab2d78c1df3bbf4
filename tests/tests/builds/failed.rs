//! Builds that fail, each with a person's reason.

use brokkr_api::work_orders::WorkState;
use kube::{ResourceExt, api::ListParams};
use serde_json::json;

use super::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_fails_is_named_with_its_exit_code_and_each_attempt_is_a_run_with_a_place_of_its_own() {
    let world = World::new("step").await;
    let work = world.embedded(&world.strategy(json!({"lab.brokkr.io/failing-step": "step-build"})).await);
    let id = world.order(&work, json!({"max_attempts": 2, "backoff_seconds": 0})).await;
    let failed = world.becomes(id, WorkState::Failed).await;
    assert_eq!((failed.reason.as_deref(), failed.attempts), (Some("container_failed"), 2));
    let message = failed.message.unwrap();
    assert!(message.contains("step build ended with exit code 3"), "{message}");

    let runs = world.runs(id).await;
    assert_eq!(runs.len(), 2);
    assert_ne!(runs[0].name_any(), runs[1].name_any());
    let env = |attempt: usize| {
        let env = runs[attempt].data["spec"]["build"]["spec"]["env"].as_array().unwrap().clone();
        env.into_iter().find(|variable| variable["name"] == "TRACEPARENT").unwrap()
    };
    assert_ne!(env(0), env(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_cannot_be_pulled_is_named_with_the_words_of_the_kubelet() {
    let world = World::new("image").await;
    let work = world.embedded(&world.strategy(json!({"lab.brokkr.io/fail": "image-pull"})).await);
    let id = world.order(&work, json!({})).await;
    let failed = world.becomes(id, WorkState::Failed).await;
    assert_eq!(failed.reason.as_deref(), Some("image_pull_failed"));
    let message = failed.message.unwrap();
    assert!(message.contains("cannot get its image: Back-off pulling image"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strategy_that_is_not_there_fails_the_order_and_nothing_is_tried_again() {
    let world = World::new("strategy").await;
    for (kind, words) in
        [("cluster", "clusterBuildStrategy nowhere does not exist"), ("namespace", "buildStrategy nowhere does not exist")]
    {
        let work = world.embedded(&json!({"name": "nowhere", "kind": kind}));
        let id = world.order(&work, json!({"max_attempts": 3, "backoff_seconds": 0})).await;
        let failed = world.becomes(id, WorkState::Failed).await;
        assert_eq!((failed.reason.as_deref(), failed.attempts), (Some("strategy_missing"), 1), "{failed:?}");
        let message = failed.message.unwrap();
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(world.pods().list(&ListParams::default()).await.unwrap().items.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cluster_does_not_have_is_told_and_nothing_is_tried_again() {
    let world = World::new("missing").await;
    let strategy = world.strategy(json!({})).await;
    let named = json!({"build": {"plan": {"named": {"name": "nobody"}}, "namespace": world.namespace}});
    let mut unknown = world.embedded(&strategy);
    unknown["build"]["parameters"] = json!({"colour": "blue"});
    let mut account = world.embedded(&strategy);
    account["build"]["service_account"] = json!("nobody");
    let mut secret = world.embedded(&strategy);
    secret["build"]["plan"]["embedded"]["output"]["push_secret"] = json!("nobody");
    for (work, reason, words) in [
        (named, "build_missing", "\"nobody\" not found"),
        (unknown, "build_invalid", "colour"),
        (account, "service_account_missing", "service account nobody not found"),
        (secret, "build_invalid", "nobody"),
    ] {
        let id = world.order(&work, json!({"max_attempts": 3, "backoff_seconds": 0})).await;
        let failed = world.becomes(id, WorkState::Failed).await;
        assert_eq!((failed.reason.as_deref(), failed.attempts), (Some(reason), 1), "{failed:?}");
        let message = failed.message.unwrap();
        assert!(message.contains(words), "{message}");
    }
}
