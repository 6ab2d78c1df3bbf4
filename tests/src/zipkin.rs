//! A real Zipkin: a backend for traces, with the API and the page that people look at them with.
//!
//! It speaks no OTLP: its module for that is not among its Maven artifacts. [`Collector::before_zipkin`](crate::collector::Collector)
//! sends to it in its own format, by the collector's exporter.

use serde_json::Value;

use crate::{
    fleet::LIMIT,
    http,
    lab::{self, LabError, on_path, until},
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

    /// Where it takes spans.
    pub fn door(&self) -> String {
        format!("{}/api/v2/spans", self.base)
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
