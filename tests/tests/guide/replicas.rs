//! The two pods of a Deployment side by side: brokers on one PostgreSQL, and agents of which one leads.

use brokkr_api::{Labels, enrolment::CreateRegistrationToken};
use brokkr_tests::{
    cluster::Cluster,
    control_plane::ControlPlane,
    fleet::{Agent, Broker, Engine, LIMIT, config_map},
    lab::{self, Scratch},
    postgres::Postgres,
    process::Process,
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    batch::v1::Job,
    coordination::v1::Lease,
    core::v1::{ConfigMap, PodSpec},
};

use crate::{
    page::Page,
    pod::{Pod, ports},
    programs,
    shell::Shell,
};

/// A release in a namespace of its own.
struct Release {
    cluster: Cluster,
    shell: Shell,
    namespace: String,
    /// Kubeconfigs of service accounts; no pod here has a volume that outlives it.
    kept: Scratch,
}

impl Release {
    async fn prepare(cluster: &Cluster) -> Self {
        let kubectl = ControlPlane::shared().description().kubectl.clone();
        let shell = Shell::start(&[lab::helm().await.unwrap(), kubectl], &["charts"], &[("KUBECONFIG", cluster.kubeconfig())]);
        let namespace = cluster.create_namespace("replicas").await.unwrap();
        Self { cluster: cluster.clone(), shell, namespace, kept: Scratch::new("replicas").unwrap() }
    }

    /// Installs a chart, whose release has the chart's name.
    fn install(&mut self, chart: &str, values: &str) {
        let namespace = &self.namespace;
        self.shell.run(&format!("helm install {chart} charts/{chart} --namespace {namespace} --wait --timeout 3m {values}\n"));
    }

    async fn deployment(&self, name: &str) -> Deployment {
        self.cluster.get::<Deployment>(&self.namespace, name).await.unwrap().unwrap()
    }

    async fn pod(&self, name: &str, spec: &PodSpec) -> Pod {
        let ports = ports(&spec.containers[0]);
        Pod::lay_out(&self.cluster, &self.namespace, name, spec, ports, &[], self.kept.path()).await
    }

    /// One of the pods of a Deployment.
    async fn replica(&self, deployment: &str, number: u8) -> Pod {
        let spec = self.deployment(deployment).await.spec.unwrap();
        assert_eq!(spec.replicas, Some(2));
        self.pod(&format!("{deployment}-{number}"), &spec.template.spec.unwrap()).await
    }

    /// The first container of a pod.
    async fn start(&self, pod: &Pod) -> Process {
        programs::process(&self.cluster, pod, &pod.spec.containers[0], &self.kept).await.unwrap()
    }

    async fn broker(&self, pod: &Pod, database: &str) -> Broker {
        assert_eq!(pod.spec.init_containers, None, "nothing but the Job migrates");
        let mut process = self.start(pod).await;
        process.wait_until_ok(&pod.readiness().unwrap(), LIMIT).await.unwrap();
        let key = pod.path("/run/brokkr/bootstrap/admin.key");
        Broker::that_runs(process, base(pod, 3000), database.to_owned(), key, Scratch::new("broker").unwrap())
    }
}

fn base(pod: &Pod, port: u16) -> String {
    format!("http://127.0.0.1:{}", pod.port(port))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_brokers_of_the_page_serve_one_postgresql_and_the_one_that_is_left_goes_on() {
    let cluster = Cluster::shared().await.unwrap();
    let mut release = Release::prepare(&cluster).await;
    let namespace = release.namespace.clone();
    let database = tokio::task::spawn_blocking(|| Postgres::shared().create_database().unwrap()).await.unwrap();
    let page = Page::read("how-to/production.md");
    std::fs::write(release.shell.folder.join("values.yaml"), &page.blocks("Run it in production", "yaml")[0].text).unwrap();
    release
        .shell
        .run(&format!("kubectl create secret generic brokkr-database --namespace {namespace} --from-literal=url='{database}'\n"));
    // The digest of an image that nobody has built yet, and kinds that this cluster does not know.
    let without = "--set image.digest= --set metrics.serviceMonitor.enabled=false --set metrics.prometheusRule.enabled=false";
    release.install("brokkr-broker", &format!("--values values.yaml {without}"));

    // Whoever starts before the Job has run ends: the schema is not the broker's to change.
    let pods = [release.replica("brokkr-broker", 0).await, release.replica("brokkr-broker", 1).await];
    let mut early = release.start(&pods[0]).await;
    assert!(!early.wait(LIMIT).await.unwrap().success());
    assert!(early.output().lines().iter().any(|line| line.contains("migrat")), "{:#?}", early.output().lines());

    let hooks = release.shell.run(&format!("helm get hooks brokkr-broker --namespace {namespace}\n"));
    let job: Job = serde_saphyr::from_str(&hooks).unwrap();
    let job = release.pod("migrate", &job.spec.unwrap().template.spec.unwrap()).await;
    let mut migration = release.start(&job).await;
    assert!(migration.wait(LIMIT).await.unwrap().success(), "{:#?}", migration.output().lines());

    let mut first = release.broker(&pods[0], &database).await;
    let second = release.broker(&pods[1], &database).await;
    assert_eq!(first.key(), second.key(), "the chart's key opens both");
    let agent = second.agent(&cluster.unique("beside"), &[]).await.unwrap();
    let stack = first.stack(agent.name.as_str(), &[&agent]).await;
    first.apply(&stack, &config_map(&namespace, "delivered", "by one, to an agent of the other")).await;

    first.process.kill();
    second.apply(&stack, &config_map(&namespace, "delivered", "by the one that is left")).await;
    let delivered = cluster.get::<ConfigMap>(&namespace, "delivered").await.unwrap().unwrap();
    assert_eq!(delivered.data.unwrap()["value"], "by the one that is left");

    // What the controller does with a pod that died: the same again.
    let again = release.broker(&pods[0], &database).await;
    assert!(again.admin().rollout(&stack, None).await.unwrap().done);
    drop(agent);
    release.shell.run(&format!("helm uninstall brokkr-broker --namespace {namespace}\n"));
    cluster.delete_namespace(&namespace).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_agents_of_the_chart_one_leads_and_the_other_applies_when_it_is_killed() {
    let cluster = Cluster::shared().await.unwrap();
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let mut release = Release::prepare(&cluster).await;
    let (namespace, shop) = (release.namespace.clone(), cluster.create_namespace("shop").await.unwrap());
    let name: brokkr_api::Name = cluster.unique("edge").parse().unwrap();
    let request =
        CreateRegistrationToken { name: name.clone(), labels: Labels::default(), max_uses: None, expires_in_seconds: None };
    let token = broker.admin().create_registration_token(&request).await.unwrap().secret;
    release.shell.run(&format!(
        "kubectl create secret generic brokkr-registration --namespace {namespace} --from-literal=token='{token}'\n"
    ));
    let values = format!(
        "--set replicas=2 --set agent.name={name} --set broker.url={} --set enrolment.existingSecret=brokkr-registration \
         --set 'rbac.namespaces={{{shop}}}'",
        broker.base
    );
    release.install("brokkr-agent", &values);
    let holder = async || {
        let lease = cluster.get::<Lease>(&namespace, "brokkr-agent").await.unwrap().unwrap();
        lease.spec.unwrap().holder_identity.unwrap()
    };

    let pods = [release.replica("brokkr-agent", 0).await, release.replica("brokkr-agent", 1).await];
    let mut first = Agent { process: release.start(&pods[0]).await, name: name.clone(), base: base(&pods[0], 8080) };
    first.process.wait_for_line("the connection", LIMIT, |line| line.contains("the agent is connected")).await.unwrap();
    let mut second = Agent { process: release.start(&pods[1]).await, name, base: base(&pods[1], 8080) };
    second.process.wait_for_line("the wait", LIMIT, |line| line.contains("this one stands by")).await.unwrap();
    let ready = second.process.wait_until_ok(&pods[1].readiness().unwrap(), LIMIT).await.unwrap();
    assert!(ready.contains("standby"), "{ready}");
    let stack = broker.stack("shop", &[&first]).await;
    broker.apply(&stack, &config_map(&shop, "delivered", "by the first")).await;
    let leader = holder().await;

    first.process.kill();
    broker.send(&stack, &config_map(&shop, "delivered", "by the second")).await;
    second.process.wait_for_line("the lead", LIMIT, |line| line.contains("this agent leads")).await.unwrap();
    let rollout = broker.settle(&stack).await;
    assert!(rollout.done && rollout.failed == 0, "{rollout:#?}");
    assert_ne!(holder().await, leader, "the Lease says who leads");
    let delivered = cluster.get::<ConfigMap>(&shop, "delivered").await.unwrap().unwrap();
    assert_eq!(delivered.data.unwrap()["value"], "by the second");
    assert!(second.process.terminate(LIMIT).await.unwrap().success());
    release.shell.run(&format!("helm uninstall brokkr-agent --namespace {namespace}\n"));
    for namespace in [&namespace, &shop] {
        cluster.delete_namespace(namespace).await.unwrap();
    }
}
