//! The guide of deployment and that of production, from nothing to the end.

use std::{fs, time::Duration};

use brokkr_tests::{
    cluster::Cluster,
    control_plane::{ControlPlane, Options},
    fleet::{Broker, LIMIT},
    http::client,
    lab::{self, Scratch, built, until},
    otlp::Span,
};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::Value;

use crate::{machine::Machine, page::Page, shell::Shell};

/// Namespaces that the guides use.
const NAMESPACES: &[&str] = &["brokkr-system", "observability"];

/// What the address of the guide stands for.
const OUTSIDE: &str = "https://brokkr.example.com";

/// Somebody who follows pages, and a cluster that does as it is told.
pub(crate) struct Walk {
    pub(crate) shell: Shell,
    pub(crate) machine: Machine,
    pub(crate) cluster: Cluster,
}

impl Walk {
    async fn begin(cluster: Cluster) -> Self {
        storage(&cluster);
        let kubectl = ControlPlane::shared().description().kubectl.clone();
        let programs = [lab::helm().await.unwrap(), kubectl, built("brokkr").unwrap()];
        let shell = Shell::start(&programs, &["charts", "deploy"], &[("KUBECONFIG", cluster.kubeconfig())]);
        Self { shell, machine: Machine::new(cluster.clone(), NAMESPACES, Vec::new()), cluster }
    }

    /// Types every command under a heading, in their order, and lets the cluster settle after each; what they print.
    pub(crate) async fn follow(&mut self, page: &Page, heading: &str) -> String {
        let mut said = String::new();
        for block in page.blocks(heading, "sh") {
            for command in block.commands() {
                said.push_str(&self.type_in(&command).await);
            }
        }
        said
    }

    /// Types one command.
    pub(crate) async fn type_in(&mut self, command: &str) -> String {
        if let Some(forward) = command.trim().strip_prefix("kubectl port-forward --namespace ") {
            let words: Vec<_> = forward.split_whitespace().collect();
            let [namespace, service, ports, "&"] = words[..] else { panic!("{command}") };
            let (local, port) = ports.split_once(':').unwrap();
            let service = service.strip_prefix("service/").unwrap();
            self.machine.forward(namespace, service, local.parse().unwrap(), port.parse().unwrap()).await;
            return String::new();
        }
        let said = self.shell.run(&self.machine.here(command));
        self.machine.settle().await;
        said
    }
}

/// A default storage class, as clusters have one, and a volume for whoever asks for one.
fn storage(cluster: &Cluster) {
    let scratch = Scratch::new("storage").unwrap();
    let text = "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata:\n  name: default\n  annotations: \
                {storageclass.kubernetes.io/is-default-class: 'true'}\nprovisioner: kubernetes.io/no-provisioner\n---\n\
                apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: guide}\nspec:\n  capacity: {storage: 10Gi}\n  \
                accessModes: [ReadWriteOnce]\n  storageClassName: default\n  hostPath: {path: /volume}\n";
    let file = scratch.write("storage.yaml", text).unwrap();
    cluster.kubectl(&["apply", "-f", file.to_str().unwrap()]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_follows_the_guides_from_nothing_to_the_end() {
    let (deploy, production) = (Page::read("how-to/deploy.md"), Page::read("how-to/production.md"));
    let cluster = Cluster::shared().await.unwrap();
    let mut walk = Walk::begin(cluster.clone()).await;

    let said = walk.follow(&deploy, "In five minutes").await;
    assert!(said.contains("greeting") && said.contains("edge-1"), "{said}");
    let greeting = async || cluster.get::<ConfigMap>("shop", "greeting").await.unwrap().unwrap().data.unwrap()["text"].clone();
    assert_eq!(greeting().await, "hello");

    let said = walk.follow(&deploy, "See metrics and traces").await;
    assert_eq!(greeting().await, "again");
    sees_the_trace(&walk, &said).await;
    sees_the_metrics(&walk, &deploy).await;

    crate::restore::a_backup_is_restored(&mut walk, &production).await;

    values_of_the_page_are_accepted(&mut walk, &deploy).await;
    let said = walk.follow(&production, "Upgrade").await;
    assert!(said.contains("has been upgraded"), "{said}");
    // Its pod may be another one.
    if !walk.machine.is_forwarded(3000) {
        walk.type_in("kubectl port-forward --namespace brokkr-system service/brokkr-broker 3000:3000 &\n").await;
    }
    another_cluster_joins(&mut walk, &deploy).await;

    let said = walk.follow(&deploy, "Without the internet").await;
    let images: Vec<_> = said.lines().filter(|line| line.starts_with("image: ")).collect();
    assert!(images.len() == 2 && images.iter().all(|image| image.contains("registry.internal/")), "{said}");
    walk.follow(&deploy, "GitOps").await;
    the_key_made_by_hand_opens_a_new_broker(&walk).await;

    walk.follow(&deploy, "Take it away").await;
    assert_eq!(walk.machine.running(), ["collector", "jaeger", "prometheus"]);
    for kept in ["brokkr-broker-admin", "brokkr-agent-key"] {
        assert!(cluster.get::<Secret>("brokkr-system", kept).await.unwrap().is_some(), "{kept} stays");
    }
    assert_eq!(greeting().await, "after the restore", "what was delivered stays");

    let followed =
        ["In five minutes", "See metrics and traces", "Several clusters", "Without the internet", "GitOps", "Take it away"];
    assert_eq!(deploy.headings_with_commands(), followed, "every command of the page was typed");
    assert_eq!(production.headings_with_commands(), ["Upgrade", "Back up", "Restore"]);
}

/// The trace whose id `brokkr --trace` printed, in the backend, with the spans of both daemons.
async fn sees_the_trace(walk: &Walk, said: &str) {
    let id = said.lines().find_map(|line| line.strip_prefix("trace ")).unwrap_or_else(|| panic!("no trace in {said}"));
    let (receiver, zipkin) = walk.machine.backend("observability", "jaeger");
    let needed = ["send deployment", "process deployment"];
    let has = |spans: &[Span], name: &str| spans.iter().any(|span| span.trace_id == id && span.name.starts_with(name));
    // Parents end after their children, and come in a later batch.
    let is_whole = |spans: &[Span]| {
        let ours: Vec<_> = spans.iter().filter(|span| span.trace_id == id).collect();
        let has_parent = |span: &&&Span| ours.iter().any(|other| Some(&other.span_id) == span.parent.as_ref());
        ours.iter().filter(|span| !has_parent(span)).count() == 1
    };
    let enough = |spans: &[Span]| needed.iter().all(|name| has(spans, name)) && is_whole(spans);
    let spans = receiver.wait_for("the rollout's trace", LIMIT, enough).await.unwrap();
    let spans: Vec<_> = spans.into_iter().filter(|span| span.trace_id == id).collect();
    for span in &spans {
        let place = ["k8s.pod.name", "k8s.pod.uid", "k8s.namespace.name", "k8s.node.name", "k8s.deployment.name"];
        let missing = place.into_iter().find(|name| !span.resource.contains_key(*name));
        assert_eq!(missing, None, "{} says where it runs: {:?}", span.service, span.resource);
    }
    let shown = zipkin.trace(id, spans.len()).await.unwrap();
    for service in ["brokkr-broker", "brokkr-agent"] {
        assert!(shown.iter().any(|span| span["localEndpoint"]["serviceName"] == service), "{service}: {shown:#?}");
    }
    // The request's own parent is the command line, which exports no spans.
    let is_there = |parent: &Value| shown.iter().any(|span| span["id"] == *parent);
    let roots: Vec<_> = shown.iter().filter(|span| !is_there(&span["parentId"])).map(|span| &span["name"]).collect();
    assert_eq!(roots, ["put /api/v1/stacks/{stack}/deployment-objects"], "one tree: {shown:#?}");
    let applies = |span: &&Value| span["kind"] == "CLIENT" && span["localEndpoint"]["serviceName"] == "brokkr-agent";
    assert!(shown.iter().any(|span| applies(&span)), "a call of the Kubernetes API: {shown:#?}");
}

/// Every query of the page answers something in the Prometheus of the page.
async fn sees_the_metrics(walk: &Walk, page: &Page) {
    let url = walk.machine.here("http://localhost:9090/api/v1/query");
    let client = client().unwrap();
    for block in page.blocks("See metrics and traces", "promql") {
        let query = block.text.trim();
        let look = || async {
            let answer = client.get(&url).query(&[("query", query)]).send().await.map_err(|error| error.to_string())?;
            let answer: Value = answer.json().await.map_err(|error| error.to_string())?;
            let samples = answer["data"]["result"].as_array().cloned().unwrap_or_default();
            let is_something = |sample: &Value| sample["value"][1] != "0";
            if !samples.is_empty() && samples.iter().all(is_something) { Ok(()) } else { Err(answer.to_string()) }
        };
        until(query, Duration::from_secs(90), look).await.unwrap();
    }
}

/// Each block of values on the page renders.
async fn values_of_the_page_are_accepted(walk: &mut Walk, page: &Page) {
    for heading in ["Several clusters", "GitOps"] {
        for block in page.blocks(heading, "yaml") {
            fs::write(walk.shell.folder.join("values.yaml"), &block.text).unwrap();
            walk.type_in("helm template x charts/brokkr-broker --values values.yaml >/dev/null\n").await;
        }
    }
}

/// An agent in a second cluster enrols with a token that many may use.
async fn another_cluster_joins(walk: &mut Walk, page: &Page) {
    let start = || ControlPlane::start(&Options::default()).unwrap();
    let control_plane = tokio::task::spawn_blocking(start).await.unwrap();
    let other = Cluster::of(&control_plane).await.unwrap();
    let broker = format!("http://{}", walk.machine.address("brokkr-system", "brokkr-broker", 3000));
    let mut machine = Machine::new(other.clone(), NAMESPACES, vec![(OUTSIDE.to_owned(), broker)]);
    let blocks = page.blocks("Several clusters", "sh");
    assert_eq!(blocks.len(), 2, "one for whoever has the broker, one for each cluster");
    for command in blocks[0].commands() {
        walk.type_in(&command).await;
    }
    for command in blocks[1].commands() {
        walk.shell.run(&format!("KUBECONFIG={}\n{command}", other.kubeconfig().display()));
        machine.settle().await;
    }
    walk.shell.run(&format!("KUBECONFIG={}\n", walk.cluster.kubeconfig().display()));
    let agents = walk.machine.here("brokkr get agents\n");
    let look = || {
        let said = walk.shell.run(&agents);
        async move { if said.contains("edge-7") { Ok(()) } else { Err(said) } }
    };
    until("the agent of the second cluster", LIMIT, look).await.unwrap();
    // A Deployment that is gone ends its process, which must end well.
    let uninstall =
        format!("KUBECONFIG={} helm uninstall brokkr-agent --namespace brokkr-system --wait\n", other.kubeconfig().display());
    walk.shell.run(&uninstall);
    machine.settle().await;
}

/// The commands for who renders without the cluster make a key that a broker takes as its first.
async fn the_key_made_by_hand_opens_a_new_broker(walk: &Walk) {
    let secret = walk.cluster.get::<Secret>("brokkr-system", "brokkr-admin").await.unwrap().unwrap();
    let folder = Scratch::new("gitops").unwrap();
    folder.write("admin.key", &secret.data.unwrap()["admin.key"].0).unwrap();
    let keys = walk.cluster.get::<Secret>("brokkr-system", "brokkr-encryption").await.unwrap().unwrap();
    let keys = folder.write("encryption.keys", &keys.data.unwrap()["keys"].0).unwrap();
    let settings = [("BROKKR__ENCRYPTION__KEYS_FILE", keys.to_str().unwrap())];
    let broker = Broker::in_folder(folder.path(), &settings).await.unwrap();
    broker.admin().list_keys(&brokkr_api::page::PageQuery::default()).await.unwrap();
}
