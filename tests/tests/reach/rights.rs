use std::path::{Path, PathBuf};

use brokkr_api::reports::ObjectOutcome;
use brokkr_tests::{
    cluster::Cluster,
    fleet::{Broker, Engine, LIMIT, config_map},
    lab::{Scratch, until},
    process::{Daemon, Process},
};
use k8s_openapi::api::apps::v1::Deployment;

/// The rules of the page for one profile, with its placeholders filled in.
fn profile(name: &str, own: &str, namespace: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/content/how-to/rights-of-the-agent.md");
    let page = std::fs::read_to_string(page).unwrap();
    let begin = format!("```yaml\n# {name}\n");
    let rules = page.split(&begin).nth(1).unwrap().split("```").next().unwrap();
    rules.replace("brokkr-system", own).replace("NAMESPACE", namespace)
}

fn deployment(namespace: &str) -> String {
    format!(
        "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, namespace: {namespace}}}\nspec:\n  replicas: 1\n  \
         selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    \
         spec: {{containers: [{{name: web, image: \"registry.example/web:1\"}}]}}\n"
    )
}

/// A service account with the rights of a profile, and its kubeconfig.
struct Account {
    own: String,
    namespace: String,
    kubeconfig: PathBuf,
    scratch: Scratch,
}

impl Account {
    async fn make(cluster: &Cluster, profiles: &[&str]) -> Self {
        let (own, namespace) =
            (cluster.create_namespace("rights-own").await.unwrap(), cluster.create_namespace("rights").await.unwrap());
        let scratch = Scratch::new("rights").unwrap();
        let kubeconfig = cluster.service_account_kubeconfig(&own, "brokkr-agent", &scratch).await.unwrap();
        for name in profiles {
            let rules = scratch.write("rules.yaml", profile(name, &own, &namespace)).unwrap();
            cluster.kubectl(&["apply", "-f", rules.to_str().unwrap()]).unwrap();
        }
        Self { own, namespace, kubeconfig, scratch }
    }

    fn doctor(&self, broker: &Broker, key: &Path, args: &[&str]) -> Process {
        Daemon::new("brokkr-agent")
            .unwrap()
            .args(["doctor"].iter().chain(args))
            .env("BROKKR__BROKER__URL", &broker.base)
            .env("BROKKR__BROKER__KEY_FILE", key)
            .env("BROKKR__KUBERNETES__KUBECONFIG", &self.kubeconfig)
            .env("BROKKR__KUBERNETES__NAMESPACE", &self.own)
            .env("BROKKR__KUBERNETES__NAMESPACES", format!("[\"{}\"]", self.namespace))
            .start()
            .unwrap()
    }
}

async fn ended(mut process: Process) -> (Option<i32>, Vec<String>) {
    let code = process.wait(LIMIT).await.unwrap().code();
    (code, process.output().lines())
}

#[tokio::test(flavor = "multi_thread")]
async fn under_the_namespaced_profile_the_agent_delivers_and_the_doctor_agrees() {
    let cluster = Cluster::shared().await.unwrap();
    let account = Account::make(&cluster, &["namespaced"]).await;
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let namespace = account.namespace.as_str();
    let settings = [
        ("BROKKR__KUBERNETES__NAMESPACE", account.own.as_str()),
        ("BROKKR__KUBERNETES__NAMESPACES", &format!("[\"{namespace}\"]")),
    ];
    let name = cluster.unique("confined");
    let mut agent = broker.unconnected_agent(&name, &account.kubeconfig, &settings).await.unwrap();
    agent.process.wait_for_line("the connection", LIMIT, |line| line.contains("the agent is connected")).await.unwrap();
    let stack = broker.stack("shop", &[&agent]).await;
    let bundle = format!("{}{}", config_map(namespace, "a", "1"), deployment(namespace));
    broker.apply(&stack, &bundle).await;
    assert!(cluster.get::<Deployment>(namespace, "web").await.unwrap().is_some());

    // Less is pruned, and nothing elsewhere is touched.
    broker.send(&stack, &config_map(namespace, "a", "2")).await;
    let web = cluster.api::<Deployment>(namespace);
    Cluster::wait_until(&web, "web", "the deletion", LIMIT, |found| found.is_none()).await.unwrap();
    // A first attempt may fail because the Deployment's controller writes to it at the same moment.
    let look = || async {
        let rollout = broker.admin().rollout(&stack, None).await.unwrap();
        if rollout.done { Ok(()) } else { Err(format!("{rollout:?}")) }
    };
    until("the pruned rollout", LIMIT, look).await.unwrap();
    broker.send(&stack, &config_map("default", &name, "1")).await;
    let rollout = broker.settle(&stack).await;
    let told = format!("{rollout:?}");
    assert!(rollout.failed == 1 && told.contains("forbidden") && told.contains("kubernetes.namespaces"), "{told}");
}

/// A namespace with something in it, and a kind of its own.
fn landscape(namespace: &str, group: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}\n---\n{}{}---\n\
         apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: gates.{group}}}\nspec:\n  group: {group}\n  \
         scope: Namespaced\n  names: {{kind: Gate, plural: gates}}\n  versions: [{{name: v1, served: true, storage: true, \
         schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}}}]\n",
        config_map(namespace, "a", "1"),
        deployment(namespace)
    )
}

fn gate_and_role(namespace: &str, group: &str) -> String {
    format!(
        "---\napiVersion: {group}/v1\nkind: Gate\nmetadata: {{name: gate, namespace: {namespace}}}\n\
         ---\napiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: reader, namespace: {namespace}}}\nrules: []\n"
    )
}

/// Under a profile of the whole cluster: what its rules name is delivered, also into a namespace that comes with the bundle.
/// `beyond` are the objects that they do not name.
async fn delivers_in_the_whole_cluster(profile: &str, beyond: &[&str]) {
    let cluster = Cluster::shared().await.unwrap();
    let account = Account::make(&cluster, &[profile]).await;
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let name = cluster.unique("wide");
    let settings = [("BROKKR__KUBERNETES__NAMESPACE", account.own.as_str())];
    let mut agent = broker.unconnected_agent(&name, &account.kubeconfig, &settings).await.unwrap();
    agent.process.wait_for_line("the connection", LIMIT, |line| line.contains("the agent is connected")).await.unwrap();
    let stack = broker.stack("landscape", &[&agent]).await;
    let (namespace, group) = (cluster.unique("wide-ns"), format!("{}.example.com", cluster.unique("g")));
    broker.apply(&stack, &landscape(&namespace, &group)).await;
    assert!(cluster.get::<Deployment>(&namespace, "web").await.unwrap().is_some());

    broker.send(&stack, &format!("{}{}", landscape(&namespace, &group), gate_and_role(&namespace, &group))).await;
    let rollout = broker.settle(&stack).await;
    let refused: Vec<_> = rollout
        .deployments
        .iter()
        .flat_map(|deployment| &deployment.objects)
        .filter(|object| object.outcome == ObjectOutcome::Failed)
        .map(|object| (object.object.name.as_str(), object.reason.as_deref().unwrap()))
        .collect();
    let expected: Vec<_> = beyond.iter().map(|name| (*name, "forbidden")).collect();
    assert_eq!(refused, expected, "{rollout:#?}");
    drop(agent);
    cluster.kubectl(&["delete", "crd", &format!("gates.{group}"), "--wait=false"]).unwrap();
    cluster.delete_namespace(&namespace).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn under_the_cluster_profile_the_agent_makes_namespaces_and_kinds_and_grants_no_rights() {
    delivers_in_the_whole_cluster("cluster", &["reader", "gate"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_the_cluster_admin_profile_the_agent_delivers_everything() {
    delivers_in_the_whole_cluster("clusterAdmin", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_says_what_is_missing_and_what_to_grant() {
    let cluster = Cluster::shared().await.unwrap();
    let account = Account::make(&cluster, &["namespaced"]).await;
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let name = cluster.unique("doctor").parse::<brokkr_api::Name>().unwrap();
    let request = brokkr_api::agents::CreateAgent { name: name.clone(), cluster: name, labels: brokkr_api::Labels::default() };
    let secret = broker.admin().create_agent(&request).await.unwrap().secret;
    let key = account.scratch.write("agent.key", secret).unwrap();
    let namespace = account.namespace.as_str();

    let bundle = format!("{}{}", config_map(namespace, "a", "1"), deployment(namespace));
    let bundle = account.scratch.write("bundle.yaml", bundle).unwrap();
    let (code, lines) = ended(account.doctor(&broker, &key, &["--file", bundle.to_str().unwrap()])).await;
    assert_eq!(code, Some(0), "{lines:#?}");
    let is_told =
        |lines: &[String], sign: char, what: &str| lines.iter().any(|line| line.starts_with(sign) && line.contains(what));
    for what in
        ["broker", "cluster", &format!("patch deployments.apps in {namespace}"), &format!("watch configmaps in {namespace}")]
    {
        assert!(is_told(&lines, '✓', what), "{what}: {lines:#?}");
    }

    // A kind that only the bundle defines, and one that the profile does not name.
    let group = format!("{}.example.com", cluster.unique("g"));
    let more = format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: gates.{group}}}\nspec:\n  group: {group}\n  \
         scope: Namespaced\n  names: {{kind: Gate, plural: gates}}\n  versions: [{{name: v1, served: true, storage: true}}]\n\
         ---\napiVersion: {group}/v1\nkind: Gate\nmetadata: {{name: g}}\n\
         ---\napiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: r, namespace: {namespace}}}\n"
    );
    let more = account.scratch.write("more.yaml", more).unwrap();
    let args = ["--file", more.to_str().unwrap(), "--namespace", namespace];
    let (code, lines) = ended(account.doctor(&broker, &key, &args)).await;
    assert_eq!(code, Some(1), "{lines:#?}");
    assert!(is_told(&lines, '✗', &format!("create gates.{group} in {namespace}")), "{lines:#?}");
    assert!(is_told(&lines, '✗', "create customresourcedefinitions.apiextensions.k8s.io in the cluster"), "{lines:#?}");
    let rule = "apiGroups: [\"rbac.authorization.k8s.io\"], resources: [roles], verbs: [patch]";
    assert!(is_told(&lines, '✗', rule), "{lines:#?}");

    // Without a right key, and as JSON.
    let wrong = account.scratch.write("wrong.key", "brokkr_agent_wrong").unwrap();
    let (code, lines) = ended(account.doctor(&broker, &wrong, &["-o", "json"])).await;
    let findings: Vec<serde_json::Value> = serde_json::from_str(&lines.join("\n")).unwrap();
    let bad: Vec<_> = findings.iter().filter(|finding| finding["ok"] == false).map(|finding| finding["what"].clone()).collect();
    assert_eq!((code, bad), (Some(1), vec!["broker".into()]), "{findings:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_asks_as_the_service_account_that_the_stack_names() {
    let cluster = Cluster::shared().await.unwrap();
    let account = Account::make(&cluster, &["namespaced", "impersonation"]).await;
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let namespace = account.namespace.as_str();
    cluster.kubectl(&["create", "serviceaccount", "deployer", "-n", namespace]).unwrap();
    let bundle = account.scratch.write("bundle.yaml", config_map(namespace, "a", "1")).unwrap();
    let key = account.scratch.path().join("no.key");
    let deployer = format!("{namespace}/deployer");
    let args = ["--file", bundle.to_str().unwrap(), "--service-account", &deployer];
    let (_, lines) = ended(account.doctor(&broker, &key, &args)).await;
    let signed = |sign: char, what: &str| lines.iter().any(|line| line.starts_with(sign) && line.contains(what));
    assert!(signed('✓', "impersonate serviceaccounts deployer"), "{lines:#?}");
    assert!(signed('✗', &format!("patch configmaps in {namespace}")), "the deployer has no rights: {lines:#?}");
    assert!(signed('✓', &format!("watch configmaps in {namespace}")), "the agent itself has: {lines:#?}");
}
