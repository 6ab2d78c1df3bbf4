//! What a stack's policy lets the agent do.

use brokkr_api::{
    Name, TargetSelector,
    policy::{Adoption, Approve, Conflicts, DeletePolicy, IgnoreFields, StackPolicy},
    reports::ObjectOutcome,
    rollouts::Phase,
    stacks::PutStack,
};
use brokkr_tests::{
    cluster::Cluster,
    fleet::{Agent, Broker, Engine, LIMIT, config_map},
    lab::until,
    watch::SECRET,
};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

async fn put(broker: &Broker, stack: &Name, agent: &Agent, policy: StackPolicy) {
    let targets = TargetSelector { labels: None, names: vec![agent.name.clone()] };
    broker.admin().put_stack(stack, &PutStack { targets, policy, ..PutStack::default() }).await.unwrap();
}

fn deployment(namespace: &str, replicas: u32) -> String {
    format!(
        "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, namespace: {namespace}}}\nspec:\n  replicas: {replicas}\n  \
         selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    \
         spec: {{containers: [{{name: web, image: registry.example/web:1}}]}}\n"
    )
}

fn managers(object: &ConfigMap, field: &str) -> Vec<String> {
    let entries = object.metadata.managed_fields.iter().flatten();
    let owns = |fields: &Value| fields.pointer(&format!("/f:data/f:{field}")).is_some();
    entries
        .filter(|entry| entry.fields_v1.as_ref().is_some_and(|fields| owns(&fields.0)))
        .filter_map(|entry| entry.manager.clone())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kubectl_and_another_tool_applied_is_taken_over_without_a_restart_and_without_losing_their_fields() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.create_namespace("adopt").await.unwrap();
    let scratch = brokkr_tests::lab::Scratch::new("adopt").unwrap();
    // Client-side by the real kubectl, with a field that the stack does not have.
    let theirs = config_map(&namespace, "a", "old").replace("\ndata: {", "\ndata: {extra: theirs, ") + &deployment(&namespace, 2);
    let file = scratch.write("theirs.yaml", &theirs).unwrap();
    cluster.kubectl(&["apply", "-f", &file.display().to_string()]).unwrap();
    let by_helm =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}, "data": {"value": "old", "note": "helm's"}});
    let api = cluster.api::<ConfigMap>(&namespace);
    api.patch("b", &PatchParams::apply("helm"), &Patch::Apply(&by_helm)).await.unwrap();
    let before = cluster.api::<Deployment>(&namespace).get("web").await.unwrap();

    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let agent = broker.agent(&cluster.unique("adopter"), &[]).await.unwrap();
    let stack: Name = "shop".parse().unwrap();
    put(&broker, &stack, &agent, StackPolicy { adoption: Adoption::Adopt, ..StackPolicy::default() }).await;
    let ours = config_map(&namespace, "a", "new") + &config_map(&namespace, "b", "new") + &deployment(&namespace, 2);
    broker.apply(&stack, &ours).await;

    let (a, b) = (api.get("a").await.unwrap(), api.get("b").await.unwrap());
    assert_eq!(json!(a.data), json!({"value": "new", "password": SECRET, "extra": "theirs"}));
    assert_eq!(json!(b.data), json!({"value": "new", "password": SECRET, "note": "helm's"}));
    assert_eq!(
        (managers(&a, "value"), managers(&b, "value")),
        (vec!["brokkr-agent".to_owned()], vec!["brokkr-agent".to_owned()])
    );
    assert_eq!(managers(&b, "note"), ["helm"]);
    let after = cluster.api::<Deployment>(&namespace).get("web").await.unwrap();
    assert_eq!(after.spec, before.spec, "nothing of its specification changed: nothing restarts");
    assert_eq!(after.metadata.uid, before.metadata.uid);

    // What was taken over is changed and removed like anything else.
    broker.apply(&stack, &(config_map(&namespace, "a", "newer") + &deployment(&namespace, 2))).await;
    assert_eq!(api.get("a").await.unwrap().data.unwrap()["value"], "newer");
    assert!(api.get_opt("b").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_are_forced_when_the_stack_says_so_and_ignored_fields_are_left_to_others() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.create_namespace("policy").await.unwrap();
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let agent = broker.agent(&cluster.unique("forcer"), &[]).await.unwrap();
    let stack: Name = "shop".parse().unwrap();
    let ignored = IgnoreFields {
        kind: Some("Deployment.apps".to_owned()),
        namespace: None,
        name: None,
        paths: vec!["/spec/replicas".to_owned()],
    };
    put(
        &broker,
        &stack,
        &agent,
        StackPolicy { conflicts: Conflicts::Force, ignore_fields: vec![ignored], ..StackPolicy::default() },
    )
    .await;
    broker.apply(&stack, &(config_map(&namespace, "a", "1") + &deployment(&namespace, 2))).await;
    let api = cluster.api::<ConfigMap>(&namespace);
    let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"other": "theirs"}});
    api.patch("a", &PatchParams::apply("somebody-else"), &Patch::Apply(&theirs)).await.unwrap();
    let deployments = cluster.api::<Deployment>(&namespace);
    let scaled = json!({"spec": {"replicas": 7}});
    deployments.patch("web", &PatchParams::default(), &Patch::Merge(scaled)).await.unwrap();

    let both = config_map(&namespace, "a", "1").replace("\"1\"", "\"1\", other: ours");
    broker.apply(&stack, &(both + &deployment(&namespace, 3).replace("web:1", "web:2"))).await;

    assert_eq!(api.get("a").await.unwrap().data.unwrap()["other"], "ours");
    let spec = deployments.get("web").await.unwrap().spec.unwrap();
    assert_eq!(spec.replicas, Some(7), "the autoscaler's");
    assert_eq!(spec.template.spec.unwrap().containers[0].image.as_deref(), Some("registry.example/web:2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leaves_a_stack_that_orphans_stays_and_is_nobodys() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.create_namespace("orphan").await.unwrap();
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let agent = broker.agent(&cluster.unique("orphaner"), &[]).await.unwrap();
    let stack: Name = "shop".parse().unwrap();
    put(&broker, &stack, &agent, StackPolicy { delete_policy: DeletePolicy::Orphan, ..StackPolicy::default() }).await;
    broker.apply(&stack, &(config_map(&namespace, "a", "1") + &config_map(&namespace, "b", "1"))).await;
    let api = cluster.api::<ConfigMap>(&namespace);
    let uid = api.get("a").await.unwrap().metadata.uid;

    broker.apply(&stack, &config_map(&namespace, "b", "1")).await;
    broker.delete(&stack).await;

    for name in ["a", "b"] {
        let left = api.get(name).await.unwrap();
        assert_eq!(left.data.unwrap()["value"], "1");
        assert!(left.metadata.labels.is_none() && left.metadata.annotations.is_none(), "{name} belongs to nobody");
    }
    assert_eq!(api.get("a").await.unwrap().metadata.uid, uid);
}

#[tokio::test(flavor = "multi_thread")]
async fn held_deletions_are_carried_out_when_exactly_they_are_approved() {
    for engine in Engine::ALL {
        let cluster = Cluster::shared().await.unwrap();
        let namespace = cluster.create_namespace("approve").await.unwrap();
        let broker = Broker::start(engine, &[]).await.unwrap();
        let agent = broker.agent(&cluster.unique("holder"), &[]).await.unwrap();
        let stack = broker.stack("shop", &[&agent]).await;
        let many: String = (0..12).map(|index| config_map(&namespace, &format!("c{index}"), "1")).collect();
        broker.apply(&stack, &many).await;
        broker.send(&stack, &config_map(&namespace, "c0", "1")).await;
        let rollout = broker.settle(&stack).await;
        let deployment = &rollout.deployments[0];
        let held = deployment.held.clone().unwrap();
        assert_eq!((held.objects, deployment.phase), (11, Phase::Healthy), "{engine:?}: what is wanted is there");
        assert!(deployment.objects.iter().any(|object| object.outcome == ObjectOutcome::Held));
        let api = cluster.api::<ConfigMap>(&namespace);
        assert!(api.get_opt("c11").await.unwrap().is_some());

        let approve = |plan: String| Approve { agent: agent.name.clone(), revision: deployment.revision, plan };
        let wrong = broker.admin().approve(&stack, &approve(format!("sha256:{}", "0".repeat(64)))).await.unwrap_err();
        assert_eq!(wrong.code().map(brokkr_api::ErrorCode::as_str), Some("approval_outdated"));
        broker.admin().approve(&stack, &approve(held.plan)).await.unwrap();
        let look = || async {
            match api.get_opt("c11").await.unwrap() {
                None => Ok(()),
                Some(_) => Err("it is still there".to_owned()),
            }
        };
        until("the approved deletion", LIMIT, look).await.unwrap();
        assert!(api.get_opt("c0").await.unwrap().is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_with_a_service_account_can_do_what_that_may_and_no_more() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.create_namespace("impersonate").await.unwrap();
    let subject = format!("--serviceaccount={namespace}:deployer");
    cluster.kubectl(&["-n", &namespace, "create", "serviceaccount", "deployer"]).unwrap();
    cluster
        .kubectl(&["-n", &namespace, "create", "role", "deployer", "--verb=get,patch,create,delete", "--resource=configmaps"])
        .unwrap();
    cluster.kubectl(&["-n", &namespace, "create", "rolebinding", "deployer", "--role=deployer", &subject]).unwrap();
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let agent = broker.agent(&cluster.unique("actor"), &[]).await.unwrap();
    let stack: Name = "shop".parse().unwrap();
    put(
        &broker,
        &stack,
        &agent,
        StackPolicy { service_account: Some(format!("{namespace}/deployer")), ..StackPolicy::default() },
    )
    .await;
    broker.apply(&stack, &config_map(&namespace, "a", "1")).await;

    let secret = format!("---\napiVersion: v1\nkind: Secret\nmetadata: {{name: s, namespace: {namespace}}}\n");
    broker.send(&stack, &(config_map(&namespace, "a", "2") + &secret)).await;
    let rollout = broker.settle(&stack).await;
    let error = rollout.deployments[0].error.clone().unwrap();
    assert_eq!((error.reason.as_str(), error.object.unwrap().kind.as_str()), ("forbidden", "Secret"));
    assert_eq!(cluster.api::<ConfigMap>(&namespace).get("a").await.unwrap().data.unwrap()["value"], "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_fight_over_a_field_are_slowed_down_and_both_are_named() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.create_namespace("contest").await.unwrap();
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let agent = broker.agent(&cluster.unique("fighter"), &[]).await.unwrap();
    let stack = broker.stack("shop", &[&agent]).await;
    broker.apply(&stack, &config_map(&namespace, "a", "ours")).await;
    let api = cluster.api::<ConfigMap>(&namespace);
    let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"value": "theirs"}});
    let fight = || async {
        if api.get("a").await.unwrap().data.unwrap()["value"] == "ours" {
            api.patch("a", &PatchParams::apply("rival").force(), &Patch::Apply(&theirs)).await.unwrap();
        }
        let rollout = broker.admin().rollout(&stack, None).await.unwrap();
        match &rollout.deployments[0].error {
            Some(error) if error.reason == "contested" => Ok(error.clone()),
            other => Err(format!("{other:?}")),
        }
    };
    let error = until("a fight that is noticed", LIMIT, fight).await.unwrap();
    assert!(error.message.contains("rival") && error.message.contains(".data.value"), "{}", error.message);
}
