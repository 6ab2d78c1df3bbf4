//! A fleet at work: every query that we give to people is answered, and nobody is paged for nothing.

use std::sync::Mutex;

use brokkr_api::{
    Name, Timestamp,
    keys::{CreateKey, Role},
    webhooks::WebhookSettings,
};
use brokkr_tests::{
    cluster::Cluster,
    collector::Collector,
    fleet::{Agent, Broker, Engine, LIMIT, borrowed, config_map, wait_for_metric},
    http,
    lab::until,
    otlp::Receiver,
    prometheus::{Prometheus, Target, check_metrics},
    receiver::Receiver as WebhookReceiver,
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::{
    queries::{self, Query},
    world::{of_agent, of_broker, watch, while_doing},
};

/// What a busy machine can bring about without any fault.
const OF_THE_MACHINE: [&str; 4] = ["BrokkrHttpLatency", "BrokkrDatabaseLatency", "BrokkrKubernetesLatency", "BrokkrWakeupLag"];

/// Queries that may find nothing, by where they stand and what they ask, and why.
const MAY_FIND_NOTHING: [(&str, &str); 5] = [
    ("alert BrokkrNoBroker", "brokers that were there and are not"),
    ("alert BrokkrAgentNotPolling", "agents without an answer for three minutes"),
    ("alert BrokkrTracesMissing", "busy daemons that stopped to send spans"),
    ("record brokkr:collector_spans_lost:rate5m", "a collector that has never lost a span has no such counter"),
    ("alert BrokkrCollectorSendFailing", "the same; the test with a backend that is gone sees it fire"),
];

struct Scene<'a> {
    broker: &'a Broker,
    agent: &'a Agent,
    namespace: String,
    shop: Name,
    broken: Name,
    shrunk: Name,
}

impl<'a> Scene<'a> {
    async fn set(cluster: &Cluster, broker: &'a Broker, agent: &'a Agent) -> Self {
        let namespace = cluster.create_namespace("monitored").await.unwrap();
        let stack = async |name: &str| broker.stack(name, &[agent]).await;
        let (shop, broken, shrunk) = (stack("shop").await, stack("broken").await, stack("shrunk").await);
        let key = CreateKey {
            name: "pipeline".parse().unwrap(),
            role: Role::Admin,
            generator: None,
            agent: None,
            scopes: vec![],
            // In the year 2100: nobody is told yet.
            expires_at: Some(Timestamp::from_micros(4_102_444_800_000_000)),
        };
        broker.admin().create_key(&key).await.unwrap();
        // Somebody meddles, once.
        let steady = stack("steady").await;
        broker.apply(&steady, &config_map(&namespace, "steady", "ours")).await;
        let theirs =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "steady"}, "data": {"value": "theirs"}});
        let api = cluster.api::<ConfigMap>(&namespace);
        api.patch("steady", &PatchParams::apply("somebody-else").force(), &Patch::Apply(&theirs)).await.unwrap();
        wait_for_metric(&agent.base, "brokkr_agent_drift_repairs_total", |repairs| repairs == 1.0).await;
        Self { broker, agent, namespace, shop, broken, shrunk }
    }

    fn maps(&self, prefix: &str, count: usize, value: &str) -> String {
        (0..count).map(|index| config_map(&self.namespace, &format!("{prefix}-{index}"), value)).collect()
    }

    /// What goes well: a change, a stack that comes and goes, and a work order.
    async fn day(&self, name: &str) {
        self.broker.apply(&self.shop, &self.maps("shop", 2, name)).await;
        let brief = self.broker.stack(name, &[self.agent]).await;
        self.broker.apply(&brief, &self.maps(name, 1, "1")).await;
        self.broker.delete(&brief).await;
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("work-{name}"), "namespace": self.namespace}});
        let order = json!({"name": name, "targets": {"names": [self.agent.name]}, "work": {"apply": {"objects": [map], "success": "true"}}});
        self.broker.admin().create_work_order(&serde_json::from_value(order).unwrap(), None).await.unwrap();
    }

    /// The same, and something that the API server refuses, and a deletion that waits for somebody.
    async fn bad_day(&self, round: usize) {
        self.day(&format!("bad-{round}")).await;
        let service = format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: broken, namespace: {}}}\nspec: {{ports: [{{port: {}}}]}}\n",
            self.namespace,
            70_000 + round
        );
        self.broker.send(&self.broken, &service).await;
        self.broker.settle(&self.broken).await;
        if round.is_multiple_of(2) {
            self.broker.apply(&self.shrunk, &self.maps("shrunk", 5, &round.to_string())).await;
        } else {
            self.broker.send(&self.shrunk, &self.maps("shrunk", 1, &round.to_string())).await;
        }
    }
}

/// A webhook for every event.
async fn told_of_everything(broker: &Broker, hook: &WebhookReceiver) {
    let everything = WebhookSettings { events: vec!["*".to_owned()], ..WebhookSettings::default() };
    let create = hook.webhook("all".parse().unwrap(), "/all", everything);
    broker.admin().create_webhook(&create).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_that_we_give_to_people_is_answered_and_nobody_is_paged_for_nothing() {
    let cluster = Cluster::shared().await.unwrap();
    let collector = Collector::start(&Receiver::shared().grpc_address().to_string()).await.unwrap();
    let endpoint = collector.endpoint.clone();
    let telemetry = [
        ("BROKKR__TELEMETRY__ENABLED", "true"),
        ("BROKKR__TELEMETRY__ENDPOINT", endpoint.as_str()),
        ("BROKKR__TELEMETRY__SAMPLING_RATE", "1.0"),
        ("BROKKR__TELEMETRY__BATCH__DELAY", "200ms"),
    ];
    let hook = WebhookReceiver::start().await.unwrap();
    let hooks = hook.settings(Engine::Postgres);
    let settings = [&telemetry[..], &borrowed(&hooks)].concat();
    let broker = Broker::start_with_tls(Engine::Postgres, &settings).await.unwrap();
    told_of_everything(&broker, &hook).await;
    let authority = broker.certificate_file().unwrap().display().to_string();
    let of_the_agent = [("BROKKR__BROKER__CA_FILE", authority.as_str()), ("BROKKR__BROKER__WAIT_SECONDS", "1")];
    let settings: Vec<_> = telemetry.iter().copied().chain(of_the_agent).collect();
    let agent = broker.agent(&cluster.unique("monitored"), &settings).await.unwrap();
    let scene = Scene::set(&cluster, &broker, &agent).await;
    let of_collector = |base: &str| Target::new("brokkr-collector", base);
    let targets =
        [of_broker(&broker), of_agent(&agent), of_collector(&collector.own_metrics), of_collector(&collector.span_metrics)];
    let prometheus = watch(&targets).await;

    // Long enough for everything that waits five minutes, or seconds, to have fired.
    let seen = "min(count_over_time(up[15s])) >= 13";
    let quiet = prometheus.wait_for(seen, LIMIT, |answer| !answer.is_empty());
    while_doing(quiet, async |round| scene.day(&format!("calm-{round}")).await).await.unwrap();
    let paged = prometheus.alerts().await.unwrap();
    let paged: Vec<_> = paged.iter().filter(|alert| alert.is_firing() && !OF_THE_MACHINE.contains(&alert.name())).collect();
    assert!(paged.is_empty(), "for nothing: {paged:#?}");

    let told = async {
        let failures = prometheus.fires("BrokkrAgentFailures", LIMIT).await.unwrap();
        assert_eq!(failures.labels["class"], "invalid");
        prometheus.fires("BrokkrPruneRefused", LIMIT).await.unwrap();
        prometheus.fires("BrokkrSpanErrors", LIMIT).await.unwrap();
        answered(&prometheus, &queries::all()).await;
        exemplars_lead_to_traces(&prometheus).await;
    };
    while_doing(told, async |round| scene.bad_day(round).await).await;
    for base in [&broker.base, &agent.base] {
        assert_no_complaint(base).await;
    }
}

/// Waits until every query has found a number, or says which have not.
async fn answered(prometheus: &Prometheus, queries: &[Query]) {
    let open = Mutex::new(queries.to_vec());
    let look = || async {
        let asked = open.lock().unwrap().clone();
        let mut left = Vec::new();
        for query in asked {
            let answer = prometheus.query(&query.asked()).await.map_err(|error| error.to_string())?;
            let is_excused = MAY_FIND_NOTHING.iter().any(|(origin, _)| query.origin == *origin);
            if !answer.has_a_number() && !is_excused {
                left.push(query);
            }
        }
        let said = left.iter().map(|query| format!("{}: {}\n", query.origin, query.asked())).collect::<String>();
        open.lock().unwrap().clone_from(&left);
        if left.is_empty() { Ok(()) } else { Err(said) }
    };
    until("an answer to every query", LIMIT, look).await.unwrap();
}

/// From a bucket to the trace that the collector passed on.
async fn exemplars_lead_to_traces(prometheus: &Prometheus) {
    for histogram in [
        "brokkr_http_request_duration_seconds_bucket",
        "brokkr_database_query_duration_seconds_bucket",
        "brokkr_rollout_duration_seconds_bucket",
        "brokkr_agent_kubernetes_operation_duration_seconds_bucket",
    ] {
        let look = || async {
            let exemplars = prometheus.exemplars(histogram).await.map_err(|error| error.to_string())?;
            let arrived = |id: &str| !Receiver::shared().trace(id).spans.is_empty();
            if exemplars.iter().any(|exemplar| arrived(&exemplar.trace_id)) { Ok(()) } else { Err(format!("{exemplars:?}")) }
        };
        until(&format!("an exemplar of {histogram} that leads to a trace"), LIMIT, look).await.unwrap();
    }
}

/// Two gauges are called `_total`, because the interface that others have built on calls them so. Otherwise promtool is content.
async fn assert_no_complaint(base: &str) {
    let answer = http::client().unwrap().get(format!("{base}/metrics")).send().await.unwrap();
    let complaints = check_metrics(&answer.text().await.unwrap()).unwrap();
    let is_known = |line: &&String| {
        ["brokkr_stacks_total", "brokkr_deployment_objects_total"].iter().any(|gauge| line.starts_with(gauge))
            && line.contains("\"_total\" suffix")
    };
    let unknown: Vec<_> = complaints.iter().filter(|line| !is_known(line)).collect();
    assert!(unknown.is_empty(), "{base}: {unknown:#?}");
}
