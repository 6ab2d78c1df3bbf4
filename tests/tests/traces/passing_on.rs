//! Work that makes no spans where it is carried out stays part of its trace: for the API server, for its audit log and for the broker.

use std::collections::BTreeSet;

use brokkr_tests::{
    cluster::Cluster,
    fleet::{Agent, Broker, Engine, LIMIT, config_map},
    kube_proxy::{Call, KubeProxy},
    otlp::{Kind, Receiver, Span, traced},
};

use super::world::connected;

struct World {
    namespace: String,
    broker: Broker,
    agent: Agent,
    proxy: KubeProxy,
}

impl World {
    async fn start(what: &str, of_agent: &[(&str, &str)]) -> Self {
        let cluster = Cluster::shared().await.unwrap();
        let namespace = cluster.create_namespace(what).await.unwrap();
        let proxy = KubeProxy::start(cluster.kubeconfig()).await.unwrap();
        let broker = Broker::start(Engine::Sqlite, &traced(&Receiver::shared().grpc_endpoint())).await.unwrap();
        let mut agent = broker.unconnected_agent(&cluster.unique(what), proxy.kubeconfig(), of_agent).await.unwrap();
        connected(&mut agent).await;
        Self { namespace, broker, agent, proxy }
    }

    /// The calls of a rollout that comes from a caller who stands at `traceparent`.
    async fn calls_of(&self, traceparent: &str) -> Vec<Call> {
        let stack = self.broker.stack("shop", &[&self.agent]).await;
        let before = self.proxy.count();
        let manifests = config_map(&self.namespace, "a", "1") + &config_map(&self.namespace, "b", "1");
        let client = self.broker.traced(traceparent);
        client.put_deployment_objects(&stack, "application/yaml", manifests.into_bytes()).await.unwrap();
        let rollout = self.broker.settle(&stack).await;
        assert!(rollout.done && rollout.failed == 0, "{rollout:#?}");
        let calls: Vec<_> = self.proxy.calls().split_off(before).into_iter().filter(Call::is_write).collect();
        assert!(calls.len() >= 3, "the parent and two config maps: {calls:#?}");
        calls
    }
}

/// Where each call stands, and an id of its own for the audit log.
fn places<'a>(calls: &'a [Call], trace: &str) -> Vec<&'a str> {
    assert!(calls.iter().all(|call| call.audit_id.is_some() && call.traceparent.is_some()), "{calls:#?}");
    let ids: BTreeSet<_> = calls.iter().map(|call| call.audit_id.as_deref().unwrap()).collect();
    assert_eq!(ids.len(), calls.len(), "{ids:?}");
    assert!(ids.iter().all(|id| id.starts_with(&format!("{trace}-")) && id.len() == 49), "{ids:?}");
    calls.iter().map(|call| call.traceparent.as_deref().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_tracing_is_off_passes_the_trace_on_to_the_api_server_and_back_to_the_broker() {
    let world = World::start("untraced", &[("BROKKR__TELEMETRY__ENABLED", "false")]).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e47a1";
    let calls = world.calls_of(&format!("00-{trace}-00f067aa0ba902b7-01")).await;

    let receiver = Receiver::shared();
    let sent = receiver.wait_for_trace(trace, &["send deployment"], LIMIT).await.unwrap();
    let sent = sent.span("send deployment").unwrap().clone();
    let here = format!("00-{trace}-{}-01", sent.span_id);
    assert!(places(&calls, trace).iter().all(|place| **place == here), "{calls:#?}");
    let below = |span: &Span, service: &str| {
        span.trace_id == trace
            && span.parent.as_ref() == Some(&sent.span_id)
            && span.kind == Kind::Server
            && span.service == service
    };
    let is_whole = |spans: &[Span]| {
        spans.iter().filter(|span| below(span, "apiserver")).count() >= calls.len()
            && spans.iter().any(|span| below(span, "brokkr-broker") && span.name == "POST /api/v1/agent/reports")
    };
    receiver.wait_for("spans of the API server and of the report", LIMIT, is_whole).await.unwrap();
    assert!(!receiver.trace(trace).spans.iter().any(|span| span.service == "brokkr-agent"), "off means off");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_a_trace_that_nobody_keeps_carry_it_and_can_be_told_apart() {
    let world = World::start("unsampled", &traced(&Receiver::shared().grpc_endpoint())).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e47a2";
    let calls = world.calls_of(&format!("00-{trace}-00f067aa0ba902b7-00")).await;
    for place in places(&calls, trace) {
        assert!(place.starts_with(&format!("00-{trace}-")) && place.ends_with("-00"), "{place}");
    }
    assert!(Receiver::shared().trace(trace).spans.is_empty(), "nobody keeps it");
}
