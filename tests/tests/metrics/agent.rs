//! The agent's metrics, against what the API server and the broker say.

use brokkr_api::{Name, rollouts::Phase};
use brokkr_tests::{
    cluster::Cluster,
    control_plane::ControlPlane,
    fleet::{Agent, Broker, Engine, LIMIT, config_map, metric, wait_for_metric},
    lab::until,
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use super::truth::{count_series, scrape};

struct World {
    cluster: Cluster,
    namespace: String,
    broker: Broker,
    agent: Agent,
    stack: Name,
}

impl World {
    async fn new(what: &str, settings: &[(&str, &str)]) -> Self {
        let cluster = Cluster::shared().await.unwrap();
        let namespace = cluster.create_namespace(what).await.unwrap();
        let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
        let agent = broker.agent(&cluster.unique(what), settings).await.unwrap();
        let stack = broker.stack("shop", &[&agent]).await;
        Self { cluster, namespace, broker, agent, stack }
    }

    async fn metric(&self, series: &str) -> f64 {
        metric(&self.agent.base, series).await
    }

    fn maps(&self, names: &[&str]) -> String {
        names.iter().map(|name| config_map(&self.namespace, name, "ours")).collect()
    }

    /// Patches of this agent's that the API server has carried out on the config maps of the namespace.
    fn patches(&self) -> usize {
        let events = ControlPlane::shared().audit_events().unwrap();
        let text = |event: &serde_json::Value, at: &str| event.pointer(at).and_then(|value| value.as_str()).map(str::to_owned);
        let is_ours = |event: &&serde_json::Value| {
            text(event, "/objectRef/namespace").as_deref() == Some(self.namespace.as_str())
                && text(event, "/verb").as_deref() == Some("patch")
                && text(event, "/userAgent").is_some_and(|agent| agent.contains("brokkr"))
        };
        events.iter().filter(is_ours).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn applying_is_counted_as_the_api_server_saw_it() {
    let world = World::new("counted", &[]).await;
    let applies = r#"brokkr_agent_kubernetes_operations_total{operation="apply",result="success"}"#;
    let before = world.metric(applies).await;
    world.broker.apply(&world.stack, &world.maps(&["a", "b"])).await;
    assert_eq!(world.metric(applies).await - before, 3.0, "the parent and two config maps");
    let found = world.cluster.api::<ConfigMap>(&world.namespace).list(&ListParams::default()).await.unwrap().items;
    let ours = found.iter().filter(|map| ["a", "b"].contains(&map.metadata.name.as_deref().unwrap())).count();
    assert_eq!((ours, world.patches() > 0), (2, true));
    let timed = r#"brokkr_agent_kubernetes_operation_duration_seconds_count{operation="apply"}"#;
    assert_eq!(world.metric(timed).await, world.metric(applies).await);
    assert_eq!(world.metric("brokkr_agent_stacks").await, 1.0);
    assert_eq!(world.metric("brokkr_agent_leader").await, 1.0, "nobody else is to");
    let reconciled = "brokkr_agent_reconcile_duration_seconds_count{action=\"apply\"}";
    assert!(world.metric(reconciled).await >= 1.0);
    let text = scrape(&world.agent.base, "text/plain").await;
    assert!(count_series(&text) < 250, "{} series", count_series(&text));

    world.broker.delete(&world.stack).await;
    wait_for_metric(&world.agent.base, "brokkr_agent_reconcile_duration_seconds_count{action=\"delete\"}", |count| count >= 1.0)
        .await;
    wait_for_metric(&world.agent.base, "brokkr_agent_stacks", |stacks| stacks == 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_are_measured_without_the_time_in_which_they_were_parked() {
    let world = World::new("polls", &[("BROKKR__BROKER__WAIT_SECONDS", "2")]).await;
    wait_for_metric(&world.agent.base, r#"brokkr_agent_poll_requests_total{result="empty"}"#, |polls| polls >= 3.0).await;
    let (agent, broker) = (&world.agent.base, &world.broker.base);
    let took = metric(agent, "brokkr_agent_poll_duration_seconds_sum").await;
    let answered =
        metric(broker, r#"brokkr_http_request_duration_seconds_sum{endpoint="/api/v1/agent/desired-state",method="GET"}"#).await;
    let parked = metric(broker, "brokkr_poll_wait_seconds_sum").await;
    assert!(parked >= 5.0, "three waits of two seconds: {parked}");
    assert!(took < parked && answered < parked, "{took} {answered} {parked}");
    assert!(metric(agent, "brokkr_agent_poll_duration_seconds_count").await >= 4.0);
    let (sent, last) = ("brokkr_agent_heartbeat_sent_total", "brokkr_agent_last_successful_poll_timestamp");
    assert!(metric(agent, sent).await >= 4.0);
    let before = metric(agent, last).await;
    wait_for_metric(agent, last, |at| at > before && before > 1.7e9).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_and_a_fight_are_counted() {
    let world = World::new("repairs", &[]).await;
    world.broker.apply(&world.stack, &world.maps(&["a"])).await;
    let api = world.cluster.api::<ConfigMap>(&world.namespace);
    let value = async || api.get("a").await.unwrap().data.unwrap().remove("value").unwrap();
    for round in 1..=7 {
        let theirs = json!({"data": {"value": format!("theirs-{round}")}});
        api.patch("a", &PatchParams::default(), &Patch::Merge(theirs)).await.unwrap();
        if world.metric("brokkr_agent_drift_contested").await > 0.0 {
            break;
        }
        let repairs = f64::from(round);
        wait_for_metric(&world.agent.base, "brokkr_agent_drift_repairs_total", |count| count >= repairs).await;
        assert_eq!(value().await, "ours");
    }
    wait_for_metric(&world.agent.base, "brokkr_agent_drift_contested", |objects| objects == 1.0).await;
    let look = || async {
        let drifts = world.broker.query("SELECT drifts FROM deployments").unwrap()[0].parse::<f64>().unwrap();
        let repairs = world.metric("brokkr_agent_drift_repairs_total").await;
        if repairs > 0.0 && drifts >= repairs { Ok(()) } else { Err(format!("{repairs} repairs, the broker knows {drifts}")) }
    };
    until("the broker to know of every repair", LIMIT, look).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_counted_by_their_class_and_deletions_that_are_held_back_as_refused() {
    let world = World::new("refused", &[]).await;
    let api = world.cluster.api::<ConfigMap>(&world.namespace);
    let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"value": "theirs"}});
    api.patch("a", &PatchParams::apply("helm"), &Patch::Apply(&theirs)).await.unwrap();
    world.broker.send(&world.stack, &world.maps(&["a", "b"])).await;
    let rollout = world.broker.settle(&world.stack).await;
    assert_eq!(rollout.deployments[0].error.as_ref().unwrap().reason, "exists");
    assert!(world.metric("brokkr_agent_failures_total{class=\"exists\"}").await >= 1.0);
    assert_eq!(world.metric("brokkr_agent_failures_total{class=\"conflict\"}").await, 0.0);

    world.broker.apply(&world.stack, &world.maps(&["b", "c", "d", "e"])).await;
    assert_eq!(world.metric("brokkr_agent_prunes_refused_total").await, 0.0);
    world.broker.apply(&world.stack, &world.maps(&["b"])).await;
    wait_for_metric(&world.agent.base, "brokkr_agent_prunes_refused_total", |objects| objects == 3.0).await;
    assert!(api.get_opt("e").await.unwrap().is_some(), "it waits for an approval");
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_counted_by_their_health() {
    let world = World::new("healths", &[]).await;
    let deployment = |name: &str, annotations: &str| {
        format!(
            "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: {}}}\nspec: {{replicas: 1, \
             selector: {{matchLabels: {{app: {name}}}}}, template: {{metadata: {{labels: {{app: {name}}}, annotations: {{{annotations}}}}}, \
             spec: {{containers: [{{name: main, image: \"example/image:1\"}}]}}}}}}\n",
            world.namespace
        )
    };
    let both = deployment("well", "") + &deployment("ill", "lab.brokkr.io/fail: image-pull");
    world.broker.send(&world.stack, &both).await;
    let look = || async {
        let found = world.broker.admin().deployment(&world.stack, &world.agent.name).await.unwrap();
        if found.phase == Phase::Degraded { Ok(()) } else { Err(found.phase.as_str().to_owned()) }
    };
    until("one that is ill", LIMIT, look).await.unwrap();
    for (health, objects) in [("healthy", 1.0), ("degraded", 1.0), ("progressing", 0.0), ("unknown", 0.0)] {
        let series = format!("brokkr_agent_objects{{health=\"{health}\"}}");
        wait_for_metric(&world.agent.base, &series, |found| found == objects).await;
    }
}
