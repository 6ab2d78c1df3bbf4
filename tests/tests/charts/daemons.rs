//! The daemons with the arguments, the environment and the files that the charts give them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use brokkr_api::{Labels, enrolment::CreateRegistrationToken};
use brokkr_tests::{
    cluster::Cluster,
    fleet::{Agent, Broker, Engine, LIMIT, config_map},
    http,
    lab::{Scratch, free_port},
    process::{Daemon, Process},
};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::Value;

use crate::helm::{Helm, chart, find, objects};

/// The files of a pod in a folder, and its containers.
struct Pod {
    root: Scratch,
    spec: Value,
    port: u16,
}

impl Pod {
    /// Writes what the volumes of the first container hold; objects that are not rendered are left out.
    fn of(rendered: &[Value]) -> Self {
        let deployment = rendered.iter().find(|object| object["kind"] == "Deployment").unwrap();
        let pod = Self {
            root: Scratch::new("pod").unwrap(),
            spec: deployment["spec"]["template"]["spec"].clone(),
            port: free_port().unwrap(),
        };
        for mount in list(&pod.spec["containers"][0]["volumeMounts"]) {
            let folder = pod.path(mount["mountPath"].as_str().unwrap());
            fs::create_dir_all(&folder).unwrap();
            let volume = list(&pod.spec["volumes"]).find(|volume| volume["name"] == mount["name"]).unwrap();
            for (name, content) in content(rendered, volume) {
                fs::write(folder.join(name), pod.here(&content)).unwrap();
            }
        }
        pod
    }

    /// The place of a path of the container.
    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    /// A text with the paths and the port of this machine in the place of the container's.
    fn here(&self, text: &str) -> String {
        let root = self.root.path().display();
        ["/etc/brokkr", "/run/brokkr", "/var/lib/brokkr"]
            .into_iter()
            .fold(text.to_owned(), |text, path| text.replace(path, &format!("{root}{path}")))
            .replace("0.0.0.0:3000", &format!("127.0.0.1:{}", self.port))
            .replace("0.0.0.0:8080", &format!("127.0.0.1:{}", self.port))
    }

    fn daemon(&self, program: &str, container: &Value) -> Daemon {
        let args: Vec<_> = list(&container["args"]).map(|arg| self.here(arg.as_str().unwrap())).collect();
        let plain = list(&container["env"]).filter(|variable| variable["value"].is_string());
        plain.fold(Daemon::new(program).unwrap().args(args), |daemon, variable| {
            daemon.env(variable["name"].as_str().unwrap(), variable["value"].as_str().unwrap())
        })
    }

    fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Files of a volume.
fn content(rendered: &[Value], volume: &Value) -> Vec<(String, String)> {
    let find = |kind: &str, name: &Value| {
        rendered.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == *name).cloned()
    };
    let items = |source: &Value, key: String| {
        let renamed = list(&source["items"]).find(|item| item["key"] == key.as_str());
        renamed.map_or(key, |item| item["path"].as_str().unwrap().to_owned())
    };
    if let Some(map) = find("ConfigMap", &volume["configMap"]["name"]) {
        let map: ConfigMap = serde_json::from_value(map).unwrap();
        return map.data.unwrap().into_iter().map(|(key, text)| (items(&volume["configMap"], key), text)).collect();
    }
    let Some(secret) = find("Secret", &volume["secret"]["secretName"]) else { return Vec::new() };
    let secret: Secret = serde_json::from_value(secret).unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    secret.data.unwrap().into_iter().map(|(key, value)| (items(&volume["secret"], key), text(value.0))).collect()
}

async fn ended_well(mut process: Process) {
    let status = process.wait(LIMIT).await.unwrap();
    assert!(status.success(), "{:#?}", process.output().lines());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_runs_as_its_chart_says_and_the_admin_key_of_the_chart_opens_it() {
    let rendered = objects(&Helm::alone().await.template("broker", "brokkr-system", &[]).unwrap());
    let pod = Pod::of(&rendered);
    let (migrate, broker) = (&pod.spec["initContainers"][0], &pod.spec["containers"][0]);
    ended_well(pod.daemon("brokkr-broker", migrate).start().unwrap()).await;
    let mut process = pod.daemon("brokkr-broker", broker).start().unwrap();
    let probe = broker["readinessProbe"]["httpGet"]["path"].as_str().unwrap();
    process.wait_until_ok(&format!("{}{probe}", pod.base()), LIMIT).await.unwrap();

    let key = fs::read_to_string(pod.path("/run/brokkr/bootstrap/admin.key")).unwrap();
    let keys = http::client().unwrap().get(format!("{}/api/v1/keys", pod.base())).bearer_auth(key.trim()).send().await.unwrap();
    assert_eq!(keys.status(), 200);
    let lines = process.output().lines();
    assert!(!lines.iter().any(|line| line.contains(key.trim())), "the key stands in no log");
    assert!(pod.path("/var/lib/brokkr/brokkr.db").exists());
    assert!(process.terminate(LIMIT).await.unwrap().success());
}

/// A configuration that the daemon of this pod accepts, for each set of values.
#[tokio::test(flavor = "multi_thread")]
async fn each_rendered_configuration_is_accepted_by_its_daemon() {
    let helm = Helm::alone().await;
    for daemon in crate::helm::CHARTS {
        for (name, values) in crate::helm::matrix(daemon) {
            let rendered = objects(&helm.template(daemon, "brokkr-system", &["--values", &values]).unwrap());
            let pod = Pod::of(&rendered);
            if pod.path("/run/brokkr/tls").exists() {
                // The certificate comes from elsewhere, and the check reads it.
                brokkr_tests::certificate::Certificate::ours().write(&pod.path("/run/brokkr/tls")).unwrap();
            }
            let config = format!("--config={}", pod.path("/etc/brokkr/config.toml").display());
            let check = Daemon::new(&format!("brokkr-{daemon}")).unwrap().named(&name).args([&config, "config", "check"]);
            // As the environment would hold what a Secret has.
            let headers = ("BROKKR__TELEMETRY__HEADERS", "{authorization = \"Bearer x\"}");
            ended_well(check.env(headers.0, headers.1).start().unwrap()).await;
        }
    }
}

async fn token(broker: &Broker, name: &str) -> String {
    let name = name.parse().unwrap();
    let request = CreateRegistrationToken { name, labels: Labels::default(), max_uses: None, expires_in_seconds: None };
    broker.admin().create_registration_token(&request).await.unwrap().secret
}

/// A release of the agent's chart, and its agent under the service account of the release.
struct Release<'a> {
    cluster: &'a Cluster,
    helm: &'a Helm,
    namespace: String,
    agent: Agent,
    _pod: Pod,
    _accounts: Scratch,
}

impl<'a> Release<'a> {
    async fn install(cluster: &'a Cluster, helm: &'a Helm, broker: &Broker, values: &str) -> Self {
        let (namespace, name) = (cluster.create_namespace("chart").await.unwrap(), cluster.unique("edge"));
        let accounts = Scratch::new("accounts").unwrap();
        let kubeconfig = cluster.service_account_kubeconfig(&namespace, "edge", &accounts).await.unwrap();
        let values = format!(
            "fullnameOverride=edge,serviceAccount.create=false,serviceAccount.name=edge,replicas=2,\
             agent.name={name},broker.url={},enrolment.token={},config.telemetry.log.format=human,{values}",
            broker.base,
            token(broker, &name).await
        );
        helm.run(["install", "edge", &chart("agent"), "--namespace", &namespace, "--set", &values]).unwrap();
        let rendered = objects(&helm.run(["get", "manifest", "edge", "--namespace", &namespace]).unwrap());
        let pod = Pod::of(&rendered);
        let started = start(&pod, &kubeconfig);
        let mut agent = Agent { process: started, name: name.parse().unwrap(), base: pod.base() };
        agent.process.wait_for_line("the connection", LIMIT, |line| line.contains("the agent is connected")).await.unwrap();
        Self { cluster, helm, namespace, agent, _pod: pod, _accounts: accounts }
    }

    /// What the agent keeps its key in.
    async fn key(&self) -> Option<Secret> {
        self.cluster.get::<Secret>(&self.namespace, "edge-key").await.unwrap()
    }

    async fn uninstall(self) {
        let (namespace, cluster) = (self.namespace, self.cluster);
        drop(self.agent);
        self.helm.run(["uninstall", "edge", "--namespace", &namespace]).unwrap();
        assert!(cluster.get::<Secret>(&namespace, "edge-key").await.unwrap().is_some(), "the key stays");
        cluster.delete_namespace(&namespace).await.unwrap();
    }
}

fn start(pod: &Pod, kubeconfig: &Path) -> Process {
    let daemon = pod.daemon("brokkr-agent", &pod.spec["containers"][0]);
    daemon.env("BROKKR__KUBERNETES__KUBECONFIG", kubeconfig).start().unwrap()
}

/// Installs the chart with a profile, and has its agent deliver.
async fn delivers_under(cluster: &Cluster, helm: &Helm, broker: &Broker, profile: &str) {
    let shop = cluster.create_namespace("shop").await.unwrap();
    let release = Release::install(cluster, helm, broker, &profile.replace("shop", &shop)).await;
    let namespace = release.namespace.as_str();
    let first = release.key().await.unwrap().data.unwrap_or_default();
    assert!(!first.is_empty(), "the agent keeps its key in the chart's Secret");
    let stack = broker.stack(release.agent.name.as_str(), &[&release.agent]).await;
    broker.apply(&stack, &config_map(&shop, "delivered", "1")).await;
    assert!(cluster.get::<ConfigMap>(&shop, "delivered").await.unwrap().is_some());

    // Neither an upgrade nor what takes it back touches the key, and the agent works on.
    let other = "config.telemetry.log.level=debug";
    helm.run(["upgrade", "edge", &chart("agent"), "--namespace", namespace, "--reuse-values", "--set", other]).unwrap();
    assert_eq!(release.key().await.unwrap().data.unwrap(), first);
    helm.run(["rollback", "edge", "1", "--namespace", namespace]).unwrap();
    assert_eq!(release.key().await.unwrap().data.unwrap(), first);
    broker.apply(&stack, &config_map(&shop, "delivered", "2")).await;
    release.uninstall().await;
    cluster.delete_namespace(&shop).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn under_each_profile_of_its_chart_the_agent_enrols_leads_and_delivers() {
    let cluster = Cluster::shared().await.unwrap();
    let helm = Helm::on(cluster.kubeconfig()).await;
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    for profile in ["rbac.namespaces={shop}", "rbac.profile=cluster", "rbac.profile=clusterAdmin"] {
        delivers_under(&cluster, &helm, &broker, profile).await;
    }
}

/// The first admin key of a broker in the same namespace, its configuration and the agent's own key are no business of whoever sends
/// manifests.
#[tokio::test(flavor = "multi_thread")]
async fn with_no_namespace_named_the_agent_delivers_nowhere_and_least_of_all_beside_itself() {
    let cluster = Cluster::shared().await.unwrap();
    let helm = Helm::on(cluster.kubeconfig()).await;
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let release = Release::install(&cluster, &helm, &broker, "rbac.profile=namespaced").await;
    let ns = release.namespace.as_str();
    let key = release.key().await.unwrap().data;
    let beside = format!(
        "{}---\napiVersion: v1\nkind: Secret\nmetadata: {{name: edge-key, namespace: {ns}}}\n",
        config_map(ns, "edge", "1")
    );
    let stack = broker.stack(release.agent.name.as_str(), &[&release.agent]).await;
    for (manifests, objects) in [(beside, 2), (config_map("default", "edge", "1"), 1)] {
        broker.send(&stack, &manifests).await;
        let rollout = broker.settle(&stack).await;
        let tried = rollout.deployments.iter().flat_map(|deployment| &deployment.objects);
        let refused = tried.filter(|object| object.reason.as_deref() == Some("forbidden")).count();
        assert!(refused == objects && format!("{rollout:?}").contains("confined to no namespace"), "{rollout:#?}");
    }
    assert_eq!(release.key().await.unwrap().data, key);
    let config = cluster.get::<ConfigMap>(ns, "edge").await.unwrap().unwrap();
    assert_eq!(
        config.data.unwrap().into_keys().collect::<Vec<_>>(),
        ["config.toml"],
        "the agent's configuration is that of the chart"
    );
    release.uninstall().await;
}

#[tokio::test]
async fn a_rendered_key_is_new_in_each_render_and_the_service_account_of_a_broker_opens_nothing() {
    let helm = Helm::alone().await;
    let key = |rendered: &[Value]| find(rendered, "Secret", "-admin")["data"]["admin.key"].as_str().unwrap().to_owned();
    let [one, other] = [(); 2].map(|()| objects(&helm.template("broker", "x", &[]).unwrap()));
    assert_ne!(key(&one), key(&other));
    assert_eq!(find(&one, "Deployment", "")["spec"]["template"]["spec"]["automountServiceAccountToken"], false);
}
