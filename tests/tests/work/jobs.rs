//! Jobs that succeed, fail, are stopped, and outlive their agent.

use std::collections::BTreeMap;

use brokkr_api::{
    events::EventsQuery,
    work_orders::{MAX_LOG, WorkState},
};
use brokkr_tests::{
    control_plane::{SECRET_WORD, TALKS},
    fleet::{Engine, LIMIT},
    lab::until,
};
use k8s_openapi::api::core::v1::{Pod, ResourceQuota, Secret};
use kube::api::PostParams;
use serde_json::json;

use super::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_run_once_and_knows_its_place_in_the_trace() {
    let world = World::new("job").await;
    let change = json!({"parameters": {"REGION": "eu"}, "ttl_seconds": 600});
    let asks = world.broker.traced("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03");
    let id = asks.create_work_order(&world.request(&world.job(&json!({})), &change), None).await.unwrap().id;
    let done = world.becomes(id, WorkState::Succeeded).await;
    assert_eq!((done.agent.as_ref(), done.attempts), (Some(&world.agent.name), 1));
    assert!(done.claimed_at <= done.started_at && done.started_at < done.finished_at, "{done:?}");

    let jobs = world.jobs().await;
    assert_eq!(jobs.len(), 1);
    assert_eq!(jobs[0].metadata.name, done.object.map(|object| object.name));
    let spec = jobs[0].spec.clone().unwrap();
    assert_eq!(spec.ttl_seconds_after_finished, Some(600));
    let env = spec.template.spec.unwrap().containers[0].env.clone().unwrap();
    let env: BTreeMap<_, _> = env.into_iter().map(|variable| (variable.name, variable.value.unwrap_or_default())).collect();
    assert_eq!(env["REGION"], "eu");
    assert_eq!(done.trace_id.as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
    assert!(env["TRACEPARENT"].starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{env:?}");
    assert!(env["TRACEPARENT"].ends_with("-01"), "every flag but sampled is cleared: {env:?}");

    let look = || async {
        let query = EventsQuery { kind: Some("work_order.".to_owned()), ..EventsQuery::default() };
        let kinds: Vec<_> =
            world.broker.admin().events(&query).await.unwrap().items.into_iter().map(|event| event.kind).collect();
        if kinds.len() == 3 { Ok(kinds) } else { Err(format!("{kinds:?}")) }
    };
    let kinds = until("the events", LIMIT, look).await.unwrap();
    assert_eq!(kinds, ["work_order.queued", "work_order.started", "work_order.succeeded"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_fails_is_told_with_its_exit_code_and_each_attempt_is_a_job_of_its_own() {
    let world = World::new("exit").await;
    let id = world.order(world.endless(), json!({"max_attempts": 2, "backoff_seconds": 0})).await;
    world.ends(&world.pod(id).await, 3).await;
    let second = world.attempt(id, 2).await;
    assert_eq!(world.jobs().await.len(), 2);
    world.ends(&second, 3).await;
    let failed = world.becomes(id, WorkState::Failed).await;
    assert_eq!((failed.reason.as_deref(), failed.attempts), (Some("container_failed"), 2));
    let message = failed.message.unwrap();
    assert!(message.contains("exit code 3"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_had_too_much_memory_is_told_so() {
    let world = World::new("memory").await;
    let id = world.order(world.endless(), json!({})).await;
    world.ends_for(&world.pod(id).await, 137, "OOMKilled").await;
    let failed = world.becomes(id, WorkState::Failed).await;
    assert_eq!(failed.reason.as_deref(), Some("out_of_memory"));
    let message = failed.message.unwrap();
    assert!(message.contains("memory"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_cannot_be_had_is_told_while_it_is_tried_and_the_job_goes_with_the_order() {
    let world = World::with(
        Engine::Sqlite,
        "image",
        &[("BROKKR__WORK_ORDERS__LEASE_SECONDS", "20")],
        &[("BROKKR__WORK_ORDERS__PATIENCE_SECONDS", "15")],
    )
    .await;
    let id = world.order(world.endless(), json!({"deadline_seconds": 1_000})).await;
    world.waits(&world.pod(id).await, "ImagePullBackOff", "Back-off pulling image \"example/image:1\"").await;
    let look = || async {
        let progress = world.broker.admin().work_order(id).await.unwrap().progress.unwrap_or_default();
        if progress.contains("example/image:1") { Ok(()) } else { Err(progress) }
    };
    until("the trouble beside the order", LIMIT, look).await.unwrap();
    let failed = world.becomes(id, WorkState::Failed).await;
    assert_eq!(failed.reason.as_deref(), Some("image_pull_failed"));
    assert_eq!(world.jobs().await.len(), 0, "it would start as soon as the image is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_does_not_allow_the_job_is_named() {
    let world = World::new("work-quota").await;
    let quota: ResourceQuota =
        serde_json::from_value(json!({"metadata": {"name": "none"}, "spec": {"hard": {"count/jobs.batch": "0"}}})).unwrap();
    world.cluster.api::<ResourceQuota>(&world.namespace).create(&PostParams::default(), &quota).await.unwrap();
    // Until the quota is counted, what it does not allow is refused in other words.
    let id = world.order(world.job(&json!({})), json!({})).await;
    let failed = world.becomes(id, WorkState::Failed).await;
    let message = failed.message.unwrap();
    assert!(message.contains("quota"), "{message}");
    assert_eq!(world.jobs().await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_the_api_server_refuses_is_not_tried_again() {
    let world = World::new("refused").await;
    let id = world.order(world.job(&json!({"restartPolicy": "Always"})), json!({"max_attempts": 3})).await;
    let failed = world.becomes(id, WorkState::Failed).await;
    assert_eq!((failed.reason.as_deref(), failed.attempts), (Some("invalid"), 1));
    let message = failed.message.unwrap();
    assert!(message.contains("spec.template.spec.restartPolicy"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_is_stopped_in_the_cluster_with_its_pods() {
    let world = World::new("cancel").await;
    let id = world.order(world.endless(), json!({})).await;
    world.pod(id).await;
    let cancelling = world.broker.admin().cancel_work_order(id).await.unwrap();
    assert_eq!((cancelling.state, cancelling.cancelling), (WorkState::Running, true));
    let cancelled = world.becomes(id, WorkState::Cancelled).await;
    assert_eq!(cancelled.message.as_deref(), Some("somebody cancelled it; it was stopped in the cluster"));
    assert_eq!(world.jobs().await.len(), 0);
    let pods = world.cluster.api::<Pod>(&world.namespace).list(&kube::api::ListParams::default()).await.unwrap().items;
    assert_eq!(pods.len(), 0, "it is cancelled when nothing of it runs any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_stops_the_job_in_the_cluster() {
    let world = World::new("deadline").await;
    let id = world.order(world.endless(), json!({"deadline_seconds": 3})).await;
    let failed = world.becomes(id, WorkState::Failed).await;
    assert_eq!(failed.reason.as_deref(), Some("deadline_exceeded"));
    assert!(failed.started_at.is_some(), "{failed:?}");
    assert_eq!(world.jobs().await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_job_goes_after_its_time_and_is_known_before() {
    let world = World::new("kept").await;
    let mut work = world.job(&json!({}));
    // Kubernetes itself would delete it before anybody saw how it ended.
    work["job"]["manifest"]["spec"]["ttlSecondsAfterFinished"] = json!(0);
    let id = world.order(work, json!({"ttl_seconds": 0})).await;
    world.becomes(id, WorkState::Succeeded).await;
    let look = || async {
        let jobs = world.jobs().await.len();
        if jobs == 0 { Ok(()) } else { Err(format!("{jobs} jobs")) }
    };
    until("the Job to be gone", LIMIT, look).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_killed_finds_its_job_again_and_starts_it_no_second_time() {
    let mut world = World::new("killed").await;
    let id = world.order(world.endless(), json!({"max_attempts": 3})).await;
    let pod = world.pod(id).await;
    world.becomes(id, WorkState::Running).await;
    world.agent.process.kill();
    world.agent.process.start().unwrap();
    world.ends(&pod, 0).await;
    let done = world.becomes(id, WorkState::Succeeded).await;
    assert_eq!(done.attempts, 1);
    assert_eq!(world.jobs().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_log_is_kept_with_the_order_without_what_is_secret() {
    let world = World::new("log").await;
    let secret = json!({"metadata": {"name": "login"}, "stringData": {"password": SECRET_WORD}});
    let secret: Secret = serde_json::from_value(secret).unwrap();
    world.cluster.api(&world.namespace).create(&PostParams::default(), &secret).await.unwrap();
    let container = json!({"name": TALKS, "image": "example/image:1"});
    let reference = json!([{"name": "PASSWORD", "secret": "login", "key": "password"}]);
    let id = world.order(world.job(&json!({"containers": [container]})), json!({"secrets": reference})).await;
    world.becomes(id, WorkState::Succeeded).await;

    let log = world.broker.admin().work_order_log(id).await.unwrap().log;
    assert!(log.ends_with("the password is ***\nthe last line\n"), "{}", &log[log.len() - 200..]);
    assert!(!log.contains(SECRET_WORD));
    assert_eq!(log.chars().count(), MAX_LOG, "its beginning is left out");
}
