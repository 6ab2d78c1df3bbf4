//! The agent's configuration: one struct per section, and `Default` is the one place of defaults.

use std::{net::SocketAddr, path::PathBuf};

use brokkr_api::Name;
use brokkr_runtime::config::{Problems, Settings};
use brokkr_telemetry::config::{MetricsConfig, TelemetryConfig};
use brokkr_webhooks::{Guard, guard::IpNet};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster::Limits;

/// All sections.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Who the agent is, when it enrols.
    pub(crate) agent: AgentConfig,
    /// How the agent gets its key.
    pub(crate) enrolment: EnrolmentConfig,
    /// The broker that the agent works for.
    pub(crate) broker: BrokerConfig,
    /// The cluster that the agent works in.
    pub(crate) kubernetes: KubernetesConfig,
    /// Work orders.
    pub(crate) work_orders: WorkOrdersConfig,
    /// Webhooks that the agent sends for the broker.
    pub(crate) webhooks: WebhooksConfig,
    /// Which of several agents of one cluster works.
    pub(crate) leader_election: LeaderElectionConfig,
    /// The HTTP server with probes and metrics.
    pub(crate) server: ServerConfig,
    /// Traces and the log.
    pub(crate) telemetry: TelemetryConfig,
    /// Metrics.
    pub(crate) metrics: MetricsConfig,
}

/// Who the agent is, when it enrols.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AgentConfig {
    /// The agent's name, unique among agents.
    #[schemars(with = "Option<String>")]
    pub(crate) name: Option<Name>,
    /// The cluster's name, for people; the agent's name when absent.
    #[schemars(with = "Option<String>")]
    pub(crate) cluster: Option<Name>,
}

/// How the agent gets its key: needs `agent.name`, and `broker.key_file` or `broker.key_secret` to keep it in.
#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct EnrolmentConfig {
    /// The registration token. Prefer `token_file`. With `broker.key_secret` it may stand in that Secret, as `token`.
    pub(crate) token: Option<String>,
    /// File with the registration token; read only while there is no key.
    pub(crate) token_file: Option<PathBuf>,
}

impl std::fmt::Debug for EnrolmentConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnrolmentConfig").field("token_file", &self.token_file).finish_non_exhaustive()
    }
}

impl Settings for Config {
    fn check(&self, problems: &mut Problems) {
        let broker = &self.broker;
        let places = [broker.key.is_some(), broker.key_file.is_some(), broker.key_secret.is_some()];
        let places = places.iter().filter(|is_set| **is_set).count();
        problems.require(places <= 1, "broker.key_file", "set one of broker.key_file, broker.key_secret and broker.key");
        let is_place =
            |place: &String| place.split_once('/').is_some_and(|(namespace, name)| !namespace.is_empty() && !name.is_empty());
        let is_malformed = broker.key_secret.as_ref().is_some_and(|place| !is_place(place));
        problems.require(!is_malformed, "broker.key_secret", "is no Secret: write namespace/name");
        let enrolment = &self.enrolment;
        let both = enrolment.token.is_some() && enrolment.token_file.is_some();
        problems.require(!both, "enrolment.token_file", "set enrolment.token_file or enrolment.token, not both");
        let enrols = enrolment.token.is_some() || enrolment.token_file.is_some();
        problems.require(!enrols || self.agent.name.is_some(), "agent.name", "an agent that enrols needs a name");
        problems.require(
            !enrols || broker.key.is_none(),
            "enrolment.token_file",
            "broker.key is set, and there is no place to keep another key in",
        );
        let with_scheme = ["http://", "https://"].iter().any(|scheme| broker.url.starts_with(scheme));
        problems.require(with_scheme, "broker.url", "is no address: write http://HOST:PORT or https://HOST:PORT");
        let is_proxy = broker.proxy.as_ref().is_none_or(|proxy| proxy.starts_with("http://") || proxy.starts_with("https://"));
        problems.require(is_proxy, "broker.proxy", "is no proxy: write http://HOST:PORT");
        problems.range("broker.wait_seconds", broker.wait_seconds, 1..=brokkr_api::wait::MAX_WAIT_SECONDS);
        let kubernetes = &self.kubernetes;
        problems.range("kubernetes.concurrency", kubernetes.concurrency as u64, 1..=1_000);
        problems.range("kubernetes.in_flight", kubernetes.in_flight as u64, 1..=1_000);
        problems.range("kubernetes.requests_per_second", u64::from(kubernetes.requests_per_second), 1..=100_000);
        problems.range("kubernetes.burst", u64::from(kubernetes.burst), 1..=1_000_000);
        let is_named = kubernetes.namespaces.iter().flatten().all(|namespace| !namespace.is_empty());
        problems.require(is_named, "kubernetes.namespaces", "a namespace must not be empty");
        problems.range("kubernetes.stacks", kubernetes.stacks as u64, 1..=1_000);
        problems.range("kubernetes.call_timeout_seconds", kubernetes.call_timeout_seconds, 1..=3_600);
        problems.range("kubernetes.resync_seconds", kubernetes.resync_seconds, 1..=86_400);
        problems.require(!kubernetes.namespace.is_empty(), "kubernetes.namespace", "must not be empty");
        problems.require(!kubernetes.default_namespace.is_empty(), "kubernetes.default_namespace", "must not be empty");
        problems.require(!self.leader_election.lease_name.is_empty(), "leader_election.lease_name", "must not be empty");
        problems.range("work_orders.at_once", self.work_orders.at_once as u64, 0..=100);
        problems.range("work_orders.patience_seconds", self.work_orders.patience_seconds, 1..=3_600);
        self.webhooks.check(problems);
        problems.range("server.drain_seconds", self.server.drain_seconds, 1..=3_600);
        brokkr_runtime::config::check_telemetry(&self.telemetry, problems);
        brokkr_runtime::config::check_metrics(&self.metrics, problems);
    }

    fn telemetry(&mut self) -> Option<&mut TelemetryConfig> {
        Some(&mut self.telemetry)
    }
}

/// The broker that the agent works for.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BrokerConfig {
    /// Address of the broker.
    pub(crate) url: String,
    /// The agent's key. Prefer `key_file`.
    pub(crate) key: Option<String>,
    /// File with the agent's key; read for every request, so that it may change. Written when the agent gets a key.
    pub(crate) key_file: Option<PathBuf>,
    /// Secret with the agent's key, `namespace/name`. Written when the agent gets a key.
    pub(crate) key_secret: Option<String>,
    /// File with certificates in PEM form of authorities to believe beside the machine's own; read at the start.
    pub(crate) ca_file: Option<PathBuf>,
    /// Proxy to reach the broker through, `http://HOST:PORT`; without it `HTTPS_PROXY` and `HTTP_PROXY` count. `NO_PROXY` counts in any case.
    pub(crate) proxy: Option<String>,
    /// Seconds that one poll waits for a change, 1 to 60.
    pub(crate) wait_seconds: u64,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            url: "http://localhost:3000".to_owned(),
            key: None,
            key_file: None,
            key_secret: None,
            ca_file: None,
            proxy: None,
            wait_seconds: 30,
        }
    }
}

impl std::fmt::Debug for BrokerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BrokerConfig")
            .field("url", &self.url)
            .field("key_file", &self.key_file)
            .field("key_secret", &self.key_secret)
            .field("ca_file", &self.ca_file)
            .finish_non_exhaustive()
    }
}

/// The cluster that the agent works in.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct KubernetesConfig {
    /// Kubeconfig file; without it `KUBECONFIG`, `~/.kube/config` or the pod's service account.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; without it the current one.
    pub(crate) context: Option<String>,
    /// Namespace of the agent's own objects; created when it is missing.
    pub(crate) namespace: String,
    /// Namespace of namespaced objects that name none.
    pub(crate) default_namespace: String,
    /// Namespaces that the agent works in; without it the whole cluster, and with an empty list in none.
    pub(crate) namespaces: Option<Vec<String>>,
    /// Most calls in flight for one stack.
    pub(crate) concurrency: usize,
    /// Most calls in flight over all stacks.
    pub(crate) in_flight: usize,
    /// Most calls per second; watches do not count.
    pub(crate) requests_per_second: u32,
    /// Most calls that follow each other without a pause after a rest.
    pub(crate) burst: u32,
    /// Most stacks that are worked on at once.
    pub(crate) stacks: usize,
    /// Seconds that one call may take.
    pub(crate) call_timeout_seconds: u64,
    /// Seconds after which a stack that is carried out is compared with the cluster as a whole, whatever the watches told.
    pub(crate) resync_seconds: u64,
}

impl Default for KubernetesConfig {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            context: None,
            namespace: "brokkr-system".to_owned(),
            default_namespace: "default".to_owned(),
            namespaces: None,
            concurrency: 16,
            in_flight: 32,
            requests_per_second: 500,
            burst: 2_000,
            stacks: 4,
            call_timeout_seconds: 15,
            resync_seconds: 600,
        }
    }
}

impl KubernetesConfig {
    pub(crate) fn limits(&self) -> Limits {
        Limits { in_flight: self.in_flight, per_second: self.requests_per_second, burst: self.burst }
    }
}

/// Work orders.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WorkOrdersConfig {
    /// Most work orders that are carried out at once; 0 for an agent that takes none.
    pub(crate) at_once: usize,
    /// Seconds that a pod may be in trouble that it does not get out of by itself, such as an image that cannot be had, before the
    /// attempt ends and its Job is deleted.
    pub(crate) patience_seconds: u64,
}

impl Default for WorkOrdersConfig {
    fn default() -> Self {
        Self { at_once: 8, patience_seconds: 60 }
    }
}

/// Webhooks that the agent sends for the broker: those whose `deliver_by` selects it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WebhooksConfig {
    /// Whether the agent sends any.
    pub(crate) enabled: bool,
    /// Whether plain `http` URLs are allowed.
    pub(crate) allow_http: bool,
    /// Ports that may be reached.
    pub(crate) allowed_ports: Vec<u16>,
    /// Networks that may be reached though they are not the public internet, such as those of the cluster's services and pods:
    /// `["10.96.0.0/12", "fd00:1::/108"]`.
    pub(crate) allowed_networks: Vec<String>,
    /// File with certificate authorities, PEM, that are believed beside those of the machine.
    pub(crate) ca_file: Option<PathBuf>,
    /// Most attempts at the same time, of all webhooks together.
    pub(crate) attempts_at_once: u32,
}

impl Default for WebhooksConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            allow_http: false,
            allowed_ports: vec![443],
            allowed_networks: Vec::new(),
            ca_file: None,
            attempts_at_once: 32,
        }
    }
}

impl WebhooksConfig {
    fn check(&self, problems: &mut Problems) {
        let are_networks = self.allowed_networks.iter().all(|network| network.parse::<IpNet>().is_ok());
        problems.require(are_networks, "webhooks.allowed_networks", "write networks as 10.96.0.0/12 or fd00:1::/108");
        problems.range("webhooks.attempts_at_once", u64::from(self.attempts_at_once), 1..=1_000);
    }

    /// Where webhooks may lead.
    pub(crate) fn guard(&self) -> Guard {
        let networks = self.allowed_networks.iter().filter_map(|network| network.parse().ok()).collect();
        Guard { networks, ports: self.allowed_ports.clone(), http: self.allow_http }
    }

    /// How many attempts are made at the same time.
    pub(crate) fn hands(&self) -> usize {
        if self.enabled { self.attempts_at_once as usize } else { 0 }
    }
}

/// Which of several agents of one cluster works.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LeaderElectionConfig {
    /// Whether agents elect a leader. Needed when a cluster runs more than one of them.
    pub(crate) enabled: bool,
    /// Name of the Lease in `kubernetes.namespace`.
    pub(crate) lease_name: String,
}

impl Default for LeaderElectionConfig {
    fn default() -> Self {
        Self { enabled: false, lease_name: "brokkr-agent".to_owned() }
    }
}

/// The HTTP server with probes and metrics.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ServerConfig {
    /// Address and port to listen on.
    #[schemars(with = "String")]
    pub(crate) listen: SocketAddr,
    /// Seconds that work in flight gets to finish after SIGTERM.
    pub(crate) drain_seconds: u64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([0, 0, 0, 0], 8080)), drain_seconds: 20 }
    }
}
