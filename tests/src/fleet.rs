//! A broker and its agents as real processes, for tests that read like sentences.
#![expect(clippy::expect_used, reason = "a test that cannot be set up fails, and says where")]

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use brokkr_api::{
    Labels, Name, TargetSelector,
    agents::CreateAgent,
    client::{Client, ClientBuilder, KeySource},
    deployment_objects::AcceptedDeploymentObject,
    rollouts::Rollout,
    stacks::PutStack,
};
use http::{HeaderName, HeaderValue};

pub use crate::http::{metric, wait_for_metric};

use crate::{
    certificate::Certificate,
    control_plane::ControlPlane,
    lab::{LabError, Scratch, free_port},
    postgres::Postgres,
    process::{Daemon, Process},
    watch::{self, SECRET},
};

/// Longest time that anything here may take.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Where a broker keeps its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// A file of its own.
    Sqlite,
    /// A database of its own on the shared server.
    Postgres,
}

impl Engine {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Sqlite, Self::Postgres];

    /// `database.url` of a new database.
    fn database(self, scratch: &Scratch) -> Result<String, LabError> {
        match self {
            Self::Sqlite => Ok(format!("sqlite:{}", scratch.path().join("brokkr.db").display())),
            Self::Postgres => Postgres::shared().create_database(),
        }
    }
}

/// Settings as daemons are started with them.
pub fn borrowed<'s>(settings: &'s [(&'static str, String)]) -> Vec<(&'static str, &'s str)> {
    settings.iter().map(|(key, value)| (*key, value.as_str())).collect()
}

/// The daemon with these settings. What they say nothing about is watched.
fn told(daemon: Daemon, settings: &[(&str, &str)]) -> Daemon {
    let watched = watch::settings(settings);
    borrowed(&watched).iter().chain(settings).fold(daemon, |daemon, (key, value)| daemon.env(key, value))
}

/// A running broker, its admin's client and its database.
#[derive(Debug)]
pub struct Broker {
    /// The process.
    pub process: Process,
    /// Its address.
    pub base: String,
    /// `database.url`.
    pub database: String,
    admin_key: PathBuf,
    scratch: Scratch,
}

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    /// The process.
    pub process: Process,
    /// Its name.
    pub name: Name,
    /// Address of its probes and metrics.
    pub base: String,
}

fn key_file(agent: &Name) -> String {
    format!("{agent}.key")
}

impl Broker {
    /// Starts a broker of its own database; `settings` are `BROKKR__SECTION__KEY` and value.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub async fn start(engine: Engine, settings: &[(&str, &str)]) -> Result<Self, LabError> {
        let scratch = Scratch::new("broker")?;
        let database = engine.database(&scratch)?;
        Self::on(database, scratch, settings).await
    }

    /// Starts a broker on a database that the test made itself.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub async fn at(database: &str, settings: &[(&str, &str)]) -> Result<Self, LabError> {
        Self::on(database.to_owned(), Scratch::new("broker")?, settings).await
    }

    /// Starts a broker whose SQLite file and admin's key are in this folder, or will be.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub async fn in_folder(folder: &Path, settings: &[(&str, &str)]) -> Result<Self, LabError> {
        let scratch = Scratch::new("broker")?;
        let key = folder.join("admin.key");
        let database = format!("sqlite:{}", folder.join("brokkr.db").display());
        let place = key.display().to_string();
        let settings: Vec<_> =
            [("BROKKR__BOOTSTRAP__ADMIN_KEY_FILE", place.as_str())].into_iter().chain(settings.iter().copied()).collect();
        Ok(Self { admin_key: key, ..Self::on(database, scratch, &settings).await? })
    }

    /// A broker that somebody else started and has found ready; what belongs to its agents is kept in `scratch`.
    pub fn that_runs(process: Process, base: String, database: String, admin_key: PathBuf, scratch: Scratch) -> Self {
        Self { process, base, database, admin_key, scratch }
    }

    /// Starts another broker beside this one, on the same database.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub async fn beside(&self) -> Result<Self, LabError> {
        self.beside_with(&[]).await
    }

    /// The same with settings of its own.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub async fn beside_with(&self, settings: &[(&str, &str)]) -> Result<Self, LabError> {
        let mut other = Self::at(&self.database, settings).await?;
        other.admin_key.clone_from(&self.admin_key);
        Ok(other)
    }

    /// Starts a broker of its own database that speaks TLS, with [`Certificate::ours`].
    ///
    /// # Errors
    /// When it is not ready in time.
    pub async fn start_with_tls(engine: Engine, settings: &[(&str, &str)]) -> Result<Self, LabError> {
        let scratch = Scratch::new("broker")?;
        Certificate::ours().write(scratch.path())?;
        let file = |name: &str| scratch.path().join(name).display().to_string();
        let (certificate, key) = (file("tls.crt"), file("tls.key"));
        let tls =
            [("BROKKR__SERVER__TLS__CERTIFICATE_FILE", certificate.as_str()), ("BROKKR__SERVER__TLS__KEY_FILE", key.as_str())];
        let settings: Vec<_> = tls.into_iter().chain(settings.iter().copied()).collect();
        let database = engine.database(&scratch)?;
        Self::reached_by("https://localhost", database, scratch, &settings).await
    }

    /// The certificate that this broker shows, when it speaks TLS.
    pub fn certificate_file(&self) -> Option<PathBuf> {
        self.base.starts_with("https:").then(|| self.scratch.path().join("tls.crt"))
    }

    async fn on(database: String, scratch: Scratch, settings: &[(&str, &str)]) -> Result<Self, LabError> {
        Self::reached_by("http://127.0.0.1", database, scratch, settings).await
    }

    async fn reached_by(host: &str, database: String, scratch: Scratch, settings: &[(&str, &str)]) -> Result<Self, LabError> {
        let port = free_port().map_err(LabError::io("find a port"))?;
        let base = format!("{host}:{port}");
        let admin_key = scratch.path().join("admin.key");
        let daemon = Daemon::new("brokkr-broker")?
            .args(["serve"])
            .env("BROKKR__SERVER__LISTEN", format!("127.0.0.1:{port}"))
            .env("BROKKR__DATABASE__URL", &database)
            .env("BROKKR__BOOTSTRAP__ADMIN_KEY_FILE", &admin_key);
        let mut process = told(daemon, settings).start()?;
        process.wait_until_ok(&format!("{base}/readyz"), LIMIT).await?;
        Ok(Self { process, base, database, admin_key, scratch })
    }

    /// Starts the broker again after it ended, and waits until it is ready.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub async fn again(&mut self) -> Result<(), LabError> {
        self.process.start()?;
        self.process.wait_until_ok(&format!("{}/readyz", self.base), LIMIT).await.map(drop)
    }

    /// The admin's key.
    ///
    /// # Panics
    /// When there is none.
    pub fn key(&self) -> String {
        std::fs::read_to_string(&self.admin_key).expect("the admin key").trim().to_owned()
    }

    /// The file with the admin's key.
    pub fn key_file(&self) -> &Path {
        &self.admin_key
    }

    /// The admin's client.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn admin(&self) -> Client {
        self.builder().build().expect("a client")
    }

    /// The client of whoever has this key.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn client(&self, key: &str) -> Client {
        self.builder_with(KeySource::Text(key.into())).build().expect("a client")
    }

    /// The lines that a query answers, asked of the database itself, past the broker; columns are joined by `|`.
    ///
    /// # Errors
    /// What `sqlite3` or `psql` says.
    pub fn query(&self, sql: &str) -> Result<Vec<String>, LabError> {
        let answer = match self.database.strip_prefix("sqlite:") {
            None => Postgres::shared().query(&self.database, sql)?,
            Some(file) => {
                let output = std::process::Command::new("sqlite3").args(["-readonly", file, sql]).output();
                let output = output.map_err(LabError::io("sqlite3 (scripts/setup.sh installs it)"))?;
                if !output.status.success() {
                    return Err(LabError::Refused(format!("sqlite3: {}", String::from_utf8_lossy(&output.stderr).trim())));
                }
                String::from_utf8_lossy(&output.stdout).into_owned()
            }
        };
        Ok(answer.lines().map(str::to_owned).collect())
    }

    /// The admin's client, with this `traceparent` on every request.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn traced(&self, traceparent: &str) -> Client {
        let value = HeaderValue::from_str(traceparent).expect("a header");
        self.builder().header(HeaderName::from_static("traceparent"), value).build().expect("a client")
    }

    fn builder(&self) -> ClientBuilder {
        self.builder_with(KeySource::File(self.admin_key.clone()))
    }

    fn builder_with(&self, key: KeySource) -> ClientBuilder {
        let mut builder = ClientBuilder::new(&self.base, key).expect("a client");
        for name in ["cookie", "baggage", "x-password"] {
            let value = HeaderValue::from_str(&format!("password={SECRET}")).expect("a header");
            builder = builder.header(HeaderName::from_static(name), value);
        }
        match Certificate::known() {
            Some(ours) => builder.authorities(ours.pem.as_bytes()).expect("a certificate"),
            None => builder,
        }
    }

    /// Makes an agent and starts it in the shared control plane, with a namespace of its own for its parents.
    ///
    /// # Errors
    /// When it is not connected in time.
    pub async fn agent(&self, agent: &str, settings: &[(&str, &str)]) -> Result<Agent, LabError> {
        let mut agent = self.unconnected_agent(agent, ControlPlane::shared().kubeconfig(), settings).await?;
        agent.process.wait_for_line("the connection", LIMIT, |line| line.contains("the agent is connected")).await?;
        Ok(agent)
    }

    /// Makes an agent and starts it, without waiting for anything.
    ///
    /// # Errors
    /// When it cannot be made or started.
    pub async fn unconnected_agent(&self, agent: &str, kubeconfig: &Path, settings: &[(&str, &str)]) -> Result<Agent, LabError> {
        let name: Name = agent.parse().map_err(fail)?;
        let request = CreateAgent { name: name.clone(), cluster: name.clone(), labels: Labels::default() };
        let created = self.admin().create_agent(&request).await.map_err(fail)?;
        self.scratch.write(&key_file(&name), created.secret)?;
        self.agent_process(name, kubeconfig, settings)
    }

    /// Starts another process of an agent, of which one leads; without waiting for anything.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn replica(&self, of: &Agent, settings: &[(&str, &str)]) -> Result<Agent, LabError> {
        self.agent_process(of.name.clone(), ControlPlane::shared().kubeconfig(), settings)
    }

    fn agent_process(&self, name: Name, kubeconfig: &Path, settings: &[(&str, &str)]) -> Result<Agent, LabError> {
        let port = free_port().map_err(LabError::io("find a port"))?;
        let daemon = Daemon::new("brokkr-agent")?
            .args(["run"])
            .env("BROKKR__SERVER__LISTEN", format!("127.0.0.1:{port}"))
            .env("BROKKR__BROKER__URL", &self.base)
            .env("BROKKR__BROKER__KEY_FILE", self.scratch.path().join(key_file(&name)))
            .env("BROKKR__KUBERNETES__KUBECONFIG", kubeconfig)
            .env("BROKKR__KUBERNETES__NAMESPACE", format!("brokkr-{name}"));
        Ok(Agent { process: told(daemon, settings).start()?, name, base: format!("http://127.0.0.1:{port}") })
    }

    /// Makes a stack for these agents.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn stack(&self, stack: &str, agents: &[&Agent]) -> Name {
        let stack: Name = stack.parse().expect("a name");
        let names = agents.iter().map(|agent| agent.name.clone()).collect();
        let put = PutStack { labels: Labels::default(), targets: TargetSelector { labels: None, names }, ..PutStack::default() };
        self.admin().put_stack(&stack, &put).await.expect("the stack");
        stack
    }

    /// Sends manifests.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn send(&self, stack: &Name, manifests: &str) -> AcceptedDeploymentObject {
        let bytes = manifests.as_bytes().to_vec();
        self.admin().put_deployment_objects(stack, "application/yaml", bytes).await.expect("the manifests are accepted")
    }

    /// Waits until the rollout is done or has failed.
    ///
    /// # Panics
    /// When neither happens in time.
    pub async fn settle(&self, stack: &Name) -> Rollout {
        let deadline = tokio::time::Instant::now() + LIMIT;
        loop {
            let rollout = self.admin().rollout(stack, Some(Duration::from_secs(20))).await.expect("the rollout");
            if rollout.done || rollout.failed > 0 {
                return rollout;
            }
            assert!(tokio::time::Instant::now() < deadline, "the rollout of {stack} does not end: {rollout:#?}");
        }
    }

    /// Sends manifests and waits until they are applied.
    ///
    /// # Panics
    /// When they are not.
    pub async fn apply(&self, stack: &Name, manifests: &str) -> AcceptedDeploymentObject {
        let accepted = self.send(stack, manifests).await;
        let rollout = self.settle(stack).await;
        assert!(rollout.done && rollout.failed == 0, "not applied: {rollout:#?}");
        accepted
    }

    /// Deletes a stack and waits until every agent has acknowledged.
    ///
    /// # Panics
    /// When they do not.
    pub async fn delete(&self, stack: &Name) {
        self.admin().delete_stack(stack).await.expect("the deletion is accepted");
        let deadline = tokio::time::Instant::now() + LIMIT;
        while let Ok(rollout) = self.admin().rollout(stack, Some(Duration::from_secs(10))).await {
            if rollout.done {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "the deletion of {stack} does not end: {rollout:#?}");
        }
    }
}

/// A config map in a namespace, as YAML.
pub fn config_map(namespace: &str, name: &str, value: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         data: {{password: {SECRET}, value: \"{value}\"}}\n"
    )
}

fn fail(error: impl std::fmt::Display) -> LabError {
    LabError::io("the fleet")(std::io::Error::other(error.to_string()))
}
