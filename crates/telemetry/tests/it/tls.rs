//! Exports over TLS, to a receiver that is real: whom the exporter believes, and how it shows who it is.

use std::{path::PathBuf, time::Duration};

use brokkr_telemetry::config::{Protocol, TelemetryConfig, TlsConfig};
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use tempfile::TempDir;
use tonic::transport::{Certificate, Identity};

use crate::{
    export::{LONG, config, trace_something, with},
    receiver,
};

/// A certificate that signs itself, with its key, in files and in memory.
struct Pair {
    certificate: String,
    key: String,
    folder: TempDir,
}

impl Pair {
    fn new(name: &str) -> Self {
        let CertifiedKey { cert, signing_key }: CertifiedKey<KeyPair> = generate_simple_self_signed([name.to_owned()]).unwrap();
        let pair = Self { certificate: cert.pem(), key: signing_key.serialize_pem(), folder: tempfile::tempdir().unwrap() };
        std::fs::write(pair.certificate_file(), &pair.certificate).unwrap();
        std::fs::write(pair.key_file(), &pair.key).unwrap();
        pair
    }

    fn certificate_file(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    fn key_file(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    fn identity(&self) -> Identity {
        Identity::from_pem(&self.certificate, &self.key)
    }
}

const PROTOCOLS: [Protocol; 2] = [Protocol::Grpc, Protocol::HttpProtobuf];

fn of(protocol: Protocol, endpoint: &str, tls: TlsConfig) -> TelemetryConfig {
    let mut config = config(endpoint);
    (config.protocol, config.tls, config.retry) = (protocol, tls, Duration::ZERO);
    config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_reach_a_collector_whose_certificate_is_believed() {
    for protocol in PROTOCOLS {
        let collector = Pair::new("localhost");
        let (received, endpoint) = receiver::tls(collector.identity(), None).await;
        let tls = TlsConfig { ca_file: Some(collector.certificate_file()), ..TlsConfig::default() };
        let (telemetry, _) = with(of(protocol, &endpoint, tls));
        trace_something(&telemetry);
        let status = telemetry.shutdown(LONG).await;
        assert_eq!((status.exported, status.failed), (2, 0), "{protocol:?}: {:?}", status.last_error);
        assert_eq!(received.names(), ["poll", "report"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_not_believed_gets_nothing() {
    for protocol in PROTOCOLS {
        let (collector, other) = (Pair::new("localhost"), Pair::new("localhost"));
        let (received, endpoint) = receiver::tls(collector.identity(), None).await;
        for ca_file in [None, Some(other.certificate_file())] {
            let (telemetry, _) = with(of(protocol, &endpoint, TlsConfig { ca_file, ..TlsConfig::default() }));
            trace_something(&telemetry);
            let status = telemetry.shutdown(LONG).await;
            assert_eq!((status.exported, status.failed), (0, 2), "{protocol:?}");
            assert!(status.last_error.is_some());
        }
        assert!(received.spans().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_asks_for_a_certificate_is_shown_one() {
    for protocol in PROTOCOLS {
        let (collector, client) = (Pair::new("localhost"), Pair::new("brokkr"));
        let (received, endpoint) = receiver::tls(collector.identity(), Some(Certificate::from_pem(&client.certificate))).await;
        let without = TlsConfig { ca_file: Some(collector.certificate_file()), ..TlsConfig::default() };
        let own =
            TlsConfig { certificate_file: Some(client.certificate_file()), key_file: Some(client.key_file()), ..without.clone() };
        for (tls, exported) in [(without, 0), (own, 2)] {
            let (telemetry, _) = with(of(protocol, &endpoint, tls));
            trace_something(&telemetry);
            let status = telemetry.shutdown(LONG).await;
            assert_eq!(status.exported, exported, "{protocol:?}: {:?}", status.last_error);
        }
        assert_eq!(received.names(), ["poll", "report"]);
    }
}

#[tokio::test]
async fn files_that_cannot_be_used_are_told_by_name() {
    let pair = Pair::new("localhost");
    let missing = TlsConfig { ca_file: Some("/does/not/exist.pem".into()), ..TlsConfig::default() };
    let no_certificate = TlsConfig { ca_file: Some(pair.key_file()), ..TlsConfig::default() };
    for protocol in PROTOCOLS {
        for (tls, named) in [(missing.clone(), "/does/not/exist.pem"), (no_certificate.clone(), "key.pem")] {
            let error = with(of(protocol, "https://localhost:1", tls)).0.status().last_error.unwrap();
            assert!(error.contains("telemetry.tls") && error.contains(named), "{error}");
        }
    }
}
