//! What the charts render and refuse.

use std::{collections::BTreeMap, env, fs, path::Path};

use brokkr_tests::cluster::Cluster;
use serde_json::Value;

use crate::{
    helm::{CHARTS, Helm, chart, find, matrix, objects, repository},
    release,
};

/// Set to `1` to keep what is rendered now.
const KEEP: &str = "BROKKR_KEEP_GOLDEN";

#[tokio::test]
async fn the_linter_finds_nothing_with_no_value_set_and_with_each_set_of_values() {
    let helm = Helm::alone().await;
    for daemon in CHARTS {
        let chart = chart(daemon);
        helm.run(["lint", "--strict", &chart]).unwrap();
        for (name, values) in matrix(daemon) {
            helm.run(["lint", "--strict", &chart, "--values", &values]).unwrap_or_else(|said| panic!("{name}: {said}"));
        }
    }
}

/// What is random in each render stands for itself.
pub(crate) fn without_random(manifests: &str) -> String {
    let mut text = String::new();
    for line in manifests.lines() {
        let masked = ["  admin.key: ", "  keys: "].into_iter().find(|start| line.starts_with(start));
        text.push_str(masked.map_or(line, |_| line.split_inclusive(": ").next().unwrap_or_default()).trim_end());
        text.push('\n');
    }
    text
}

#[tokio::test]
async fn each_set_of_values_renders_what_is_kept() {
    let helm = Helm::alone().await;
    let keep = env::var_os(KEEP).is_some_and(|value| value == "1");
    for daemon in CHARTS {
        for (name, values) in matrix(daemon) {
            let rendered = helm.template(daemon, "brokkr-system", &["--values", &values]).unwrap();
            let rendered = without_random(&rendered);
            let golden = repository().join(format!("tests/charts/golden/{daemon}/{name}.yaml"));
            if keep {
                fs::write(&golden, rendered).unwrap();
            } else {
                let kept = fs::read_to_string(&golden).unwrap();
                assert!(rendered == kept, "{daemon} {name}: see the difference with {KEEP}=1 and git diff:\n{rendered}");
            }
        }
    }
}

#[tokio::test]
async fn wrong_values_are_refused_with_their_path() {
    let helm = Helm::alone().await;
    let broker: [(&str, &str); 15] = [
        ("replicaCount=2", "replicaCount"),
        ("replicas=two", "/replicas"),
        ("database.type=mysql", "/database/type"),
        ("config.server.drain_secs=3", "drain_secs"),
        ("config.server.drain_seconds=many", "/config/server/drain_seconds"),
        ("config.telemetry.exporter=zipkin", "/config/telemetry/exporter"),
        ("tracing.collector.mode=agent", "/tracing/collector/mode"),
        ("metrics.serviceMonitor.interval=often", "/metrics/serviceMonitor/interval"),
        ("replicas=2", "database.type: SQLite is for one broker"),
        ("autoscaling.enabled=true", "database.type: SQLite is for one broker"),
        ("database.type=postgresql", "database.postgresql.existingSecret"),
        ("migration.mode=hook", "migration.mode: a Job cannot reach the broker's SQLite file"),
        ("config.database.url=postgres://a:b@c/d", "config.database.url: the chart sets this"),
        ("tls.enabled=true", "tls.existingSecret"),
        ("tracing.collector.mode=sidecar", "tracing.collector.sidecar.endpoint"),
    ];
    let agent: [(&str, &str); 10] = [
        ("rbac.profile=root", "/rbac/profile"),
        ("agent.name=Edge", "/agent/name"),
        ("broker.url=brokkr", "/broker/url"),
        ("config.kubernetes.concurency=3", "concurency"),
        ("config.broker.key=x", "config.broker.key: the chart sets this"),
        ("rbac.profile=cluster,rbac.namespaces={shop}", "rbac.namespaces: the profile cluster is for all namespaces"),
        ("config.telemetry.headers.authorization=x", "config.telemetry.headers"),
        ("config.telemetry.enabled=true", "config.telemetry.endpoint"),
        ("tracing.collector.mode=gateway", "tracing.collector.gateway.endpoint"),
        ("metrics.podMonitor.enabled=true,metrics.serviceMonitor.enabled=true", "metrics.podMonitor.enabled"),
    ];
    for (daemon, wrong) in [("broker", &broker[..]), ("agent", &agent[..])] {
        for (value, said) in wrong {
            let error = helm.template(daemon, "x", &["--set", value]).unwrap_err();
            // The validator parts a path's steps by dots or by slashes.
            let is_told = error.contains(said) || error.contains(&said.trim_start_matches('/').replace('/', "."));
            assert!(is_told, "{daemon} {value}: {error}");
        }
    }
    // Both at once: the chart's own collector, and that of the operator.
    let both = [
        "--set=tracing.collector.mode=sidecar,tracing.collector.sidecar.endpoint=a:1",
        "--set-string=podAnnotations.sidecar\\.opentelemetry\\.io/inject=true",
    ];
    for daemon in CHARTS {
        let error = helm.template(daemon, "x", &both).unwrap_err();
        assert!(error.contains("would inject a collector beside"), "{error}");
    }
}

#[tokio::test]
async fn dashboards_and_rules_are_those_of_the_repository() {
    let helm = Helm::alone().await;
    let all = ["--set=metrics.dashboards.enabled=true,metrics.prometheusRule.enabled=true"];
    let rendered = objects(&helm.template("broker", "x", &all).unwrap());
    let agent = objects(&helm.template("agent", "x", &["--set=metrics.dashboards.enabled=true"]).unwrap());
    let carried = |rendered: &[Value], daemon: &str| -> BTreeMap<String, Value> {
        let is_one = |object: &&Value| object["metadata"]["labels"]["grafana_dashboard"] == "1";
        let data = |map: &Value| map["data"].as_object().unwrap().clone().into_iter().next().unwrap();
        let maps = rendered.iter().filter(is_one).map(|map| {
            let (file, text) = data(map);
            let stem = file.strip_suffix(".json").unwrap();
            assert_eq!(map["metadata"]["name"], format!("demo-brokkr-{daemon}-{stem}"));
            (file, serde_json::from_str(text.as_str().unwrap()).unwrap())
        });
        maps.collect()
    };
    let folder = fs::read_dir(repository().join("monitoring/dashboards")).unwrap().map(|entry| entry.unwrap().path());
    let name = |file: &Path| file.file_name().unwrap().to_str().unwrap().to_owned();
    let mut theirs: BTreeMap<_, Value> =
        folder.map(|file| (name(&file), serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap())).collect();
    assert_eq!(carried(&rendered, "broker"), theirs, "the broker's chart has all of them");
    theirs.retain(|name, _| name == "agent.json");
    assert_eq!(carried(&agent, "agent"), theirs, "an agent's cluster has agents only");
    let rules = fs::read_to_string(repository().join("monitoring/rules/brokkr.yaml")).unwrap();
    let rules: Value = serde_saphyr::from_str(&rules).unwrap();
    assert_eq!(find(&rendered, "PrometheusRule", "")["spec"]["groups"], rules["groups"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_takes_each_render_strictly() {
    let cluster = Cluster::shared().await.unwrap();
    release::custom_resources(&cluster).await;
    let helm = Helm::alone().await;
    let namespace = cluster.create_namespace("strict").await.unwrap();
    let scratch = brokkr_tests::lab::Scratch::new("strict").unwrap();
    for daemon in CHARTS {
        for (name, values) in matrix(daemon) {
            let rendered = helm.template(daemon, &namespace, &["--values", &values]).unwrap();
            // The namespace that the values deliver to.
            let rendered = rendered.replace("namespace: shop", &format!("namespace: {namespace}"));
            let file = scratch.write(&format!("{daemon}-{name}.yaml"), rendered).unwrap();
            let told = cluster.kubectl(&["apply", "--dry-run=server", "--validate=strict", "-f", file.to_str().unwrap()]);
            let told = told.unwrap_or_else(|error| panic!("{daemon} {name}: {error}"));
            assert!(told.contains("deployment.apps/"), "{told}");
        }
    }
    cluster.delete_namespace(&namespace).await.unwrap();
}
