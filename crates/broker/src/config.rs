//! The broker's configuration: one struct per section, and `Default` is the one place of defaults.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use brokkr_runtime::config::{Problems, Settings};
use brokkr_telemetry::config::{MetricsConfig, TelemetryConfig};
use brokkr_webhooks::{Guard, guard::IpNet};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{http::Origin, store};

/// All sections.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// The HTTP server.
    pub(crate) server: ServerConfig,
    /// Where the broker keeps its state.
    pub(crate) database: DatabaseConfig,
    /// Encryption of content that holds Secrets.
    pub(crate) encryption: EncryptionConfig,
    /// What happens at the first start.
    pub(crate) bootstrap: BootstrapConfig,
    /// The fleet.
    pub(crate) agents: AgentsConfig,
    /// How many requests are taken. Whoever sends more is answered 429 with `Retry-After`.
    pub(crate) limits: LimitsConfig,
    /// Work orders.
    pub(crate) work_orders: WorkOrdersConfig,
    /// Webhooks.
    pub(crate) webhooks: WebhooksConfig,
    /// What is kept for how long.
    pub(crate) retention: RetentionConfig,
    /// Traces and the log.
    pub(crate) telemetry: TelemetryConfig,
    /// Metrics.
    pub(crate) metrics: MetricsConfig,
}

impl Settings for Config {
    fn check(&self, problems: &mut Problems) {
        let server = &self.server;
        problems.range("server.drain_delay_seconds", server.drain_delay_seconds, 0..=3_600);
        problems.range("server.drain_seconds", server.drain_seconds, 1..=3_600);
        problems.range("server.request_timeout_seconds", server.request_timeout_seconds, 1..=3_600);
        problems.range("server.max_body_bytes", server.max_body_bytes as u64, 1_024..=256 * 1_024 * 1_024);
        let tls = &server.tls;
        problems.require(
            tls.key_file.is_some() || tls.certificate_file.is_none(),
            "server.tls.key_file",
            "a certificate needs its key",
        );
        problems.require(
            tls.certificate_file.is_some() || tls.key_file.is_none(),
            "server.tls.certificate_file",
            "a key needs its certificate",
        );
        self.database.check(problems);
        let both = self.encryption.keys_file.is_some() && self.encryption.keys.is_some();
        problems.require(!both, "encryption.keys_file", "set encryption.keys_file or encryption.keys, not both");
        problems.range("agents.active_seconds", self.agents.active_seconds, 1..=86_400);
        problems.range("retention.events_days", u64::from(self.retention.events_days), 1..=36_500);
        problems.range("retention.audit_days", u64::from(self.retention.audit_days), 1..=36_500);
        problems.range("retention.work_orders_days", u64::from(self.retention.work_orders_days), 1..=36_500);
        problems.range("work_orders.lease_seconds", self.work_orders.lease_seconds, 5..=3_600);
        problems.range("retention.deliveries_days", u64::from(self.retention.deliveries_days), 1..=36_500);
        self.webhooks.check(problems);
        self.limits.check(problems);
        brokkr_runtime::config::check_telemetry(&self.telemetry, problems);
        brokkr_runtime::config::check_metrics(&self.metrics, problems);
    }

    fn telemetry(&mut self) -> Option<&mut TelemetryConfig> {
        Some(&mut self.telemetry)
    }
}

impl DatabaseConfig {
    fn check(&self, problems: &mut Problems) {
        let known =
            store::sqlite_file(&self.url).is_some_and(|file| !file.as_os_str().is_empty()) || store::is_postgres(&self.url);
        problems.require(known, "database.url", "is not a database: write sqlite:FILE or postgres://USER:PASSWORD@HOST/DATABASE");
        problems.range("database.max_connections", u64::from(self.max_connections), 1..=10_000);
        let Some(listen) = &self.listen_url else { return };
        problems.require(store::is_postgres(listen), "database.listen_url", "is not the URL of a PostgreSQL database");
        problems.require(
            store::is_postgres(&self.url),
            "database.listen_url",
            "is for PostgreSQL; SQLite has nobody to listen to",
        );
    }
}

/// The HTTP server.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ServerConfig {
    /// Address and port to listen on.
    #[schemars(with = "String")]
    pub(crate) listen: SocketAddr,
    /// Seconds that a broker goes on serving after SIGTERM while `/readyz` says that it is not ready: so long load balancers may
    /// take to notice.
    pub(crate) drain_delay_seconds: u64,
    /// Seconds that requests in flight get to finish then.
    pub(crate) drain_seconds: u64,
    /// Seconds that a request may take, beyond the time that it asks to wait.
    pub(crate) request_timeout_seconds: u64,
    /// Most bytes of a body.
    pub(crate) max_body_bytes: usize,
    /// With a certificate the listener speaks TLS only, HTTP/2 and HTTP/1.1.
    pub(crate) tls: TlsConfig,
    /// Pages of other origins.
    pub(crate) cors: CorsConfig,
}

/// Pages of other origins.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CorsConfig {
    /// Origins whose pages may call the API from a browser, written exactly: `["https://console.example.com"]`. None: CORS is off.
    #[schemars(with = "Vec<String>")]
    pub(crate) allowed_origins: Vec<Origin>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 3000)),
            drain_delay_seconds: 0,
            drain_seconds: 20,
            request_timeout_seconds: 30,
            max_body_bytes: brokkr_api::MAX_BODY_BYTES,
            tls: TlsConfig::default(),
            cors: CorsConfig::default(),
        }
    }
}

/// The certificate of the listener. Both files are read again when they change.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TlsConfig {
    /// File with the certificate chain, PEM, the broker's own first.
    pub(crate) certificate_file: Option<PathBuf>,
    /// File with its private key, PEM.
    pub(crate) key_file: Option<PathBuf>,
}

impl TlsConfig {
    /// Both files, where TLS is wanted.
    pub(crate) fn files(&self) -> Option<brokkr_runtime::server::tls::TlsFiles> {
        let (certificate, key) = (self.certificate_file.clone()?, self.key_file.clone()?);
        Some(brokkr_runtime::server::tls::TlsFiles { certificate, key })
    }
}

/// Where the broker keeps its state.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DatabaseConfig {
    /// `sqlite:FILE` for one broker, `postgres://USER:PASSWORD@HOST/DATABASE` for several side by side.
    pub(crate) url: String,
    /// Most connections; on SQLite most readers, beside the one writer.
    pub(crate) max_connections: u32,
    /// The same PostgreSQL database past a pooler such as `PgBouncer`, which breaks `LISTEN` and session locks. Default: `url`.
    pub(crate) listen_url: Option<String>,
    /// Whether a broker that starts brings the schema up to date. When not, `brokkr-broker migrate` does, and a broker refuses to
    /// start on an older schema.
    pub(crate) migrate: bool,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self { url: "sqlite:brokkr.db".to_owned(), max_connections: 8, listen_url: None, migrate: true }
    }
}

impl std::fmt::Debug for DatabaseConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL may hold a password.
        f.debug_struct("DatabaseConfig").field("max_connections", &self.max_connections).finish_non_exhaustive()
    }
}

/// Encryption of content that holds Secrets: AES-256-GCM.
#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct EncryptionConfig {
    /// File with one key on a line, `ID:BASE64-OF-32-BYTES`; the first encrypts, each decrypts what it encrypted. With SQLite and
    /// neither file nor keys the broker makes a key in a file beside its database (mode 0600). Keep it apart from backups, and keep it.
    pub(crate) keys_file: Option<PathBuf>,
    /// The same as text, for `BROKKR__ENCRYPTION__KEYS`; keys are parted by line ends.
    pub(crate) keys: Option<String>,
}

impl std::fmt::Debug for EncryptionConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EncryptionConfig").field("keys_file", &self.keys_file).finish_non_exhaustive()
    }
}

/// What happens at the first start.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BootstrapConfig {
    /// The first admin key is the one in this file. Where there is no such file the broker makes a key and writes it there
    /// (mode 0600) instead of onto the standard output.
    pub(crate) admin_key_file: Option<PathBuf>,
}

/// The fleet.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AgentsConfig {
    /// An agent that was seen within so many seconds counts as active.
    pub(crate) active_seconds: u64,
    /// Days after which an agent is asked to take a new key; 0 for never. Agents do it by themselves.
    pub(crate) key_rotation_days: u32,
}

impl AgentsConfig {
    /// Oldest age of an agent's key; nothing for no limit.
    pub(crate) fn most_key_age(&self) -> Option<Duration> {
        let days = u64::from(self.key_rotation_days);
        (days > 0).then(|| Duration::from_secs(days * 24 * 3_600))
    }
}

impl Default for AgentsConfig {
    fn default() -> Self {
        Self { active_seconds: 75, key_rotation_days: 0 }
    }
}

/// How many requests are taken.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LimitsConfig {
    /// Requests a second with one key of a person or a pipeline; 0 for no limit.
    pub(crate) requests_per_second: u32,
    /// So many of them at once.
    pub(crate) burst: u32,
    /// Requests a second with one agent's key; 0 for no limit.
    pub(crate) agent_requests_per_second: u32,
    /// So many of them at once.
    pub(crate) agent_burst: u32,
    /// Requests a second without a valid key from one address (IPv6: from one /64), probes excepted; 0 for no limit.
    pub(crate) anonymous_requests_per_second: u32,
    /// So many of them at once.
    pub(crate) anonymous_burst: u32,
}

impl LimitsConfig {
    fn check(&self, problems: &mut Problems) {
        let of = [
            ("limits.burst", self.requests_per_second, self.burst),
            ("limits.agent_burst", self.agent_requests_per_second, self.agent_burst),
            ("limits.anonymous_burst", self.anonymous_requests_per_second, self.anonymous_burst),
        ];
        for (path, rate, burst) in of {
            problems.require(rate == 0 || burst > 0, path, "is 0: nobody could ask anything");
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            requests_per_second: 100,
            burst: 200,
            agent_requests_per_second: 50,
            agent_burst: 200,
            anonymous_requests_per_second: 50,
            anonymous_burst: 200,
        }
    }
}

#[cfg(test)]
impl LimitsConfig {
    /// Everybody as much as they like.
    pub(crate) fn off() -> Self {
        Self { requests_per_second: 0, agent_requests_per_second: 0, anonymous_requests_per_second: 0, ..Self::default() }
    }
}

/// Work orders.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WorkOrdersConfig {
    /// Seconds that an agent has a work order without renewing it; agents renew four times as often. One that is away for longer has
    /// lost what it had.
    pub(crate) lease_seconds: u64,
}

impl Default for WorkOrdersConfig {
    fn default() -> Self {
        Self { lease_seconds: 60 }
    }
}

/// Webhooks.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WebhooksConfig {
    /// Whether plain `http` URLs are allowed.
    pub(crate) allow_http: bool,
    /// Ports that may be reached.
    pub(crate) allowed_ports: Vec<u16>,
    /// Networks that may be reached though they are not the public internet: `["10.20.0.0/16", "fd00:1::/64"]`.
    pub(crate) allowed_networks: Vec<String>,
    /// File with certificate authorities, PEM, that are believed beside those of the machine.
    pub(crate) ca_file: Option<PathBuf>,
    /// Most attempts at the same time, of all webhooks together.
    pub(crate) attempts_at_once: u32,
}

impl Default for WebhooksConfig {
    fn default() -> Self {
        Self { allow_http: false, allowed_ports: vec![443], allowed_networks: Vec::new(), ca_file: None, attempts_at_once: 512 }
    }
}

impl WebhooksConfig {
    fn check(&self, problems: &mut Problems) {
        let are_networks = self.allowed_networks.iter().all(|network| network.parse::<IpNet>().is_ok());
        problems.require(are_networks, "webhooks.allowed_networks", "write networks as 10.20.0.0/16 or fd00:1::/64");
        problems.range("webhooks.attempts_at_once", u64::from(self.attempts_at_once), 8..=10_000);
    }

    /// Where webhooks may lead.
    pub(crate) fn guard(&self) -> Guard {
        let networks = self.allowed_networks.iter().filter_map(|network| network.parse().ok()).collect();
        Guard { networks, ports: self.allowed_ports.clone(), http: self.allow_http }
    }
}

/// What is kept for how long. A broker removes what is older, some minutes later.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RetentionConfig {
    /// Days that events are kept.
    pub(crate) events_days: u32,
    /// Days that the audit log is kept.
    pub(crate) audit_days: u32,
    /// Generations of a stack that are kept beside its newest one, for rollbacks; those of the last day are kept in any case.
    pub(crate) generations: u32,
    /// Days that finished work orders are kept.
    pub(crate) work_orders_days: u32,
    /// Days that deliveries of webhooks are kept after they were delivered or given up.
    pub(crate) deliveries_days: u32,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        Self { events_days: 14, audit_days: 400, generations: 20, work_orders_days: 30, deliveries_days: 14 }
    }
}
