use brokkr_tests::{
    cluster::Cluster,
    control_plane::{ControlPlane, Options},
    lab::Scratch,
    otlp::{Kind, Receiver, Span},
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Pod},
};
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
    config::{Config, KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use std::{path::Path, time::Duration};

const LIMIT: Duration = Duration::from_secs(60);

fn deployment(name: &str, annotations: &Value) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}, "annotations": annotations},
                "spec": {"containers": [{"name": "main", "image": "example/image:1"}]},
            },
        },
    }))
    .expect("a Deployment")
}

fn ready_replicas(deployment: Option<&Deployment>) -> i32 {
    deployment.and_then(|found| found.status.as_ref()?.ready_replicas).unwrap_or(0)
}

#[tokio::test]
async fn a_deployment_rolls_out_on_the_real_controllers() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.create_namespace("rollout").await.unwrap();
    let deployments: Api<Deployment> = cluster.api(&namespace);
    deployments.create(&PostParams::default(), &deployment("web", &json!({}))).await.unwrap();

    Cluster::wait_until(&deployments, "web", "two ready replicas", LIMIT, |found| ready_replicas(found) == 2).await.unwrap();

    let pods = cluster.api::<Pod>(&namespace).list(&ListParams::default()).await.unwrap();
    assert_eq!(pods.items.len(), 2);
    assert!(pods.iter().all(|pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some("kwok-1")));
    assert!(cluster.kubectl(&["--namespace", &namespace, "get", "deployment", "web"]).unwrap().contains("2/2"));
}

#[tokio::test]
async fn a_pod_fails_to_pull_its_image_where_its_annotation_says_so() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.create_namespace("broken").await.unwrap();
    let broken = deployment("web", &json!({"lab.brokkr.io/fail": "image-pull"}));
    cluster.api(&namespace).create(&PostParams::default(), &broken).await.unwrap();

    let deployments: Api<Deployment> = cluster.api(&namespace);
    let stuck = |found: Option<&Deployment>| {
        let status = found.and_then(|found| found.status.as_ref());
        status.is_some_and(|status| status.replicas == Some(2) && status.unavailable_replicas == Some(2))
    };
    Cluster::wait_until(&deployments, "web", "two replicas, both unavailable", LIMIT, stuck).await.unwrap();

    let pods: Api<Pod> = cluster.api(&namespace);
    let name = pods.list(&ListParams::default()).await.unwrap().items[0].metadata.name.clone().unwrap();
    let pulling = |pod: Option<&Pod>| {
        let reason = pod.and_then(|pod| {
            pod.status.as_ref()?.container_statuses.as_ref()?.first()?.state.as_ref()?.waiting.as_ref()?.reason.clone()
        });
        reason.as_deref() == Some("ImagePullBackOff")
    };
    Cluster::wait_until(&pods, &name, "a failing image pull", LIMIT, pulling).await.unwrap();
}

#[tokio::test]
async fn the_api_server_continues_our_trace_and_keeps_our_audit_id() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.create_namespace("traced").await.unwrap();
    let (trace, span, audit) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "audit-of-the-harness");
    let request = http::Request::get(format!("/api/v1/namespaces/{namespace}/configmaps"))
        .header("traceparent", format!("00-{trace}-{span}-01"))
        .header("Audit-ID", audit)
        .body(Vec::new())
        .unwrap();
    cluster.client().request_text(request).await.unwrap();

    let continues = |found: &Span| found.trace_id == trace && found.parent.as_deref() == Some(span);
    let spans = Receiver::shared().wait_for("span of the API server", LIMIT, |spans| spans.iter().any(continues)).await.unwrap();
    let server = spans.iter().find(|span| continues(span)).unwrap();
    assert_eq!((server.service.as_str(), server.kind), ("apiserver", Kind::Server));
    assert_eq!(server.text("audit-id"), Some(audit));
    let events = ControlPlane::shared().audit_events().unwrap();
    assert!(events.iter().any(|event| event["auditID"] == audit), "{} audit events, none is ours", events.len());
}

async fn client_of(kubeconfig: &Path) -> Client {
    let file = Kubeconfig::read_from(kubeconfig).unwrap();
    Client::try_from(Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap()).unwrap()
}

#[tokio::test]
async fn a_service_account_may_do_only_what_it_was_given() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.create_namespace("limited").await.unwrap();
    let scratch = Scratch::new("limited").unwrap();
    let kubeconfig = cluster.service_account_kubeconfig(&namespace, "limited", &scratch).await.unwrap();

    let refusal = Api::<ConfigMap>::namespaced(client_of(&kubeconfig).await, &namespace).list(&ListParams::default()).await;
    let Err(kube::Error::Api(status)) = refusal else { panic!("not refused: {refusal:?}") };
    assert_eq!(status.code, 403);
    assert!(status.message.contains(&format!("system:serviceaccount:{namespace}:limited")), "{}", status.message);

    let account = format!("--serviceaccount={namespace}:limited");
    cluster.kubectl(&["--namespace", &namespace, "create", "rolebinding", "may-view", "--clusterrole=view", &account]).unwrap();
    Api::<ConfigMap>::namespaced(client_of(&kubeconfig).await, &namespace).list(&ListParams::default()).await.unwrap();
}

#[tokio::test]
async fn the_api_server_can_be_taken_away_and_comes_back_with_its_objects() {
    let control_plane = ControlPlane::start(&Options::default()).unwrap();
    let cluster = Cluster::of(&control_plane).await.unwrap();
    let namespace = cluster.create_namespace("kept").await.unwrap();

    control_plane.stop_apiserver().unwrap();
    assert!(cluster.get::<ConfigMap>(&namespace, "any").await.is_err());

    control_plane.start_apiserver().unwrap();
    let deployments: Api<Deployment> = cluster.api(&namespace);
    deployments.create(&PostParams::default(), &deployment("web", &json!({}))).await.unwrap();
    Cluster::wait_until(&deployments, "web", "two ready replicas", LIMIT, |found| ready_replicas(found) == 2).await.unwrap();
}
