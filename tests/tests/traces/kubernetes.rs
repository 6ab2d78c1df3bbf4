//! What the API server adds: spans of its own, and an audit log that joins the trace without them.

use brokkr_api::Name;
use brokkr_tests::{
    cluster::Cluster,
    control_plane::{ControlPlane, Options},
    fleet::{Broker, Engine, LIMIT, config_map},
    lab::Scratch,
    otlp::{Kind, Receiver, Span, traced},
};
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleRef, Subject};
use kube::api::{Api, ObjectMeta, PostParams};

use super::world::{Rollout, connected, told};

fn calls(rollout: &Rollout) -> Vec<&Span> {
    rollout.spans.iter().filter(|span| span.attributes.contains_key("brokkr.kubernetes.verb")).collect()
}

fn is_apply(call: &Span) -> bool {
    call.text("brokkr.kubernetes.verb") == Some("apply") && call.text("brokkr.kubernetes.resource") == Some("configmaps")
}

/// The API server's own spans that answer one of these calls, as soon as it has sent all of them.
async fn answers(what: &str, calls: &[&Span], is_answer: impl Fn(&Span, &Span) -> bool) -> Vec<Span> {
    let of_server = |span: &&Span| span.kind == Kind::Server && span.service == "apiserver";
    let is_whole = |spans: &[Span]| calls.iter().all(|call| spans.iter().filter(of_server).any(|span| is_answer(span, call)));
    let spans = Receiver::shared().wait_for(what, LIMIT, is_whole).await.unwrap();
    spans.iter().filter(of_server).filter(|span| calls.iter().any(|call| is_answer(span, call))).cloned().collect()
}

/// Every call about an object is in the audit log under its trace and its span.
fn assert_audited(control_plane: &ControlPlane, rollout: &Rollout) {
    let events = control_plane.audit_events().unwrap();
    let about_objects: Vec<_> =
        calls(rollout).into_iter().filter(|call| call.attributes.contains_key("brokkr.object.name")).collect();
    assert!(about_objects.len() >= 3, "{about_objects:#?}");
    for call in about_objects {
        let id = format!("{}-{}", call.trace_id, call.span_id);
        assert_eq!(call.text("brokkr.kubernetes.audit_id"), Some(&*id));
        let event = events.iter().find(|event| event["auditID"] == *id);
        let event = event.unwrap_or_else(|| panic!("{} {id} is not in the audit log", call.name));
        assert_eq!(event["objectRef"]["name"].as_str(), call.text("brokkr.object.name"));
        let status = call.attributes["http.response.status_code"].as_i64();
        assert_eq!(event["responseStatus"]["code"].as_i64(), status);
    }
}

async fn rolled(broker: &Broker, stack: &Name, namespace: &str) -> Rollout {
    let manifests = config_map(namespace, "a", "1") + &config_map(namespace, "b", "1");
    told(&broker.apply(stack, &manifests).await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_servers_spans_are_children_of_the_calls_of_a_trusted_caller() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.create_namespace("trusted").await.unwrap();
    let endpoint = Receiver::shared().grpc_endpoint();
    let broker = Broker::start(Engine::Sqlite, &traced(&endpoint)).await.unwrap();
    // The kubeconfig's user is in system:masters, and the API server samples nothing by itself.
    let agent = broker.agent(&cluster.unique("trusted"), &traced(&endpoint)).await.unwrap();
    let stack = broker.stack("shop", &[&agent]).await;
    let rollout = rolled(&broker, &stack, &namespace).await;

    let applied: Vec<_> = calls(&rollout).into_iter().filter(|call| is_apply(call)).collect();
    assert_eq!(applied.len(), 3, "the parent and two config maps");
    let is_child = |span: &Span, call: &Span| span.trace_id == call.trace_id && span.parent.as_ref() == Some(&call.span_id);
    let found = answers("spans of the API server below the calls", &applied, is_child).await;
    assert_eq!(found.len(), 3, "{found:#?}");
    // The two processes share this machine's clock.
    for span in &found {
        let call = applied.iter().find(|call| is_child(span, call)).unwrap();
        assert!(call.start_nanos <= span.start_nanos && span.start_nanos <= call.end_nanos, "{span:?} {call:?}");
    }
    assert_audited(ControlPlane::shared(), &rollout);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_servers_spans_link_to_the_calls_of_any_other_caller() {
    let receiver = Receiver::shared();
    let options = Options {
        tracing_endpoint: Some(receiver.grpc_address().to_string()),
        // Whoever is not trusted begins a trace of the API server's own: it is kept by this rate alone.
        tracing_rate_per_million: 1_000_000,
        ..Options::default()
    };
    let control_plane = tokio::task::spawn_blocking(move || ControlPlane::start(&options)).await.unwrap().unwrap();
    let cluster = Cluster::of(&control_plane).await.unwrap();
    let namespace = cluster.create_namespace("plain").await.unwrap();
    let scratch = Scratch::new("plain").unwrap();
    let kubeconfig = cluster.service_account_kubeconfig(&namespace, "agent", &scratch).await.unwrap();
    may_do_everything(&cluster, &namespace).await;
    let endpoint = receiver.grpc_endpoint();
    let broker = Broker::start(Engine::Sqlite, &traced(&endpoint)).await.unwrap();
    let mut agent = broker.unconnected_agent(&cluster.unique("plain"), &kubeconfig, &traced(&endpoint)).await.unwrap();
    connected(&mut agent).await;
    let stack = broker.stack("shop", &[&agent]).await;
    let rollout = rolled(&broker, &stack, &namespace).await;

    let applied: Vec<_> = calls(&rollout).into_iter().filter(|call| is_apply(call)).collect();
    assert_eq!(applied.len(), 3, "the parent and two config maps");
    let links = |span: &Span, call: &Span| span.links.iter().any(|link| call.is_linked_from(link));
    let found = answers("spans of the API server that link to the calls", &applied, links).await;
    for span in &found {
        let call = applied.iter().find(|call| links(span, call)).unwrap();
        assert_eq!(span.parent, None, "a trace of its own");
        assert_ne!(span.trace_id, call.trace_id);
        assert_eq!(span.text("audit-id"), call.text("brokkr.kubernetes.audit_id"), "{:?}", span.attributes);
    }
    assert_audited(&control_plane, &rollout);
}

async fn may_do_everything(cluster: &Cluster, namespace: &str) {
    let name = format!("{namespace}-agent");
    let subject = Subject {
        kind: "ServiceAccount".to_owned(),
        name: "agent".to_owned(),
        namespace: Some(namespace.to_owned()),
        ..Subject::default()
    };
    let role_ref = RoleRef {
        api_group: "rbac.authorization.k8s.io".to_owned(),
        kind: "ClusterRole".to_owned(),
        name: "cluster-admin".to_owned(),
    };
    let metadata = ObjectMeta { name: Some(name), ..ObjectMeta::default() };
    let binding = ClusterRoleBinding { metadata, role_ref, subjects: Some(vec![subject]) };
    Api::<ClusterRoleBinding>::all(cluster.client().clone()).create(&PostParams::default(), &binding).await.unwrap();
}
