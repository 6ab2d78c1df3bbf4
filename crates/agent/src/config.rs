//! The agent's configuration: one struct per section, and `Default` is the one place of defaults.

use std::{net::SocketAddr, path::PathBuf};

use brokkr_runtime::config::{Problems, Settings};
use brokkr_telemetry::config::{LogConfig, MetricsConfig, TelemetryConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// All sections.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// The broker that the agent works for.
    pub(crate) broker: BrokerConfig,
    /// The cluster that the agent works in.
    pub(crate) kubernetes: KubernetesConfig,
    /// The HTTP server with probes and metrics.
    pub(crate) server: ServerConfig,
    /// Traces.
    pub(crate) telemetry: TelemetryConfig,
    /// Metrics.
    pub(crate) metrics: MetricsConfig,
    /// Logs.
    pub(crate) log: LogConfig,
}

impl Settings for Config {
    fn check(&self, problems: &mut Problems) {
        let broker = &self.broker;
        let both = broker.key.is_some() && broker.key_file.is_some();
        problems.require(!both, "broker.key_file", "set broker.key_file or broker.key, not both");
        let with_scheme = ["http://", "https://"].iter().any(|scheme| broker.url.starts_with(scheme));
        problems.require(with_scheme, "broker.url", "is no address: write http://HOST:PORT or https://HOST:PORT");
        problems.range("broker.wait_seconds", broker.wait_seconds, 1..=brokkr_api::wait::MAX_WAIT_SECONDS);
        let kubernetes = &self.kubernetes;
        problems.range("kubernetes.concurrency", kubernetes.concurrency as u64, 1..=1_000);
        problems.range("kubernetes.stacks", kubernetes.stacks as u64, 1..=1_000);
        problems.range("kubernetes.call_timeout_seconds", kubernetes.call_timeout_seconds, 1..=3_600);
        problems.require(!kubernetes.namespace.is_empty(), "kubernetes.namespace", "must not be empty");
        problems.require(!kubernetes.default_namespace.is_empty(), "kubernetes.default_namespace", "must not be empty");
        problems.range("server.drain_seconds", self.server.drain_seconds, 1..=3_600);
        brokkr_runtime::config::check_telemetry(&self.telemetry, problems);
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
    /// File with the agent's key; read for every request, so that it may change.
    pub(crate) key_file: Option<PathBuf>,
    /// Seconds that one poll waits for a change, 1 to 60.
    pub(crate) wait_seconds: u64,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self { url: "http://localhost:3000".to_owned(), key: None, key_file: None, wait_seconds: 30 }
    }
}

impl std::fmt::Debug for BrokerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BrokerConfig").field("url", &self.url).field("key_file", &self.key_file).finish_non_exhaustive()
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
    /// Most calls in flight for one stack.
    pub(crate) concurrency: usize,
    /// Most stacks that are worked on at once.
    pub(crate) stacks: usize,
    /// Seconds that one call may take.
    pub(crate) call_timeout_seconds: u64,
}

impl Default for KubernetesConfig {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            context: None,
            namespace: "brokkr-system".to_owned(),
            default_namespace: "default".to_owned(),
            concurrency: 8,
            stacks: 4,
            call_timeout_seconds: 15,
        }
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
