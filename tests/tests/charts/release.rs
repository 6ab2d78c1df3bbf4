//! Releases on a real control plane: Deployments roll out and Jobs complete, as far as Kubernetes can tell.

use std::{collections::BTreeMap, path::Path, process::Command};

use brokkr_tests::{cluster::Cluster, fleet::LIMIT, lab::until};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, PersistentVolumeClaim, Secret},
};

use crate::{
    helm::{Helm, chart, repository},
    rights::Account,
};

/// Kinds of others that the charts render, as their projects publish them: the bundle, and the files of it.
const KINDS: [(&str, &[&str]); 4] = [
    (
        "prometheus-operator",
        &[
            "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
            "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
            "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
        ],
    ),
    ("gateway-api", &["gateway.networking.k8s.io_httproutes.yaml"]),
    ("cert-manager", &["cert-manager.io_certificates.yaml"]),
    ("istio", &["customresourcedefinitions.gen.yaml"]),
];

/// Makes these kinds known to the cluster.
pub(crate) async fn custom_resources(cluster: &Cluster) {
    let script = repository().join("tests/bundles/fetch.sh");
    let fetch = move || Command::new("bash").arg(script).args(KINDS.map(|(name, _)| name)).output().unwrap();
    let output = tokio::task::spawn_blocking(fetch).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let places: BTreeMap<_, _> = text.lines().map(|line| line.split_once('\t').unwrap()).collect();
    for (name, files) in KINDS {
        let place = Path::new(places[name]);
        let folder = if place.is_file() { place.parent().unwrap() } else { place };
        for file in files {
            let file = folder.join(file).display().to_string();
            cluster.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &file]).unwrap();
            cluster.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "-f", &file]).unwrap();
        }
    }
}

async fn admin_key(cluster: &Cluster, namespace: &str, name: &str) -> String {
    let secret = cluster.get::<Secret>(namespace, name).await.unwrap().unwrap();
    String::from_utf8(secret.data.unwrap()["admin.key"].0.clone()).unwrap()
}

async fn config(cluster: &Cluster, namespace: &str, name: &str) -> String {
    let map = cluster.get::<ConfigMap>(namespace, name).await.unwrap().unwrap();
    map.data.unwrap()["config.toml"].clone()
}

/// A volume for the claim of the release: nobody makes volumes on this cluster.
fn volume(cluster: &Cluster, namespace: &str, claim: &str) -> String {
    let scratch = brokkr_tests::lab::Scratch::new("volume").unwrap();
    let name = cluster.unique("volume");
    let text = format!(
        "apiVersion: v1\nkind: PersistentVolume\nmetadata: {{name: {name}}}\nspec:\n  capacity: {{storage: 10Gi}}\n  \
         accessModes: [ReadWriteOnce]\n  storageClassName: ''\n  hostPath: {{path: /volume}}\n  \
         claimRef: {{namespace: {namespace}, name: {claim}}}\n"
    );
    let file = scratch.write("volume.yaml", text).unwrap();
    cluster.kubectl(&["apply", "-f", file.to_str().unwrap()]).unwrap();
    name
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_is_installed_upgraded_rolled_back_and_uninstalled_and_its_key_stays() {
    let cluster = Cluster::shared().await.unwrap();
    custom_resources(&cluster).await;
    let helm = Helm::on(cluster.kubeconfig()).await;
    let namespace = cluster.create_namespace("release").await.unwrap();
    let (ns, chart) = (namespace.as_str(), chart("broker"));
    let volume = volume(&cluster, ns, "forge-brokkr-broker");
    let values = "database.sqlite.persistence.storageClass=-,metrics.serviceMonitor.enabled=true,\
                  metrics.prometheusRule.enabled=true,metrics.dashboards.enabled=true";
    let install = ["install", "forge", &chart, "--namespace", ns, "--set", values, "--wait", "--timeout", "3m"];
    helm.run(install).unwrap();
    let name = "forge-brokkr-broker";
    let ready = |deployment: Option<Deployment>| deployment.unwrap().status.unwrap().ready_replicas;
    assert_eq!(ready(cluster.get::<Deployment>(ns, name).await.unwrap()), Some(1));
    let key = admin_key(&cluster, ns, &format!("{name}-admin")).await;
    for kind in ["servicemonitor", "prometheusrule", "networkpolicy", "serviceaccount", "service"] {
        cluster.kubectl(&["get", kind, name, "--namespace", ns]).unwrap();
    }

    let before = config(&cluster, ns, name).await;
    let more = "config.telemetry.log.level=debug";
    let upgrade = ["upgrade", "forge", &chart, "--namespace", ns, "--reuse-values", "--set", more, "--wait", "--timeout", "3m"];
    helm.run(upgrade).unwrap();
    let after = config(&cluster, ns, name).await;
    assert!(after.contains("level = \"debug\"") && !before.contains("debug"), "{before}\n{after}");
    assert_eq!(admin_key(&cluster, ns, &format!("{name}-admin")).await, key, "an upgrade makes no other key");

    helm.run(["rollback", "forge", "1", "--namespace", ns, "--wait", "--timeout", "3m"]).unwrap();
    assert_eq!(config(&cluster, ns, name).await, before);
    assert_eq!(ready(cluster.get::<Deployment>(ns, name).await.unwrap()), Some(1));

    helm.run(["uninstall", "forge", "--namespace", ns, "--wait", "--timeout", "3m"]).unwrap();
    assert!(cluster.get::<Deployment>(ns, name).await.unwrap().is_none());
    assert!(cluster.get::<PersistentVolumeClaim>(ns, name).await.unwrap().is_some(), "the state stays");
    assert_eq!(admin_key(&cluster, ns, &format!("{name}-admin")).await, key, "and the key to it");

    helm.run(install).unwrap();
    assert_eq!(admin_key(&cluster, ns, &format!("{name}-admin")).await, key, "the next release finds both");
    helm.run(["uninstall", "forge", "--namespace", ns]).unwrap();
    cluster.delete_namespace(ns).await.unwrap();
    cluster.kubectl(&["delete", "persistentvolume", &volume, "--wait=false"]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_installed_upgraded_rolled_back_and_uninstalled_and_its_rights_follow() {
    let cluster = Cluster::shared().await.unwrap();
    custom_resources(&cluster).await;
    let helm = Helm::on(cluster.kubeconfig()).await;
    let (namespace, shop) = (cluster.create_namespace("edge").await.unwrap(), cluster.create_namespace("shop").await.unwrap());
    let (ns, chart, name) = (namespace.as_str(), chart("agent"), "edge-brokkr-agent");
    let account = Account { cluster: &cluster, namespace: ns, name };
    let values = format!("rbac.namespaces={{{shop}}},enrolment.token=not-a-token,metrics.podMonitor.enabled=true");
    helm.run(["install", "edge", &chart, "--namespace", ns, "--set", &values, "--wait", "--timeout", "3m"]).unwrap();
    let ready = async || cluster.get::<Deployment>(ns, name).await.unwrap().unwrap().status.unwrap().ready_replicas;
    assert_eq!(ready().await, Some(1));
    let before = config(&cluster, ns, name).await;
    let rights = async || {
        (account.may("patch", "deployments.apps", &shop).await, account.may("patch", "deployments.apps", "default").await)
    };
    // The API server itself follows roles and bindings by a watch.
    let has = async |wanted: (bool, bool)| {
        let look = || async { if rights().await == wanted { Ok(()) } else { Err(format!("{:?}", rights().await)) } };
        until("the rights in its namespace and in another", LIMIT, look).await.unwrap();
    };
    has((true, false)).await;

    let wider = "rbac.profile=cluster,replicas=2,enrolment.token=not-a-token,metrics.serviceMonitor.enabled=true";
    let upgrade = ["upgrade", "edge", &chart, "--namespace", ns, "--set", wider, "--wait", "--timeout", "3m"];
    helm.run(upgrade).unwrap();
    assert_eq!(ready().await, Some(2));
    has((true, true)).await;
    assert_ne!(config(&cluster, ns, name).await, before);
    cluster.kubectl(&["get", "servicemonitor,poddisruptionbudget", name, "--namespace", ns]).unwrap();

    helm.run(["rollback", "edge", "1", "--namespace", ns, "--wait", "--timeout", "3m"]).unwrap();
    assert_eq!(ready().await, Some(1));
    has((true, false)).await;
    assert_eq!(config(&cluster, ns, name).await, before);
    cluster.kubectl(&["get", "podmonitor", name, "--namespace", ns]).unwrap();
    for kind in ["servicemonitor", "poddisruptionbudget"] {
        let gone = cluster.kubectl(&["get", kind, name, "--namespace", ns]).unwrap_err().to_string();
        assert!(gone.contains("not found"), "{gone}");
    }

    helm.run(["uninstall", "edge", "--namespace", ns, "--wait", "--timeout", "3m"]).unwrap();
    assert!(cluster.get::<Deployment>(ns, name).await.unwrap().is_none());
    has((false, false)).await;
    assert!(cluster.get::<Secret>(ns, &format!("{name}-key")).await.unwrap().is_some(), "its key stays");
    for namespace in [ns, &shop] {
        cluster.delete_namespace(namespace).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_on_postgresql_wait_for_the_job_that_migrates_and_agents_come_in_pairs() {
    let cluster = Cluster::shared().await.unwrap();
    custom_resources(&cluster).await;
    let helm = Helm::on(cluster.kubeconfig()).await;
    let namespace = cluster.create_namespace("pair").await.unwrap();
    let ns = namespace.as_str();
    cluster
        .kubectl(&["create", "secret", "generic", "database", "--namespace", ns, "--from-literal=url=postgres://a/b"])
        .unwrap();
    let values = "replicas=2,database.type=postgresql,database.postgresql.existingSecret=database,migration.mode=hook";
    let (broker, agent) = (chart("broker"), chart("agent"));
    helm.run(["install", "forge", &broker, "--namespace", ns, "--set", values, "--wait", "--timeout", "3m"]).unwrap();
    let values = "replicas=2,metrics.podMonitor.enabled=true,metrics.prometheusRule.enabled=true,\
                  tracing.collector.mode=sidecar,tracing.collector.sidecar.endpoint=gateway:4317";
    helm.run(["install", "edge", &agent, "--namespace", ns, "--set", values, "--wait", "--timeout", "3m"]).unwrap();
    for name in ["forge-brokkr-broker", "edge-brokkr-agent"] {
        let deployment = cluster.get::<Deployment>(ns, name).await.unwrap().unwrap();
        assert_eq!(deployment.status.unwrap().ready_replicas, Some(2), "{name}");
        cluster.kubectl(&["get", "poddisruptionbudget", name, "--namespace", ns]).unwrap();
    }
    cluster.kubectl(&["get", "podmonitor", "edge-brokkr-agent", "--namespace", ns]).unwrap();
    let events = cluster.kubectl(&["get", "events", "--namespace", ns, "-o", "jsonpath={.items[*].reason}"]).unwrap();
    assert!(events.contains("Completed"), "the Job ran: {events}");
    for release in ["edge", "forge"] {
        helm.run(["uninstall", release, "--namespace", ns, "--wait", "--timeout", "3m"]).unwrap();
    }
    cluster.delete_namespace(ns).await.unwrap();
}
