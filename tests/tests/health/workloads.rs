//! Pods that start, do not start, and do not keep running.

use super::world::{World, assert_tells};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};
use serde_json::json;

/// A Deployment of two replicas whose pods have these annotations and this in their specification.
fn deployment(annotations: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, namespace: NS}}\nspec: {{replicas: 2, \
         selector: {{matchLabels: {{app: web}}}}, template: {{metadata: {{labels: {{app: web}}, annotations: {{{annotations}}}}}, \
         spec: {{{spec}containers: [{{name: main, image: \"example/image:1\"}}]}}}}}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_that_becomes_ready_is_healthy() {
    let world = World::new("ready").await;
    world.send(&deployment("", "")).await;
    let found = world.becomes_healthy().await;
    let health = found.health.unwrap();
    assert_eq!((health.reason, health.message, health.object), (None, None, None));
    assert!(found.healthy_at.is_some());
    let web = world.cluster.get::<Deployment>(&world.namespace, "web").await.unwrap().unwrap();
    assert_eq!(web.status.and_then(|status| status.ready_replicas), Some(2), "healthy before it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_cannot_be_pulled_is_named_and_the_next_version_heals_the_stack() {
    let world = World::new("image").await;
    world.send(&deployment("lab.brokkr.io/fail: image-pull", "")).await;
    let health = world.becomes_degraded("image_pull_failed").await;
    assert_tells(&health, &format!("Deployment {}/web", world.namespace), "Back-off pulling image \"example/image:1\"");

    world.send(&deployment("", "")).await;
    world.becomes_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loop_is_told_with_its_exit_code() {
    let world = World::new("crash").await;
    world.send(&deployment("lab.brokkr.io/fail: crash", "")).await;
    let health = world.becomes_degraded("crash_loop").await;
    assert_tells(&health, &format!("Deployment {}/web", world.namespace), "container main ended with exit code 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_is_used_up_is_named() {
    let world = World::new("quota").await;
    let quota = "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: small, namespace: NS}\nspec: {hard: {pods: \"1\"}}\n";
    world.send(&(quota.to_owned() + &deployment("", ""))).await;
    let health = world.becomes_degraded("quota_exceeded").await;
    assert_tells(&health, &format!("Deployment {}/web", world.namespace), "quota");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_without_a_node_is_told_with_the_schedulers_words() {
    let world = World::new("nowhere").await;
    world.send(&deployment("", "nodeSelector: {nowhere: \"true\"}, ")).await;
    let health = world.becomes_degraded("unschedulable").await;
    assert_tells(&health, &format!("Deployment {}/web", world.namespace), "didn't match Pod's node affinity/selector");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_is_told_with_how_its_container_ended_and_not_with_what_it_wrote() {
    let world = World::new("job").await;
    let stage = "pod-container-running-failed.stage.kwok.x-k8s.io";
    world
        .send(&format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: migrate, namespace: NS}}\nspec: {{backoffLimit: 0, \
             template: {{metadata: {{labels: {{{stage}: \"true\"}}, annotations: {{{stage}/message: hunter2}}}}, \
             spec: {{restartPolicy: Never, containers: [{{name: main, image: \"example/image:1\"}}]}}}}}}\n"
        ))
        .await;
    let health = world.becomes_degraded("job_failed").await;
    let told = world
        .becomes("the container's exit code", |deployment| {
            let message = deployment.health.as_ref().and_then(|health| health.message.as_deref());
            message.is_some_and(|message| message.contains("exit code 1"))
        })
        .await;
    assert_tells(&told.health.unwrap(), &format!("Job {}/migrate", world.namespace), "container main ended with exit code 1");
    assert!(!health.message.unwrap_or_default().contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_healthy_and_breaks_is_degraded_and_heals() {
    let world = World::new("breaks").await;
    world.send(&deployment("example.com/ours: \"1\"", "")).await;
    world.becomes_healthy().await;
    // A field that the stack does not set, so that nothing repairs it.
    let api = world.cluster.api::<Deployment>(&world.namespace);
    let broken = |value: serde_json::Value| {
        Patch::Merge(json!({"spec": {"template": {"metadata": {"annotations": {"lab.brokkr.io/fail": value}}}}}))
    };
    api.patch("web", &PatchParams::default(), &broken(json!("image-pull"))).await.unwrap();
    world.becomes_degraded("image_pull_failed").await;
    api.patch("web", &PatchParams::default(), &broken(serde_json::Value::Null)).await.unwrap();
    world.becomes_healthy().await;
}
