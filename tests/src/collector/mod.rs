//! A real OpenTelemetry Collector between the daemons and a receiver of the test.

use serde_json::json;

use crate::{
    fleet::LIMIT,
    http,
    lab::{self, LabError, Scratch, free_port},
    process::{Daemon, Process},
    zipkin::Zipkin,
};

/// A running collector: spans in by OTLP over gRPC, on to a backend, span metrics and metrics of its own out.
#[derive(Debug)]
pub struct Collector {
    /// The process.
    pub process: Process,
    /// Endpoint for `protocol = "grpc"`.
    pub endpoint: String,
    /// Base URL of the metrics that it makes of spans.
    pub span_metrics: String,
    /// Base URL of its own metrics.
    pub own_metrics: String,
    health: String,
    _scratch: Scratch,
}

impl Collector {
    /// Starts one that passes spans on to this address, `HOST:PORT` of OTLP over gRPC.
    ///
    /// # Errors
    /// When it cannot be built, refuses its configuration, or is not ready in time.
    pub async fn start(backend: &str) -> Result<Self, LabError> {
        Self::at(port()?, backend, None).await
    }

    /// Starts one on this port that passes spans on to this address, and to a Zipkin.
    ///
    /// # Errors
    /// When it cannot be built, refuses its configuration, or is not ready in time.
    pub async fn before_zipkin(grpc: u16, backend: &str, zipkin: &Zipkin) -> Result<Self, LabError> {
        Self::at(grpc, backend, Some(zipkin)).await
    }

    async fn at(grpc: u16, backend: &str, zipkin: Option<&Zipkin>) -> Result<Self, LabError> {
        let program = lab::collector().await?;
        let scratch = Scratch::new("collector")?;
        let (spans, own, health) = (port()?, port()?, port()?);
        let mut config = json!({
            "extensions": {"health_check": {"endpoint": format!("127.0.0.1:{health}")}},
            "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": format!("127.0.0.1:{grpc}")}}}},
            "processors": {
                "memory_limiter": {"check_interval": "1s", "limit_mib": 256, "spike_limit_mib": 64},
                "batch": {"timeout": "200ms"},
            },
            "connectors": {"span_metrics": {"metrics_flush_interval": "1s"}},
            "exporters": {
                "otlp_grpc": {
                    "endpoint": backend,
                    "tls": {"insecure": true},
                    "timeout": "1s",
                    // As short as the rest of a world where a minute is a second.
                    "retry_on_failure": {"enabled": true, "initial_interval": "100ms", "max_interval": "500ms", "max_elapsed_time": "1s"},
                    "sending_queue": {"enabled": true, "queue_size": 64},
                },
                "prometheus": {"endpoint": format!("127.0.0.1:{spans}")},
            },
            "service": {
                "extensions": ["health_check"],
                "telemetry": {
                    "logs": {"level": "warn"},
                    "metrics": {"readers": [{"pull": {"exporter": {"prometheus": {"host": "127.0.0.1", "port": own}}}}]},
                },
                "pipelines": {
                    "traces": {"receivers": ["otlp"], "processors": ["memory_limiter", "batch"], "exporters": ["otlp_grpc", "span_metrics"]},
                    "metrics/spans": {"receivers": ["span_metrics"], "processors": ["batch"], "exporters": ["prometheus"]},
                },
            },
        });
        if let Some(zipkin) = zipkin {
            config["exporters"]["zipkin"] = json!({"endpoint": zipkin.door()});
            config["service"]["pipelines"]["traces"]["exporters"] = json!(["otlp_grpc", "span_metrics", "zipkin"]);
        }
        // JSON is YAML.
        let config = scratch.write("collector.yaml", config.to_string())?;
        let process = Daemon::at("collector", program).args([format!("--config={}", config.display())]).start()?;
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let mut collector = Self {
            process,
            endpoint: url(grpc),
            span_metrics: url(spans),
            own_metrics: url(own),
            health: url(health),
            _scratch: scratch,
        };
        collector.ready().await?;
        Ok(collector)
    }

    /// Starts it again after it was killed.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub async fn again(&mut self) -> Result<(), LabError> {
        self.process.start()?;
        self.ready().await
    }

    async fn ready(&mut self) -> Result<(), LabError> {
        self.process.wait_until_ok(&self.health, LIMIT).await?;
        http::wait_until_ok(&format!("{}/metrics", self.own_metrics), LIMIT).await.map(drop)
    }
}

fn port() -> Result<u16, LabError> {
    free_port().map_err(LabError::io("find a port"))
}
