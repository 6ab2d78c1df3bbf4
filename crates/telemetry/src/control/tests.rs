use super::*;
use crate::{
    Service,
    capture::{init_with_writer, options},
    config::Protocol,
    spans,
};
use tracing_subscriber::fmt::writer::BoxMakeWriter;

fn quiet(telemetry: TelemetryConfig) -> crate::Telemetry {
    let options = crate::InitOptions { telemetry, ..options(Service::Broker) };
    init_with_writer(options, BoxMakeWriter::new(std::io::sink)).unwrap()
}

fn off() -> TelemetryConfig {
    TelemetryConfig { enabled: false, ..options(Service::Broker).telemetry }
}

fn on() -> RunTime {
    RunTime { enabled: Some(true), exporter: Some(Exporter::None), ..RunTime::default() }
}

#[tokio::test]
async fn tracing_is_switched_on_and_off_and_on_again_at_places_that_were_passed_before() {
    let telemetry = quiet(off());
    let control = telemetry.control();
    let makes_spans = || tracing::dispatcher::with_default(telemetry.dispatch(), || !spans::report().is_disabled());
    assert!(!makes_spans());
    for _ in 0..2 {
        assert!(control.apply(&on()));
        assert!(makes_spans() && control.status().enabled);
        assert!(!control.apply(&on()), "the same again changes nothing");
        assert!(control.apply(&RunTime::default()), "back to the configuration");
        assert!(!makes_spans() && !control.status().enabled);
    }
}

#[tokio::test]
async fn a_span_that_ends_after_the_end_of_tracing_is_counted_by_that_cause() {
    let telemetry = quiet(off());
    telemetry.control().apply(&on());
    let span = tracing::dispatcher::with_default(telemetry.dispatch(), || {
        let span = spans::report();
        span.in_scope(|| ());
        span
    });
    telemetry.control().apply(&RunTime::default());
    drop(span);
    let metrics = telemetry.metrics_endpoint().unwrap().render(None).body;
    assert!(metrics.contains("brokkr_telemetry_drops_total{cause=\"switched_off\"} 1\n"), "{metrics}");
    assert!(!metrics.contains("\nbrokkr_telemetry_pipeline_up "), "there is no pipeline: {metrics}");
}

#[tokio::test]
async fn an_exporter_that_cannot_be_made_is_told_until_there_is_another_one() {
    let mut config = off();
    config.tls.ca_file = Some("/does/not/exist.pem".into());
    let telemetry = quiet(config);
    let control = telemetry.control();
    let up = || telemetry.metrics_endpoint().unwrap().render(None).body.contains("brokkr_telemetry_pipeline_up 1\n");
    control.apply(&RunTime { enabled: Some(true), endpoint: Some("https://localhost:1".to_owned()), ..RunTime::default() });
    let error = control.status().last_error.unwrap();
    assert!(error.contains("telemetry.tls") && error.contains("/does/not/exist.pem"), "{error}");
    assert!(!up());
    control.apply(&on());
    assert_eq!(control.status().last_error, None);
    assert!(up());
}

#[test]
fn what_is_in_effect_says_where_it_comes_from() {
    let mut base = TelemetryConfig::default().with_endpoint("http://collector:4317");
    base.origins.set("endpoint", "OTEL_EXPORTER_OTLP_ENDPOINT");
    let run_time = RunTime { enabled: Some(true), sampling_rate: Some(1.0), ..RunTime::default() };
    let effective = run_time::effective(&run_time.over(&base), Service::Broker);
    let of = |key: &str| {
        let found = effective.iter().find(|effective| effective.key == key).unwrap();
        (found.value.as_str(), found.source.as_str())
    };
    assert_eq!(of("enabled"), ("true", RUN_TIME));
    assert_eq!(of("sampling_rate"), ("1", RUN_TIME));
    assert_eq!(of("endpoint"), ("http://collector:4317", "OTEL_EXPORTER_OTLP_ENDPOINT"));
    assert_eq!(of("service_name"), ("brokkr-broker", "default"));
}

#[test]
fn another_kind_of_exporter_goes_to_its_own_usual_address() {
    let base = TelemetryConfig::default().with_endpoint("http://collector:9999");
    let jaeger = RunTime { exporter: Some(Exporter::Jaeger), ..RunTime::default() };
    assert_eq!(jaeger.over(&base).effective_endpoint(), "http://localhost:4317");
    let otlp = RunTime { exporter: Some(Exporter::Otlp), ..RunTime::default() };
    assert_eq!(otlp.over(&base).effective_endpoint(), "http://collector:9999");
}

#[test]
fn what_lets_a_process_in_at_its_collector_is_not_sent_to_another_one() {
    let mut base = TelemetryConfig::default().with_endpoint("https://collector:4317");
    base.headers.insert("authorization".to_owned(), "Bearer hush".to_owned());
    base.tls.certificate_file = Some("/c.pem".into());
    base.tls.key_file = Some("/k.pem".into());
    base.tls.ca_file = Some("/ca.pem".into());
    let at = |endpoint: &str| RunTime { endpoint: Some(endpoint.to_owned()), ..RunTime::default() }.over(&base);
    assert_eq!(at("https://collector:4317").headers, base.headers);
    let elsewhere = at("https://elsewhere:4317");
    assert!(elsewhere.headers.is_empty() && elsewhere.tls.key_file.is_none() && elsewhere.tls.certificate_file.is_none());
    assert_eq!(elsewhere.tls.ca_file, base.tls.ca_file);
}

#[test]
fn a_name_or_a_protocol_is_another_way_and_a_rate_is_not() {
    let base = TelemetryConfig::default();
    let other = |run_time: RunTime| is_other_way(&base, &run_time.over(&base));
    assert!(other(RunTime { service_name: Some("x".to_owned()), ..RunTime::default() }));
    assert!(other(RunTime { protocol: Some(Protocol::HttpProtobuf), ..RunTime::default() }));
    assert!(!other(RunTime { sampling_rate: Some(0.5), ..RunTime::default() }));
}
