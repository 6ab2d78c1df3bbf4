//! Metrics on their way to a collector: the same as those that are served.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use brokkr_telemetry::{
    Service, Telemetry,
    capture::{init_with_writer, options},
    config::{MetricsExporter, Protocol},
    metrics::{DbOperation, HttpMethod},
};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::{
        ExportMetricsServiceRequest, ExportMetricsServiceResponse,
        metrics_service_server::{MetricsService, MetricsServiceServer},
    },
    metrics::v1::{Metric, metric::Data, number_data_point::Value},
};
use parking_lot::Mutex;
use prost::Message;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::receiver::attribute;

/// What has arrived, by name and labels as Prometheus writes them.
#[derive(Debug, Clone, Default)]
struct Received(Arc<Mutex<BTreeMap<String, f64>>>);

impl Received {
    fn take(&self, request: ExportMetricsServiceRequest) {
        let scopes = request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
        let mut arrived = self.0.lock();
        for metric in scopes.flat_map(|scope| scope.metrics) {
            arrived.extend(series(&metric));
        }
    }
}

fn series(metric: &Metric) -> Vec<(String, f64)> {
    let labels = |attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue]| {
        let mut labels: Vec<_> =
            attributes.iter().map(|label| format!("{}=\"{}\"", label.key, attribute(attributes, &label.key).unwrap())).collect();
        labels.sort();
        if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) }
    };
    let number = |value: Option<Value>| match value {
        Some(Value::AsInt(number)) => number as f64,
        Some(Value::AsDouble(number)) => number,
        None => f64::NAN,
    };
    match metric.data.clone().unwrap() {
        Data::Gauge(gauge) => gauge
            .data_points
            .iter()
            .map(|point| (format!("{}{}", metric.name, labels(&point.attributes)), number(point.value)))
            .collect(),
        Data::Sum(sum) => {
            let suffix = if sum.is_monotonic { "_total" } else { "" };
            let name = |point: &opentelemetry_proto::tonic::metrics::v1::NumberDataPoint| {
                format!("{}{suffix}{}", metric.name, labels(&point.attributes))
            };
            sum.data_points.iter().map(|point| (name(point), number(point.value))).collect()
        }
        Data::Histogram(histogram) => {
            assert_eq!(metric.unit, "s");
            let name = |labels: &str, part: &str| format!("{}_seconds_{part}{labels}", metric.name);
            let parts = histogram.data_points.iter().flat_map(|point| {
                let labels = labels(&point.attributes);
                [(name(&labels, "count"), point.count as f64), (name(&labels, "sum"), point.sum.unwrap())]
            });
            parts.collect()
        }
        other => unreachable!("nothing of ours is {other:?}"),
    }
}

struct Grpc(Received);

#[tonic::async_trait]
impl MetricsService for Grpc {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.0.take(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[expect(clippy::disallowed_methods, reason = "a server of the test")]
async fn grpc() -> (Received, String) {
    let received = Received::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let server = tonic::transport::Server::builder().add_service(MetricsServiceServer::new(Grpc(received.clone())));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    (received, endpoint)
}

#[expect(clippy::disallowed_methods, reason = "a server of the test")]
async fn http() -> (Received, String) {
    async fn export(State(received): State<Received>, body: Bytes) -> StatusCode {
        match ExportMetricsServiceRequest::decode(body) {
            Ok(request) => {
                received.take(request);
                StatusCode::OK
            }
            Err(_) => StatusCode::BAD_REQUEST,
        }
    }
    let received = Received::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/v1/metrics", post(export)).with_state(received.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (received, endpoint)
}

fn telemetry(exporter: MetricsExporter, protocol: Protocol, endpoint: &str) -> Telemetry {
    let mut options = options(Service::Broker);
    options.telemetry.enabled = false;
    options.metrics.exporter = exporter;
    options.metrics.protocol = Some(protocol);
    options.metrics.endpoint = Some(endpoint.to_owned());
    init_with_writer(options, BoxMakeWriter::new(std::io::sink)).unwrap()
}

fn measure(telemetry: &Telemetry) {
    let metrics = telemetry.broker_metrics();
    metrics.http_request(HttpMethod::Get, "/api/v1/stacks", 200, Duration::from_millis(4));
    metrics.database_query(DbOperation::Update, Duration::from_millis(3));
    metrics.agents(3, 1);
    metrics.count_connections(|| (6, 2));
    metrics.heartbeat_age(Duration::from_millis(1_500), Duration::from_secs(90));
}

/// What `/metrics` says, without buckets and without what changes by itself.
fn served(telemetry: &Telemetry) -> BTreeMap<String, f64> {
    let body = telemetry.metrics_endpoint().unwrap().render(None).body;
    let lines = body.lines().filter(|line| !line.starts_with('#') && !line.contains("_bucket"));
    let series =
        lines.map(|line| line.rsplit_once(' ').unwrap()).map(|(series, value)| (series.to_owned(), value.parse().unwrap()));
    series.filter(|(series, _)| !series.starts_with("target_info")).collect()
}

fn still(series: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    series.iter().filter(|(name, _)| !name.starts_with("process_")).map(|(name, value)| (name.clone(), *value)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_over_either_protocol_is_what_is_served() {
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let (received, endpoint) = if protocol == Protocol::Grpc { grpc().await } else { http().await };
        let telemetry = telemetry(MetricsExporter::Both, protocol, &endpoint);
        measure(&telemetry);
        let served = served(&telemetry);
        // The last ones are sent at the end.
        telemetry.shutdown(Duration::from_secs(20)).await;
        let sent = received.0.lock().clone();
        assert_eq!(still(&sent), still(&served), "{protocol:?}");
        assert_eq!(sent.keys().collect::<Vec<_>>(), served.keys().collect::<Vec<_>>(), "process_* as well");
        assert!(sent["process_resident_memory_bytes"] > 0.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_only_sent_is_not_served_and_a_collector_that_is_away_is_in_nobodys_way() {
    let (received, endpoint) = http().await;
    let sending = telemetry(MetricsExporter::Otlp, Protocol::HttpProtobuf, &endpoint);
    assert!(sending.metrics_endpoint().is_none() && sending.measures());
    measure(&sending);
    sending.shutdown(Duration::from_secs(20)).await;
    assert_eq!(received.0.lock()["brokkr_active_agents"], 3.0);
    let astray = telemetry(MetricsExporter::Both, Protocol::Grpc, "nowhere");
    measure(&astray);
    assert!(served(&astray).contains_key("brokkr_active_agents"), "an endpoint that is none leaves the rest as it is");
}
