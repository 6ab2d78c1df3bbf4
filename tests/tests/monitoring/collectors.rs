//! Traces do not arrive.

use brokkr_tests::{
    collector::Collector,
    fleet::{Broker, Engine, LIMIT},
    otlp::{Receiver, Where},
    prometheus::Target,
};

use crate::world::{of_broker, watch, while_busy};

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_is_gone_and_a_collector_that_is_gone_are_told_apart() {
    let backend = Receiver::start(Where::default()).unwrap();
    let mut collector = Collector::start(&backend.grpc_address().to_string()).await.unwrap();
    let endpoint = collector.endpoint.clone();
    let telemetry = [
        ("BROKKR__TELEMETRY__ENABLED", "true"),
        ("BROKKR__TELEMETRY__ENDPOINT", endpoint.as_str()),
        ("BROKKR__TELEMETRY__SAMPLING_RATE", "1.0"),
        ("BROKKR__TELEMETRY__BATCH__DELAY", "200ms"),
        // What cannot be sent is lost at once, and not after ten seconds of trying.
        ("BROKKR__TELEMETRY__RETRY", "0s"),
        ("BROKKR__TELEMETRY__TIMEOUT", "500ms"),
    ];
    let broker = Broker::start(Engine::Sqlite, &telemetry).await.unwrap();
    let prometheus = watch(&[of_broker(&broker), Target::new("brokkr-collector", &collector.own_metrics)]).await;
    let arrives = "brokkr:collector_spans_sent:rate5m > 0";
    while_busy(&broker, prometheus.wait_for(arrives, LIMIT, |answer| !answer.is_empty())).await.unwrap();

    drop(backend);
    let failing = while_busy(&broker, prometheus.fires("BrokkrCollectorSendFailing", LIMIT)).await.unwrap();
    assert_eq!(failing.labels["exporter"], "otlp_grpc");
    let elsewhere = prometheus.alerts().await.unwrap();
    assert!(
        !elsewhere.iter().any(|alert| alert.name() == "BrokkrTelemetryFailing"),
        "the broker got rid of its spans: {elsewhere:?}"
    );

    collector.process.kill();
    let told = async {
        let down = prometheus.fires("BrokkrCollectorDown", LIMIT).await.unwrap();
        assert!(collector.own_metrics.ends_with(&down.labels["instance"]), "{}", down.say());
        let lost = prometheus.fires("BrokkrTelemetryFailing", LIMIT).await.unwrap();
        assert_eq!(lost.labels["job"], "brokkr-broker");
        prometheus.fires("BrokkrTracesMissing", LIMIT).await.unwrap();
    };
    while_busy(&broker, told).await;
    collector.again().await.unwrap();
    let over = async {
        for alert in ["BrokkrCollectorDown", "BrokkrTelemetryFailing", "BrokkrTracesMissing"] {
            prometheus.resolves(alert, LIMIT).await.unwrap();
        }
    };
    while_busy(&broker, over).await;
}
