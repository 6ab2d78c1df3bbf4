//! A real Zipkin: a backend for traces, with the API and the page that people look at them with.
//!
//! It speaks no OTLP, and the exporter of the collector for it cannot be had as a module: the harness hands it the spans that its own
//! [`Receiver`](crate::otlp::Receiver) got from a collector.

use serde_json::{Value, json};

use crate::{
    fleet::LIMIT,
    http,
    lab::{self, LabError, on_path, until},
    otlp::{Kind, Span, Status},
    process::{Daemon, Process},
};

/// A running Zipkin that keeps what it gets in memory; it ends with this value.
#[derive(Debug)]
pub struct Zipkin {
    /// The process.
    pub process: Process,
    base: String,
    client: reqwest::Client,
}

impl Zipkin {
    /// Starts one on this port of 127.0.0.1.
    ///
    /// # Errors
    /// When it cannot be fetched, Java is missing, or it is not ready in time.
    pub async fn start(port: u16) -> Result<Self, LabError> {
        let jar = lab::zipkin().await?;
        let hint = "scripts/setup.sh installs it (Debian's package default-jre-headless)".to_owned();
        let java = on_path("java").ok_or_else(|| LabError::Missing { name: "java".to_owned(), hint })?;
        let base = format!("http://127.0.0.1:{port}");
        let mut process = Daemon::at("zipkin", java)
            // It is to start quickly, and lives for a minute.
            .args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-jar"])
            .args([jar])
            .args(["--armeria.ports[0].ip=127.0.0.1".to_owned(), format!("--armeria.ports[0].port={port}")])
            .args(["--armeria.ports[0].protocols[0]=http", "--logging.level.root=WARN"])
            .start()?;
        // On a machine that is busy a JVM takes its time.
        process.wait_until_ok(&format!("{base}/health"), LIMIT * 3).await?;
        Ok(Self { process, base, client: http::client()? })
    }

    /// Hands it these spans.
    ///
    /// # Errors
    /// When it refuses them.
    pub async fn take(&self, spans: &[Span]) -> Result<(), LabError> {
        let spans: Vec<Value> = spans.iter().map(zipkin_span).collect();
        let refused = |error: reqwest::Error| LabError::Refused(format!("Zipkin: {error}"));
        let request = self.client.post(format!("{}/api/v2/spans", self.base)).json(&spans);
        request.send().await.map_err(refused)?.error_for_status().map_err(refused).map(drop)
    }

    /// The spans of a trace as its API shows them, when there are as many as `wanted`.
    ///
    /// # Errors
    /// When there are not in time.
    pub async fn trace(&self, id: &str, wanted: usize) -> Result<Vec<Value>, LabError> {
        let url = format!("{}/api/v2/trace/{id}", self.base);
        let look = || async {
            let answer = self.client.get(&url).send().await.map_err(|error| error.to_string())?;
            let spans: Vec<Value> = answer.json().await.map_err(|error| error.to_string())?;
            if spans.len() >= wanted { Ok(spans) } else { Err(format!("{} spans", spans.len())) }
        };
        until(&format!("trace {id} in Zipkin"), LIMIT, look).await
    }
}

/// A span in Zipkin's own format. It has no links, and no kind for what happens inside a process.
fn zipkin_span(span: &Span) -> Value {
    let mut tags: serde_json::Map<String, Value> =
        span.attributes.iter().map(|(key, value)| (key.clone(), json!(plain(value)))).collect();
    if let Status::Error(description) = &span.status {
        tags.insert("error".to_owned(), json!(if description.is_empty() { "true" } else { description.as_str() }));
    }
    let mut zipkin = json!({
        "traceId": span.trace_id,
        "id": span.span_id,
        "name": span.name,
        "timestamp": span.start_nanos / 1_000,
        // Zero means that nobody knows.
        "duration": (span.nanos() / 1_000).max(1),
        "localEndpoint": {"serviceName": span.service},
        "tags": tags,
    });
    if let Some(parent) = &span.parent {
        zipkin["parentId"] = json!(parent);
    }
    if span.kind != Kind::Internal {
        zipkin["kind"] = json!(span.kind.name().to_uppercase());
    }
    zipkin
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
