use brokkr_api::{
    Labels, Name, TargetSelector,
    agents::CreateAgent,
    client::{Client, ClientBuilder, KeySource},
    stacks::PutStack,
};
use brokkr_tests::{
    cluster::Cluster,
    fleet::{LIMIT, config_map},
    lab::{Scratch, free_port},
    process::{Daemon, Process},
};
use k8s_openapi::api::core::v1::ConfigMap;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::proxy::Proxy;

/// A broker that serves TLS with a certificate of an authority that no machine knows.
struct Broker {
    _process: Process,
    base: String,
    scratch: Scratch,
    admin: Client,
}

impl Broker {
    async fn start() -> Self {
        let scratch = Scratch::new("reach-tls").unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let serving = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        let certificate = scratch.write("tls.crt", serving.pem()).unwrap();
        let key = scratch.write("tls.key", key.serialize_pem()).unwrap();
        scratch.write("ca.crt", authority.pem()).unwrap();
        let port = free_port().unwrap();
        let admin_key = scratch.path().join("admin.key");
        let process = Daemon::new("brokkr-broker")
            .unwrap()
            .args(["serve"])
            .env("BROKKR__SERVER__LISTEN", format!("127.0.0.1:{port}"))
            .env("BROKKR__SERVER__TLS__CERTIFICATE_FILE", certificate)
            .env("BROKKR__SERVER__TLS__KEY_FILE", key)
            .env("BROKKR__DATABASE__URL", format!("sqlite:{}", scratch.path().join("brokkr.db").display()))
            .env("BROKKR__BOOTSTRAP__ADMIN_KEY_FILE", &admin_key)
            .start()
            .unwrap();
        let base = format!("https://localhost:{port}");
        let admin = ClientBuilder::new(&base, KeySource::File(admin_key)).unwrap();
        let admin = admin.authorities(authority.pem().as_bytes()).unwrap().build().unwrap();
        Self { _process: process, base, scratch, admin }
    }

    async fn agent(&self, name: &Name) -> String {
        let request = CreateAgent { name: name.clone(), cluster: name.clone(), labels: Labels::default() };
        let look = || async { self.admin.create_agent(&request).await.map_err(|error| format!("{error:?}")) };
        brokkr_tests::lab::until("the broker", LIMIT, look).await.unwrap().secret
    }
}

fn agent(cluster: &Cluster, broker: &Broker, name: &Name, settings: &[(&str, &str)]) -> Process {
    let mut daemon = Daemon::new("brokkr-agent")
        .unwrap()
        .args(["run"])
        .env("BROKKR__SERVER__LISTEN", format!("127.0.0.1:{}", free_port().unwrap()))
        .env("BROKKR__BROKER__URL", &broker.base)
        .env("BROKKR__BROKER__KEY_FILE", broker.scratch.path().join("agent.key"))
        .env("BROKKR__BROKER__CA_FILE", broker.scratch.path().join("ca.crt"))
        .env("BROKKR__KUBERNETES__KUBECONFIG", cluster.kubeconfig())
        .env("BROKKR__KUBERNETES__NAMESPACE", format!("brokkr-{name}"));
    for (key, value) in settings {
        daemon = daemon.env(key, value);
    }
    daemon.start().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_reaches_broker_and_cluster_through_a_proxy_and_takes_the_key_that_its_file_has_later() {
    let cluster = Cluster::shared().await.unwrap();
    let (broker, proxy) = (Broker::start().await, Proxy::start().await);
    let namespace = cluster.create_namespace("proxied").await.unwrap();
    let name: Name = cluster.unique("proxied").parse().unwrap();
    let secret = broker.agent(&name).await;
    broker.scratch.write("agent.key", "brokkr_agent_not_yet").unwrap();
    let through = format!("http://ann:p%40ss@{}", proxy.address);
    let settings = [("BROKKR__BROKER__PROXY", through.as_str()), ("HTTPS_PROXY", through.as_str()), ("NO_PROXY", "")];
    let mut agent = agent(&cluster, &broker, &name, &settings);
    agent.wait_for_line("the refusal", LIMIT, |line| line.contains("the broker refuses this agent")).await.unwrap();
    broker.scratch.write("agent.key", secret).unwrap();
    agent.wait_for_line("the connection", LIMIT, |line| line.contains("the agent is connected")).await.unwrap();

    let put = PutStack { targets: TargetSelector { labels: None, names: vec![name] }, ..PutStack::default() };
    let stack: Name = "shop".parse().unwrap();
    broker.admin.put_stack(&stack, &put).await.unwrap();
    let manifests = config_map(&namespace, "a", "1").into_bytes();
    broker.admin.put_deployment_objects(&stack, "application/yaml", manifests).await.unwrap();
    let maps = cluster.api::<ConfigMap>(&namespace);
    Cluster::wait_until(&maps, "a", "the config map", LIMIT, |map| map.is_some()).await.unwrap();

    let seen = proxy.seen();
    let broker_port = broker.base.rsplit(':').next().unwrap();
    assert!(seen.iter().any(|asked| asked.target == format!("localhost:{broker_port}")), "{seen:?}");
    assert!(seen.iter().any(|asked| asked.target.starts_with("127.0.0.1:")), "the API server: {seen:?}");
    // ann:p@ss
    assert!(seen.iter().all(|asked| asked.authorization.as_deref() == Some("Basic YW5uOnBAc3M=")), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_is_not_named_is_not_believed_and_a_file_without_one_is_an_error() {
    let cluster = Cluster::shared().await.unwrap();
    let broker = Broker::start().await;
    let name: Name = cluster.unique("unbelieved").parse().unwrap();
    let secret = broker.agent(&name).await;
    broker.scratch.write("agent.key", secret).unwrap();
    let nothing = broker.scratch.write("empty.crt", "no certificate").unwrap();
    let settings = [("BROKKR__BROKER__CA_FILE", nothing.to_str().unwrap())];
    let mut refused = agent(&cluster, &broker, &name, &settings);
    assert_eq!(refused.wait(LIMIT).await.unwrap().code(), Some(1));
    assert!(refused.output().lines().iter().any(|line| line.contains("broker.ca_file")), "{:?}", refused.output().lines());

    // Another authority of the same name is another.
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = broker.scratch.write("other.crt", other.cert.pem()).unwrap();
    let mut lost = agent(&cluster, &broker, &name, &[("BROKKR__BROKER__CA_FILE", other.to_str().unwrap())]);
    lost.wait_for_line("the refusal", LIMIT, |line| line.contains("the broker does not answer")).await.unwrap();
    let mut believer = agent(&cluster, &broker, &name, &[]);
    believer.wait_for_line("the connection", LIMIT, |line| line.contains("the agent is connected")).await.unwrap();
}
