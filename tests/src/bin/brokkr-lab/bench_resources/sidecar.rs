//! The collector beside a daemon, with the configuration that the chart renders.

use std::path::Path;

use brokkr_tests::{
    fleet::LIMIT,
    http,
    lab::{self, LabError, Scratch, free_port},
    process::{Daemon, Process},
};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::bench_table::fail;

/// A running one.
pub(super) struct Sidecar {
    pub(super) process: Process,
    pub(super) endpoint: String,
    own: String,
    _scratch: Scratch,
}

impl Sidecar {
    /// Starts one that sends to `HOST:PORT`.
    pub(super) async fn start(backend: &str) -> Result<Self, LabError> {
        let objects = rendered(backend).await?;
        let map = objects.iter().find(|object| object["metadata"]["name"] == "brokkr-broker-collector");
        let text = map.and_then(|map| map["data"]["config.yaml"].as_str()).ok_or_else(|| fail("no configuration"))?;
        let mut config: Value = serde_saphyr::from_str(text).map_err(fail)?;
        let port = || free_port().map_err(LabError::io("find a port"));
        let (grpc, http, own, health) = (port()?, port()?, port()?, port()?);
        let scratch = Scratch::new("sidecar")?;
        let queue = scratch.path().join("queue").display().to_string();
        // Ports belong to the whole machine here, and the volume is a folder.
        let places = [
            ("/receivers/otlp/protocols/grpc/endpoint", json!(format!("127.0.0.1:{grpc}"))),
            ("/receivers/otlp/protocols/http/endpoint", json!(format!("127.0.0.1:{http}"))),
            ("/extensions/health_check/endpoint", json!(format!("127.0.0.1:{health}"))),
            ("/extensions/file_storage~1queue/directory", json!(queue)),
            ("/extensions/file_storage~1queue/compaction/directory", json!(queue)),
            ("/service/telemetry/metrics/readers/0/pull/exporter/prometheus/host", json!("127.0.0.1")),
            ("/service/telemetry/metrics/readers/0/pull/exporter/prometheus/port", json!(own)),
        ];
        for (place, value) in places {
            *config.pointer_mut(place).ok_or_else(|| fail(format!("the configuration has no {place}")))? = value;
        }
        let file = scratch.write("config.json", config.to_string())?;
        let mut daemon = Daemon::at("collector", lab::collector().await?).args([format!("--config={}", file.display())]);
        for (name, value) in environment(&objects).ok_or_else(|| fail("no container of the collector"))? {
            daemon = daemon.env(name, value);
        }
        let mut process = daemon.start()?;
        process.wait_until_ok(&format!("http://127.0.0.1:{health}"), LIMIT).await?;
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        Ok(Self { process, endpoint: url(grpc), own: url(own), _scratch: scratch })
    }

    /// Spans that it has taken.
    pub(super) async fn accepted(&self) -> Result<f64, LabError> {
        let text = http::wait_until_ok(&format!("{}/metrics", self.own), LIMIT).await?;
        let lines = text.lines().filter(|line| line.starts_with("otelcol_receiver_accepted_spans"));
        Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }
}

async fn rendered(backend: &str) -> Result<Vec<Value>, LabError> {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/brokkr-broker");
    let home = Scratch::new("helm")?;
    let values = format!(
        "tracing.collector.mode=sidecar,tracing.collector.sidecar.endpoint={backend},tracing.collector.sidecar.tls.insecure=true"
    );
    let mut command = Command::new(lab::helm().await?);
    command.args(["template", "brokkr-broker"]).arg(chart).args(["--set", &values]).env_remove("KUBECONFIG");
    for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(variable, home.path());
    }
    let output = command.output().await.map_err(LabError::io("helm"))?;
    if !output.status.success() {
        return Err(fail(String::from_utf8_lossy(&output.stderr)));
    }
    serde_saphyr::from_multiple(&String::from_utf8_lossy(&output.stdout)).map_err(fail)
}

/// The environment of the container; what is of a pod has the name of its field.
fn environment(objects: &[Value]) -> Option<Vec<(String, String)>> {
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment")?;
    let containers = deployment.pointer("/spec/template/spec/initContainers")?.as_array()?;
    let container = containers.iter().find(|container| container["name"] == "collector")?;
    let value = |one: &Value| {
        let value = one.get("value").or_else(|| one.pointer("/valueFrom/fieldRef/fieldPath"));
        Some((one["name"].as_str()?.to_owned(), value?.as_str()?.to_owned()))
    };
    container["env"].as_array()?.iter().map(value).collect()
}
