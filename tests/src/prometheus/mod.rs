//! A real Prometheus that scrapes the daemons of a test, and `promtool`.

mod answer;
mod promtool;
mod rules;

pub use answer::{Alert, Answer, Exemplar, Sample};
pub use promtool::{check_config, check_metrics, check_rules, test_rules};
pub use rules::{Group, Rule, RuleFile, hurried};

use std::{path::PathBuf, time::Duration};

use serde_json::{Value, json};

use crate::{
    fleet::LIMIT,
    http,
    lab::{LabError, Scratch, free_port, on_path, until},
    process::{Daemon, Process},
};

/// How often targets are scraped.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// What is scraped, under the name of a job, and with the labels that a deployment would add.
#[derive(Debug, Clone)]
pub struct Target {
    /// `brokkr-broker`, `brokkr-agent` or `brokkr-collector`.
    pub job: &'static str,
    /// Base URL.
    pub base: String,
    /// For `https`: the authority to believe.
    pub authority: Option<PathBuf>,
}

impl Target {
    /// A target that speaks plain HTTP.
    pub fn new(job: &'static str, base: &str) -> Self {
        Self { job, base: base.to_owned(), authority: None }
    }

    fn scrape_config(&self, index: usize) -> Value {
        let (scheme, address) = self.base.split_once("://").unwrap_or(("http", &self.base));
        let tls = self.authority.as_ref().map(|authority| json!({"ca_file": authority}));
        json!({
            // Jobs of a configuration need different names; the label is what counts.
            "job_name": format!("{}-{index}", self.job),
            "scheme": scheme,
            "tls_config": tls.unwrap_or_else(|| json!({})),
            "static_configs": [{"targets": [address], "labels": {"cluster": "lab", "namespace": "brokkr"}}],
            "relabel_configs": [{"target_label": "job", "replacement": self.job}],
        })
    }
}

/// A running Prometheus with a store of its own; it ends with this value.
#[derive(Debug)]
pub struct Prometheus {
    /// The process.
    pub process: Process,
    base: String,
    client: reqwest::Client,
    _scratch: Scratch,
}

impl Prometheus {
    /// Starts one that scrapes these targets and evaluates these rules.
    ///
    /// # Errors
    /// When it is not installed (`scripts/setup.sh` installs it), refuses its configuration, or is not ready in time.
    pub async fn start(targets: &[Target], rules: &RuleFile) -> Result<Self, LabError> {
        let scratch = Scratch::new("prometheus")?;
        let port = free_port().map_err(LabError::io("find a port"))?;
        let rules = scratch.write("rules.json", json!(rules).to_string())?;
        let interval = format!("{}s", INTERVAL.as_secs());
        let scrapes: Vec<Value> = targets.iter().enumerate().map(|(index, target)| target.scrape_config(index)).collect();
        let config = json!({
            "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
            "rule_files": [rules],
            "scrape_configs": scrapes,
        });
        // JSON is YAML.
        let config = scratch.write("prometheus.yaml", config.to_string())?;
        let mut process = Daemon::at("prometheus", installed("prometheus")?)
            .args(["--log.level=warn", "--enable-feature=exemplar-storage", "--storage.tsdb.retention.time=1h"])
            // As long after its last sample as five minutes are in a deployment that is a minute for a second.
            .args(["--query.lookback-delta=5s"])
            .args([format!("--config.file={}", config.display())])
            .args([format!("--storage.tsdb.path={}", scratch.path().join("data").display())])
            .args([format!("--web.listen-address=127.0.0.1:{port}")])
            .start()?;
        let base = format!("http://127.0.0.1:{port}");
        process.wait_until_ok(&format!("{base}/-/ready"), LIMIT).await?;
        Ok(Self { process, base, client: http::client()?, _scratch: scratch })
    }

    /// Waits until every target has been scraped, once at least.
    ///
    /// # Errors
    /// After a minute, with what is said of the targets.
    pub async fn scraped(&self) -> Result<(), LabError> {
        let look = || async {
            let data = self.get("targets", &[("state", "active")]).await?;
            let targets = data["activeTargets"].as_array().cloned().unwrap_or_default();
            let is_up = |target: &Value| target["health"] == "up";
            if !targets.is_empty() && targets.iter().all(is_up) { Ok(()) } else { Err(data.to_string()) }
        };
        until("Prometheus to scrape its targets", LIMIT, look).await
    }

    /// What an expression answers now.
    ///
    /// # Errors
    /// What Prometheus says.
    pub async fn query(&self, expression: &str) -> Result<Answer, LabError> {
        let data = self.get("query", &[("query", expression)]).await;
        let data = data.map_err(|error| LabError::Refused(format!("{expression}: {error}")))?;
        Answer::read(&data).map_err(|error| LabError::Refused(format!("{expression}: {error}")))
    }

    /// Waits until an expression answers something that `wanted` accepts.
    ///
    /// # Errors
    /// After `limit`, with the last answer.
    pub async fn wait_for(
        &self,
        expression: &str,
        limit: Duration,
        wanted: impl Fn(&Answer) -> bool,
    ) -> Result<Answer, LabError> {
        let look = || async {
            let answer = self.query(expression).await.map_err(|error| error.to_string())?;
            if wanted(&answer) { Ok(answer) } else { Err(format!("{answer:?}")) }
        };
        until(expression, limit, look).await
    }

    /// The exemplars of the last minute.
    ///
    /// # Errors
    /// What Prometheus says.
    pub async fn exemplars(&self, expression: &str) -> Result<Vec<Exemplar>, LabError> {
        let now = self.query("time()").await?.scalar().unwrap_or_default();
        let (start, end) = ((now - 60.0).to_string(), now.to_string());
        let data = self.get("query_exemplars", &[("query", expression), ("start", &start), ("end", &end)]).await;
        let data = data.map_err(|error| LabError::Refused(format!("{expression}: {error}")))?;
        Ok(Exemplar::read(&data))
    }

    /// The alerts that fire or are pending.
    ///
    /// # Errors
    /// What Prometheus says.
    pub async fn alerts(&self) -> Result<Vec<Alert>, LabError> {
        let data = self.get("alerts", &[]).await.map_err(LabError::Refused)?;
        serde_json::from_value(data["alerts"].clone()).map_err(|error| LabError::Refused(format!("alerts: {error}")))
    }

    /// Waits until an alert fires, and returns it as it then is.
    ///
    /// # Errors
    /// After `limit`, with the alerts that are there instead.
    pub async fn fires(&self, name: &str, limit: Duration) -> Result<Alert, LabError> {
        let look = || async {
            let alerts = self.alerts().await.map_err(|error| error.to_string())?;
            let found = alerts.iter().find(|alert| alert.name() == name && alert.is_firing());
            found.cloned().ok_or_else(|| format!("{:?}", alerts.iter().map(Alert::say).collect::<Vec<_>>()))
        };
        until(&format!("alert {name}"), limit, look).await
    }

    /// Waits until an alert does not fire any more.
    ///
    /// # Errors
    /// After `limit`.
    pub async fn resolves(&self, name: &str, limit: Duration) -> Result<(), LabError> {
        let look = || async {
            let alerts = self.alerts().await.map_err(|error| error.to_string())?;
            let found = alerts.iter().find(|alert| alert.name() == name);
            found.map_or(Ok(()), |alert| Err(alert.say()))
        };
        until(&format!("the end of alert {name}"), limit, look).await
    }

    async fn get(&self, what: &str, query: &[(&str, &str)]) -> Result<Value, String> {
        let request = self.client.get(format!("{}/api/v1/{what}", self.base)).query(query);
        let answer = request.send().await.map_err(|error| error.to_string())?;
        let body: Value = answer.json().await.map_err(|error| error.to_string())?;
        if body["status"] == "success" { Ok(body["data"].clone()) } else { Err(body.to_string()) }
    }
}

fn installed(name: &str) -> Result<PathBuf, LabError> {
    let hint = "scripts/setup.sh installs it (Debian's package prometheus)".to_owned();
    on_path(name).ok_or_else(|| LabError::Missing { name: name.to_owned(), hint })
}
