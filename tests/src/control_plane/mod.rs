//! A real Kubernetes control plane: etcd, kube-apiserver, controller-manager, scheduler, and KWOK in the kubelet's place.
//!
//! [`ControlPlane`] is the handle for tests; [`Launch`] is what `brokkr-lab control-plane` runs.

mod certificates;
mod files;
mod flags;
mod launch;
mod readiness;

pub(crate) use files::{kubeconfig, secret};
pub use launch::Launch;
pub(crate) use readiness::{client, server_of};

use crate::{
    lab::{LabError, Supervisor},
    otlp::Receiver,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// Set to `1` to test against the cluster of `KUBECONFIG` instead of a control plane of our own.
pub const USE_KUBECONFIG: &str = "BROKKR_LAB_USE_KUBECONFIG";

/// Containers of this name have a log; all others have said nothing, as no container really runs.
pub const TALKS: &str = "talks";
/// A word in that log that a test can make a secret.
pub const SECRET_WORD: &str = "swordfish-4711";

/// Choices for a control plane.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct Options {
    /// OTLP over gRPC receiver (host:port, no TLS) for the API server's own spans. It must listen already: otherwise the
    /// API server's exporter backs off for minutes.
    #[arg(long, value_name = "HOST:PORT")]
    pub tracing_endpoint: Option<String>,
    /// How many of a million requests without a caller's sampled trace context the API server traces by itself.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub tracing_rate_per_million: u32,
    /// Leave the folder with data, certificates and logs in place.
    #[arg(long)]
    pub keep_dir: bool,
}

impl Options {
    fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["control-plane".into()];
        if let Some(endpoint) = &self.tracing_endpoint {
            arguments.extend(["--tracing-endpoint".into(), endpoint.into()]);
            arguments.extend(["--tracing-rate-per-million".into(), self.tracing_rate_per_million.to_string().into()]);
        }
        if self.keep_dir {
            arguments.push("--keep-dir".into());
        }
        arguments
    }
}

/// A program of the control plane that can be stopped and started alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// The store of the API server.
    Etcd,
    /// The Kubernetes API.
    ApiServer,
    /// Deployments, Jobs, garbage collection, namespaces, default service accounts, …
    ControllerManager,
    /// Gives pods their node.
    Scheduler,
    /// The kubelet's stand-in: without it nothing becomes ready.
    Kwok,
}

impl Component {
    /// The program's name in commands, logs and [`Description::processes`].
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kwok => "kwok",
        }
    }
}

/// The line of JSON with which `brokkr-lab control-plane` says that it is ready.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Description {
    /// For a user in `system:masters`, whose `traceparent` the API server continues.
    pub kubeconfig: PathBuf,
    /// Base URL of the API server.
    pub server: String,
    /// Client URL of etcd.
    pub etcd: String,
    /// One JSON audit event per line, the controllers' own requests left out.
    pub audit_log: PathBuf,
    /// Folder with data, certificates and one log per program.
    pub directory: PathBuf,
    /// The pinned `kubectl` (and the other programs beside it).
    pub kubectl: PathBuf,
    /// Process id of the supervisor.
    pub supervisor: u32,
    /// Process ids by program name.
    pub processes: BTreeMap<String, u32>,
}

/// A running control plane; its programs end with this value, or with this process.
#[derive(Debug)]
pub struct ControlPlane {
    supervisor: Option<Supervisor>,
    description: Description,
}

impl ControlPlane {
    /// Starts one of its own for a test that breaks things. Blocks for some seconds (minutes where the programs are not built yet).
    ///
    /// # Errors
    /// What did not start, with the end of its log.
    pub fn start(options: &Options) -> Result<Self, LabError> {
        let (supervisor, description) = Supervisor::start(options.arguments())?;
        Ok(Self { supervisor: Some(supervisor), description })
    }

    /// The one that all tests of this process share, started by whoever asks first. Its API server exports the spans of
    /// sampled requests to [`Receiver::shared`]. Use namespaces of your own, and break nothing.
    ///
    /// # Panics
    /// When it does not start: no test can say anything without it.
    #[expect(clippy::panic, reason = "a shared fixture that is missing fails every test that needs it, with the reason")]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Result<ControlPlane, String>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| Self::from_environment().map_err(|error| error.to_string()));
        match shared {
            Ok(control_plane) => control_plane,
            Err(error) => panic!("no control plane: {error}"),
        }
    }

    fn from_environment() -> Result<Self, LabError> {
        if env::var_os(USE_KUBECONFIG).is_some_and(|value| value == "1") {
            return Self::of_the_person();
        }
        let tracing_endpoint = Some(Receiver::shared().grpc_address().to_string());
        Self::start(&Options { tracing_endpoint, ..Options::default() })
    }

    /// The person's own cluster: nothing is started, so nothing can be stopped.
    fn of_the_person() -> Result<Self, LabError> {
        let missing = |name: &str, hint: &str| LabError::Missing { name: name.to_owned(), hint: hint.to_owned() };
        let kubeconfig = env::var_os("KUBECONFIG").map(PathBuf::from);
        let kubeconfig =
            kubeconfig.ok_or_else(|| missing("KUBECONFIG", &format!("{USE_KUBECONFIG}=1 uses the cluster it names")))?;
        let kubectl =
            crate::lab::on_path("kubectl").ok_or_else(|| missing("kubectl", "install it beside your cluster's tools"))?;
        let description = Description {
            kubeconfig,
            server: String::new(),
            etcd: String::new(),
            audit_log: PathBuf::new(),
            directory: env::temp_dir(),
            kubectl,
            supervisor: std::process::id(),
            processes: BTreeMap::new(),
        };
        Ok(Self { supervisor: None, description })
    }

    /// Kubeconfig of a user in `system:masters`.
    pub fn kubeconfig(&self) -> &Path {
        &self.description.kubeconfig
    }

    /// Where everything is. Of a person's own cluster only the kubeconfig and `kubectl` are known.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Kills the API server; returns when it is gone.
    ///
    /// # Errors
    /// When the supervisor is gone, or the cluster is a person's own.
    pub fn stop_apiserver(&self) -> Result<(), LabError> {
        self.stop(Component::ApiServer)
    }

    /// Starts the API server again, on the same port; returns when it is ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn start_apiserver(&self) -> Result<(), LabError> {
        self.resume(Component::ApiServer)
    }

    /// Kills one program; returns when it is gone.
    ///
    /// # Errors
    /// When the supervisor is gone, or the cluster is a person's own.
    pub fn stop(&self, component: Component) -> Result<(), LabError> {
        self.ask("stop", component)
    }

    /// Starts a stopped program again; returns when the API server is ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn resume(&self, component: Component) -> Result<(), LabError> {
        self.ask("start", component)
    }

    fn ask(&self, verb: &str, component: Component) -> Result<(), LabError> {
        let own = || LabError::Refused("the cluster of KUBECONFIG is not ours to stop".to_owned());
        let supervisor = self.supervisor.as_ref().ok_or_else(own)?;
        supervisor.ask::<Value>(&format!("{verb} {}", component.name())).map(drop)
    }

    /// The audit events so far, as JSON, oldest first. A request's event is there before its answer.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn audit_events(&self) -> Result<Vec<Value>, LabError> {
        let text = std::fs::read_to_string(&self.description.audit_log).map_err(LabError::io("read the audit log"))?;
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// What agents have written, verb and path of each call, among the events of the audit log from number `from` on; and how many
    /// events there are. Dry runs are none, and neither is the agents' own election.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn agent_writes(&self, from: usize) -> Result<(Vec<String>, usize), LabError> {
        let events = self.audit_events()?;
        let text = |event: &Value, pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let is_write = |event: &&Value| {
            text(event, "/userAgent").starts_with("brokkr-agent")
                && ["create", "patch", "update", "delete"].contains(&text(event, "/verb").as_str())
                && !text(event, "/requestURI").contains("dryRun=")
                && text(event, "/objectRef/resource") != "leases"
        };
        let said = |event: &Value| format!("{} {}", text(event, "/verb"), text(event, "/requestURI"));
        Ok((events.iter().skip(from).filter(is_write).map(said).collect(), events.len()))
    }
}
