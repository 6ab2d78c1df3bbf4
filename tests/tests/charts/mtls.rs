//! The example in which a collector beside a daemon shows a certificate to the gateway, with both of them real.

use std::fs;

use brokkr_tests::{
    fleet::LIMIT,
    otlp::{Receiver, Where},
};
use opentelemetry::trace::Status;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::{Certificate, Identity};

use crate::{
    collector::{Collector, POD, Sender, named},
    helm::{Helm, find, objects, repository},
};

const GATEWAY: &str = "otel-gateway.observability";

/// An authority, and what it has signed.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate and its key.
    fn sign(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let signed = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        (signed.pem(), key.serialize_pem())
    }
}

/// The collector beside the daemon, as its chart renders it with the example's values; only the address is another one.
async fn sidecar(daemon: &str, port: u16) -> String {
    let values = repository().join("deploy/examples/mtls/values.yaml").display().to_string();
    // The name in the certificate stays that of the Service.
    let here = format!("tracing.collector.sidecar.endpoint=127.0.0.1:{port},tracing.collector.sidecar.tls.serverName={GATEWAY}");
    let rendered = Helm::alone().await.template(daemon, "brokkr-system", &["--values", &values, "--set", &here]).unwrap();
    find(&objects(&rendered), "ConfigMap", "-collector")["data"]["config.yaml"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_takes_spans_from_who_shows_a_certificate_and_from_nobody_else() {
    let ours = Authority::new();
    let (certificate, key) = ours.sign(GATEWAY);
    let authority = ours.0.pem();
    let files =
        [("otelcol-tls/tls.crt", certificate.as_str()), ("otelcol-tls/tls.key", &key), ("otelcol-tls/ca.crt", &authority)];
    let example = |file: &str| fs::read_to_string(repository().join("deploy/examples").join(file)).unwrap();
    let backend = Receiver::start(Where::default()).unwrap();
    let settings = [("BACKEND", backend.grpc_address().to_string()), ("DECISION_WAIT", "1s".to_owned())];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let over = example("mtls/gateway.yaml");
    let gateway = Collector::with(&example("gateway/collector.yaml"), Some(&over), &files, &settings).await;

    for (daemon, span) in [("broker", "of the broker"), ("agent", "of the agent")] {
        let (certificate, key) = ours.sign("sender");
        let files = [
            ("otelcol/ca/ca.crt", authority.as_str()),
            ("otelcol/client/tls.crt", &certificate),
            ("otelcol/client/tls.key", &key),
        ];
        let collector = Collector::with(&sidecar(daemon, gateway.grpc).await, None, &files, &POD).await;
        let sender = Sender::to(&collector);
        // With an error, because the gateway keeps few of the others.
        sender.send(span, &[], Status::error("full"));
        sender.finish().await;
        backend.wait_for(span, LIMIT, |spans| named(spans, span).is_some()).await.unwrap();
    }

    let stranger = Authority::new();
    assert!(!lets_in(&gateway, &authority, None).await, "without a certificate");
    assert!(!lets_in(&gateway, &authority, Some(stranger.sign("sender"))).await, "with one of another authority");
    assert!(lets_in(&gateway, &authority, Some(ours.sign("sender"))).await);
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
