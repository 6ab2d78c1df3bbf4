//! Network policies, evaluated as a network would: who of the pods that are rendered reaches which port of which.

use std::{collections::BTreeMap, fs};

use k8s_openapi::{
    api::{
        core::v1::ContainerPort,
        networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort},
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, LabelSelectorRequirement},
        util::intstr::IntOrString,
    },
};
use serde_json::Value;

use crate::helm::{CHARTS, Helm, matrix, objects, repository};

/// A pod, as far as policies know it.
#[derive(Debug, Clone)]
struct Pod {
    namespace: String,
    labels: BTreeMap<String, String>,
    ports: Vec<ContainerPort>,
}

impl Pod {
    fn stranger(namespace: &str, labels: &[(&str, &str)]) -> Self {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Self { namespace: namespace.to_owned(), labels, ports: Vec::new() }
    }

    /// The number of a port.
    fn port(&self, name: &str) -> i32 {
        let found = self.ports.iter().find(|port| port.name.as_deref() == Some(name));
        found.ok_or_else(|| format!("{name} is no port of {self:?}")).unwrap().container_port
    }
}

/// Pods and policies of some manifests.
#[derive(Debug, Default, Clone)]
struct Network {
    pods: Vec<Pod>,
    policies: Vec<NetworkPolicy>,
}

impl Network {
    fn of(objects: &[Value]) -> Self {
        let mut network = Self::default();
        for object in objects {
            let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
            let template = match object["kind"].as_str().unwrap() {
                "Deployment" | "StatefulSet" | "Job" => &object["spec"]["template"],
                "CronJob" => &object["spec"]["jobTemplate"]["spec"]["template"],
                "NetworkPolicy" => {
                    network.policies.push(serde_json::from_value(object.clone()).unwrap());
                    continue;
                }
                _ => continue,
            };
            let containers = ["initContainers", "containers"].map(|key| template["spec"][key].as_array().cloned());
            let ports = containers.into_iter().flatten().flatten().filter_map(|container| container.get("ports").cloned());
            let ports = ports.flat_map(|ports| serde_json::from_value::<Vec<ContainerPort>>(ports).unwrap()).collect();
            let labels = serde_json::from_value(template["metadata"]["labels"].clone()).unwrap();
            network.pods.push(Pod { namespace: namespace.to_owned(), labels, ports });
        }
        network
    }

    fn example(file: &str) -> Self {
        Self::of(&objects(&fs::read_to_string(repository().join("deploy/examples").join(file)).unwrap()))
    }

    fn and(mut self, other: &Self) -> Self {
        self.pods.extend(other.pods.iter().cloned());
        self.policies.extend(other.policies.iter().cloned());
        self
    }

    /// The one pod with this name.
    fn pod(&self, name: &str) -> &Pod {
        let is_it = |pod: &&Pod| pod.labels.get("app.kubernetes.io/name").is_some_and(|found| found == name);
        let found: Vec<_> = self.pods.iter().filter(is_it).collect();
        assert_eq!(found.len(), 1, "{name}: {:?}", self.pods);
        found[0]
    }

    /// Policies in one direction that select this pod.
    fn over<'a>(&'a self, pod: &'a Pod, direction: &'a str) -> Vec<&'a NetworkPolicy> {
        let is_over = |policy: &&NetworkPolicy| {
            let spec = policy.spec.as_ref().unwrap();
            policy.metadata.namespace.as_deref() == Some(&pod.namespace)
                && spec.policy_types.iter().flatten().any(|kind| kind == direction)
                && selects(spec.pod_selector.as_ref(), &pod.labels)
        };
        self.policies.iter().filter(is_over).collect()
    }

    /// Whether a connection from one to a port of the other is let through at both ends.
    fn admits(&self, from: &Pod, to: &Pod, port: i32) -> bool {
        let (out, into) = (self.over(from, "Egress"), self.over(to, "Ingress"));
        let leaves = out
            .iter()
            .flat_map(|policy| policy.spec.as_ref().unwrap().egress.iter().flatten())
            .any(|rule| is_one(rule.to.as_deref(), from, to) && is_port(rule.ports.as_deref(), to, port));
        let enters = into
            .iter()
            .flat_map(|policy| policy.spec.as_ref().unwrap().ingress.iter().flatten())
            .any(|rule| is_one(rule.from.as_deref(), to, from) && is_port(rule.ports.as_deref(), to, port));
        (out.is_empty() || leaves) && (into.is_empty() || enters)
    }

    /// Names of the ports of a pod that are open to another.
    fn open(&self, from: &Pod, to: &Pod) -> Vec<String> {
        let is_open = |port: &&ContainerPort| self.admits(from, to, port.container_port);
        to.ports.iter().filter(is_open).map(|port| port.name.clone().unwrap()).collect()
    }
}

/// Whether a rule of a policy in the namespace of `own` means the other; one without peers means everybody.
fn is_one(peers: Option<&[NetworkPolicyPeer]>, own: &Pod, other: &Pod) -> bool {
    let namespace = BTreeMap::from([("kubernetes.io/metadata.name".to_owned(), other.namespace.clone())]);
    let is_it = |peer: &NetworkPolicyPeer| {
        assert_eq!(peer.ip_block, None, "pods have no addresses here");
        let is_there = match &peer.namespace_selector {
            Some(selector) => selects(Some(selector), &namespace),
            None => own.namespace == other.namespace,
        };
        is_there && selects(peer.pod_selector.as_ref(), &other.labels)
    };
    peers.is_none_or(|peers| peers.is_empty() || peers.iter().any(is_it))
}

fn is_port(ports: Option<&[NetworkPolicyPort]>, to: &Pod, number: i32) -> bool {
    let is_it = |port: &NetworkPolicyPort| match port.port.as_ref() {
        None => true,
        Some(IntOrString::Int(first)) => (*first..=port.end_port.unwrap_or(*first)).contains(&number),
        Some(IntOrString::String(name)) => {
            to.ports.iter().any(|port| port.name.as_ref() == Some(name) && port.container_port == number)
        }
    };
    ports.is_none_or(|ports| ports.is_empty() || ports.iter().any(is_it))
}

/// A selector that is not there selects everything, as an empty one does.
fn selects(selector: Option<&LabelSelector>, labels: &BTreeMap<String, String>) -> bool {
    let Some(selector) = selector else { return true };
    let holds = |requirement: &LabelSelectorRequirement| {
        let is_listed =
            labels.get(&requirement.key).map(|value| requirement.values.iter().flatten().any(|listed| listed == value));
        match requirement.operator.as_str() {
            "In" => is_listed == Some(true),
            "NotIn" => is_listed != Some(true),
            "Exists" => is_listed.is_some(),
            "DoesNotExist" => is_listed.is_none(),
            _ => false,
        }
    };
    selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value))
        && selector.match_expressions.iter().flatten().all(holds)
}

/// Somebody else's pods, wherever they run; the last two look a little like ours.
fn strangers() -> Vec<Pod> {
    let namespaces = ["default", "observability", "brokkr-system"];
    let labels: [&[(&str, &str)]; 3] =
        [&[], &[("app.kubernetes.io/name", "brokkr-agent")], &[("app.kubernetes.io/component", "broker")]];
    let in_one = |namespace| labels.iter().map(move |labels| Pod::stranger(namespace, labels));
    namespaces.into_iter().flat_map(in_one).collect()
}

/// What each set of values renders, by chart and name.
async fn charts() -> Vec<(String, Network)> {
    let helm = Helm::alone().await;
    let mut found = Vec::new();
    for daemon in CHARTS {
        for (name, values) in matrix(daemon) {
            let rendered = helm.template(daemon, "brokkr-system", &["--values", &values]).unwrap();
            found.push((format!("{daemon} {name}"), Network::of(&objects(&rendered))));
        }
    }
    found
}

#[tokio::test]
async fn every_policy_selects_pods_and_every_daemon_has_one_unless_the_values_say_no() {
    let without = ["broker everything-postgresql", "broker trial", "agent gateway"];
    let mut networks = charts().await;
    networks.extend(["gateway/kubernetes.yaml", "trial/kubernetes.yaml"].map(|file| (file.to_owned(), Network::example(file))));
    for (name, network) in networks {
        assert_eq!(network.policies.is_empty(), without.contains(&name.as_str()), "{name}");
        for policy in &network.policies {
            let is_under = |pod: &Pod| network.over(pod, "Ingress").contains(&policy);
            assert!(network.pods.iter().any(is_under), "{name}: {:?} selects nothing", policy.metadata.name);
        }
        if !network.policies.is_empty() {
            let open = network.pods.iter().filter(|pod| !pod.ports.is_empty() && network.over(pod, "Ingress").is_empty());
            assert_eq!(open.count(), 0, "{name}: a pod with ports and without a policy");
        }
    }
}

#[tokio::test]
async fn only_our_pods_reach_the_collectors_of_the_examples() {
    let charts = charts().await;
    for (file, collector) in [("gateway/kubernetes.yaml", "otel-gateway"), ("trial/kubernetes.yaml", "collector")] {
        let example = Network::example(file);
        for (name, ours) in &charts {
            // What may leave is another matter, and is looked at below.
            let mut network = example.clone().and(ours);
            network.policies.retain(|policy| policy.spec.as_ref().unwrap().egress.is_none());
            for pod in &ours.pods {
                let open = network.open(pod, example.pod(collector));
                for port in ["grpc-otlp", "http-otlp"] {
                    assert!(open.contains(&port.to_owned()), "{file}: {name} {:?} reaches {open:?}", pod.labels);
                }
            }
        }
        for stranger in strangers() {
            let open = example.open(&stranger, example.pod(collector));
            assert!(!open.iter().any(|port| port.ends_with("otlp") || port == "health"), "{file}: {stranger:?} reaches {open:?}");
        }
    }
}

#[tokio::test]
async fn in_the_trial_each_reaches_what_it_is_there_for_and_strangers_reach_nothing() {
    let helm = Helm::alone().await;
    let mut network = Network::example("trial/kubernetes.yaml");
    for daemon in CHARTS {
        let rendered = objects(&helm.template(daemon, "brokkr-system", &[]).unwrap());
        network = network.and(&Network::of(&rendered));
    }
    network.pods.retain(|pod| !pod.ports.is_empty());
    let [collector, jaeger, prometheus, broker, agent] =
        ["collector", "jaeger", "prometheus", "brokkr-broker", "brokkr-agent"].map(|name| network.pod(name));
    assert_eq!(network.open(collector, jaeger), ["grpc-otlp"]);
    assert_eq!(network.open(prometheus, collector), ["metrics"]);
    assert_eq!(network.open(prometheus, broker), ["http"]);
    assert_eq!(network.open(prometheus, agent), ["http"]);
    assert_eq!(network.open(agent, broker), ["http"]);
    for (from, to) in [(broker, jaeger), (agent, jaeger), (prometheus, jaeger), (broker, prometheus), (collector, prometheus)] {
        assert_eq!(network.open(from, to), Vec::<String>::new(), "{from:?} to {to:?}");
    }
    for stranger in strangers() {
        for to in [collector, jaeger, prometheus] {
            assert_eq!(network.open(&stranger, to), Vec::<String>::new(), "{stranger:?} to {to:?}");
        }
    }
}

/// The collector beside a daemon listens on loopback; its policy lets nobody in besides.
#[tokio::test]
async fn of_a_daemon_only_its_own_port_and_its_collectors_metrics_are_open_and_to_whom_the_values_say() {
    let monitoring = Pod::stranger("monitoring", &[("app.kubernetes.io/name", "prometheus")]);
    let beside = Pod::stranger("brokkr-system", &[("app.kubernetes.io/name", "prometheus")]);
    let somebody = Pod::stranger("default", &[]);
    // Which ports are open to a Prometheus elsewhere, to one in the same namespace, and to anybody else.
    let both = ["http", "otel-metrics"].as_slice();
    let expected: BTreeMap<&str, [&[&str]; 3]> = BTreeMap::from([
        ("broker everything", [both, &["http"], &["http"]]),
        ("broker sidecar", [both; 3]),
        ("agent everything", [&["http"], &["otel-metrics"], &[]]),
        ("agent pair", [both; 3]),
    ]);
    for (name, network) in charts().await {
        let Some(daemon) = network.pods.iter().find(|pod| pod.ports.iter().any(|port| port.name.as_deref() == Some("http")))
        else {
            panic!("{name} has no daemon");
        };
        if network.policies.is_empty() {
            continue;
        }
        let expected = expected.get(name.as_str()).copied().unwrap_or([&["http"]; 3]);
        for (from, expected) in [&monitoring, &beside, &somebody].into_iter().zip(expected) {
            let mut open = network.open(from, daemon);
            open.sort();
            assert_eq!(open, expected, "{name}: {from:?}");
            for loopback in [4317, 4318] {
                assert!(!network.admits(from, daemon, loopback), "{name}: {loopback}");
            }
        }
    }
}

#[tokio::test]
async fn a_daemon_that_may_reach_only_what_is_named_reaches_names_and_that() {
    let helm = Helm::alone().await;
    let gateway = Network::example("gateway/kubernetes.yaml");
    let collector = gateway.pod("otel-gateway");
    let dns = Pod::stranger("kube-system", &[("k8s-app", "kube-dns")]);
    let to = r#"networkPolicy.egress.to=[{"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "observability"}}}], "ports": [{"port": 4317}]}]"#;
    for daemon in CHARTS {
        let restricted = ["--set", "networkPolicy.egress.restricted=true"];
        let rendered =
            |args: &[&str]| Network::of(&objects(&helm.template(daemon, "brokkr-system", args).unwrap())).and(&gateway);
        for (network, reaches) in
            [(rendered(&restricted), false), (rendered(&[restricted[0], restricted[1], "--set-json", to]), true)]
        {
            let pod = network.pod(&format!("brokkr-{daemon}"));
            assert_eq!(network.admits(pod, collector, collector.port("grpc-otlp")), reaches, "{daemon}");
            assert!(!network.admits(pod, collector, collector.port("metrics")), "{daemon}");
            assert!(network.admits(pod, &dns, 53), "{daemon}");
        }
    }
}
