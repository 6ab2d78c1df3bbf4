//! How metrics leave the daemons.

use std::collections::BTreeMap;

use axum::{Router, body::Bytes, routing::post};
use brokkr_tests::{
    fleet::{Broker, Engine, LIMIT, wait_for_metric},
    http::client,
    lab::{free_port, until},
    otlp::{Receiver, traced},
};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message;
use tokio::{net::TcpListener, sync::watch};

use super::truth::scrape;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0";

async fn status(url: &str) -> u16 {
    client().unwrap().get(url).send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_may_have_a_path_and_a_port_of_their_own() {
    let own = format!("127.0.0.1:{}", free_port().unwrap());
    let settings = [("BROKKR__METRICS__LISTEN", own.as_str()), ("BROKKR__METRICS__PATH", "/own/metrics")];
    let broker = Broker::start(Engine::Sqlite, &settings).await.unwrap();
    let text = client().unwrap().get(format!("http://{own}/own/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(text.contains("brokkr_build_info"), "{text}");
    assert_eq!(status(&format!("http://{own}/readyz")).await, 404, "nothing else is there");
    for path in ["/metrics", "/own/metrics"] {
        assert_eq!(status(&format!("{}{path}", broker.base)).await, 404, "{path}");
    }
    let beside = Broker::start(Engine::Sqlite, &[("BROKKR__METRICS__PATH", "/own/metrics")]).await.unwrap();
    assert_eq!(status(&format!("{}/own/metrics", beside.base)).await, 200);
    assert_eq!(status(&format!("{}/metrics", beside.base)).await, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_that_are_off_are_not_found() {
    let off = [("BROKKR__METRICS__ENABLED", "false")];
    let broker = Broker::start(Engine::Sqlite, &off).await.unwrap();
    let agent = broker.agent("silent", &off).await.unwrap();
    for base in [&broker.base, &agent.base] {
        assert_eq!(status(&format!("{base}/metrics")).await, 404);
        assert_eq!(status(&format!("{base}/readyz")).await, 200);
    }
}

/// Series of a scrape without what changes by itself, numbers in one spelling.
fn series(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.starts_with("process_") && !line.contains("_bucket"));
    lines
        .map(|line| line.split(" # ").next().unwrap().rsplit_once(' ').unwrap())
        .map(|(series, value)| (series.to_owned(), value.parse().unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_formats_of_both_daemons_have_the_same_series() {
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let agent = broker.agent("twice", &[]).await.unwrap();
    for base in [&broker.base, &agent.base] {
        scrape(base, OPENMETRICS).await;
        let names = async |accept: &str| series(&scrape(base, accept).await).into_keys().collect::<Vec<_>>();
        assert_eq!(names("text/plain").await, names(OPENMETRICS).await, "{base}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trace_of_an_exemplar_is_one_that_was_sent() {
    let receiver = Receiver::shared();
    let endpoint = receiver.grpc_endpoint();
    let broker = Broker::start(Engine::Sqlite, &traced(&endpoint)).await.unwrap();
    broker.stack("shop", &[]).await;
    let text = scrape(&broker.base, OPENMETRICS).await;
    let of = "brokkr_http_request_duration_seconds_bucket{endpoint=\"/api/v1/stacks/{stack}\",method=\"PUT\"";
    let line = text.lines().find(|line| line.starts_with(of) && line.contains("trace_id=\"")).unwrap_or_else(|| panic!("{text}"));
    let trace = line.split("trace_id=\"").nth(1).unwrap().split('"').next().unwrap();
    receiver.wait_for_trace(trace, &["PUT /api/v1/stacks/{stack}"], LIMIT).await.unwrap();
    wait_for_metric(&broker.base, "brokkr_telemetry_spans_total{result=\"exported\"}", |spans| spans > 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_that_a_collector_does_not_take_are_counted_by_their_cause() {
    let nobody = format!("http://127.0.0.1:{}", free_port().unwrap());
    let telemetry = [&traced(&nobody)[..], &[("BROKKR__TELEMETRY__RETRY", "0s")]].concat();
    let broker = Broker::start(Engine::Sqlite, &telemetry).await.unwrap();
    broker.stack("shop", &[]).await;
    wait_for_metric(&broker.base, "brokkr_telemetry_pipeline_up", |up| up == 0.0).await;
    let found = series(&scrape(&broker.base, "text/plain").await);
    let lost = found["brokkr_telemetry_drops_total{cause=\"export_failed\"}"];
    assert!(lost > 0.0, "{found:#?}");
    assert_eq!(lost, found["brokkr_telemetry_spans_total{result=\"failed\"}"]);
    assert_eq!(found["brokkr_telemetry_drops_total{cause=\"queue_full\"}"], 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_without_prometheus_sends_what_it_measures() {
    let (arrived, mut arrives) = watch::channel(Vec::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let export = move |body: Bytes| {
        let request = ExportMetricsServiceRequest::decode(body).unwrap();
        let scopes = request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
        arrived.send_replace(scopes.flat_map(|scope| scope.metrics).map(|metric| metric.name).collect());
        std::future::ready("")
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/v1/metrics", post(export))).await });
    let settings = [
        ("BROKKR__METRICS__EXPORTER", "otlp"),
        ("BROKKR__METRICS__INTERVAL", "1s"),
        ("BROKKR__TELEMETRY__PROTOCOL", "http/protobuf"),
        ("BROKKR__TELEMETRY__ENDPOINT", endpoint.as_str()),
    ];
    let broker = Broker::start(Engine::Sqlite, &settings).await.unwrap();
    let names = ["brokkr_build_info", "brokkr_stacks_total", "brokkr_database_queries", "process_resident_memory_bytes"];
    let look = || {
        let found = arrives.borrow_and_update().clone();
        std::future::ready(if names.iter().all(|name| found.contains(&(*name).to_owned())) {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        })
    };
    until("the metrics to arrive", LIMIT, look).await.unwrap();
    assert_eq!(status(&format!("{}/metrics", broker.base)).await, 404, "who has them sent need not serve them");
}
