//! The example in which a collector beside a daemon shows a certificate to the gateway, with both of them real.

use brokkr_tests::otlp::{Receiver, Where};
use reqwest::{Certificate, Identity};
use serde_json::json;

use crate::{
    authority::Authority,
    collector::Collector,
    configurations::{example, rendered},
    helm::{CHARTS, repository},
    passage::{Pair, arrive},
};

const GATEWAY: &str = "otel-gateway.observability";

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_takes_spans_from_who_shows_a_certificate_and_from_nobody_else() {
    let ours = Authority::new();
    let backend = Receiver::start(Where::default()).unwrap();
    let mut gateway = example("gateway/collector.yaml");
    gateway.layers.extend(example("mtls/gateway.yaml").layers);
    gateway.files.extend(ours.secret(&[GATEWAY]).map(|(key, text)| (format!("/etc/otelcol-tls/{key}"), text)));
    let settings = [("BACKEND", backend.grpc_address().to_string()), ("DECISION_WAIT", "2s".to_owned())];
    gateway.environment.extend(settings.map(|(name, value)| (name.to_owned(), value)));
    let gateway = Collector::start(&gateway).await;

    let values = repository().join("deploy/examples/mtls/values.yaml").display().to_string();
    // The name in the certificate stays that of the Service.
    let name = format!("tracing.collector.sidecar.tls.serverName={GATEWAY}");
    let mut pair = Pair::start().await;
    for daemon in CHARTS {
        let sidecar = rendered(daemon, "by mTLS to the gateway", &["--values", &values, "--set", &name]).await;
        let mut sidecar = sidecar.with_certificates(&ours, "sender");
        for (_, exporter) in sidecar.exporters() {
            exporter["endpoint"] = json!(format!("127.0.0.1:{}", gateway.grpc));
        }
        let collector = Collector::start(&sidecar).await;
        arrive(&backend, &pair.send_through(&collector).await, &sidecar.name).await;
    }

    let stranger = Authority::new();
    assert!(!lets_in(&gateway, &ours.pem(), None).await, "without a certificate");
    assert!(!lets_in(&gateway, &ours.pem(), Some(stranger.sign(&["sender"]))).await, "with one of another authority");
    assert!(lets_in(&gateway, &ours.pem(), Some(ours.sign(&["sender"]))).await);
}

/// Whether the gateway's other door, for HTTP, takes a request.
async fn lets_in(gateway: &Collector, authority: &str, shown: Option<(String, String)>) -> bool {
    let here = ([127, 0, 0, 1], gateway.http).into();
    let mut client =
        reqwest::Client::builder().tls_certs_only([Certificate::from_pem(authority.as_bytes()).unwrap()]).resolve(GATEWAY, here);
    if let Some((certificate, key)) = shown {
        client = client.identity(Identity::from_pem(format!("{certificate}{key}").as_bytes()).unwrap());
    }
    let request = client.build().unwrap().post(format!("https://{GATEWAY}:{}/v1/traces", gateway.http));
    let sent = request.header("content-type", "application/json").body("{}").send().await;
    sent.is_ok_and(|answer| answer.status().is_success())
}
