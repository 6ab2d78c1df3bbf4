use super::*;

#[test]
fn an_empty_section_is_the_defaults_of_the_reference() {
    let config: TelemetryConfig = toml::from_str("").unwrap();
    assert_eq!(config, TelemetryConfig::default());
    assert!(!config.enabled);
    assert_eq!(config.effective_endpoint(), "http://localhost:4317");
    assert_eq!((config.sampling_rate, config.rates.poll, config.rates.probe), (0.1, 0.01, 0.0));
}

#[test]
fn the_port_follows_the_protocol_unless_an_endpoint_is_set() {
    let http: TelemetryConfig = toml::from_str("protocol = \"http/protobuf\"").unwrap();
    assert_eq!(http.effective_endpoint(), "http://localhost:4318");
    assert_eq!(http.with_endpoint("http://collector:1").effective_endpoint(), "http://collector:1");
}

#[test]
fn durations_are_written_as_people_write_them() {
    let config: TelemetryConfig = toml::from_str("timeout = \"500ms\"\n[batch]\ndelay = \"1s\"").unwrap();
    assert_eq!((config.timeout, config.batch.delay), (Duration::from_millis(500), Duration::from_secs(1)));
    let error = toml::from_str::<TelemetryConfig>("timeout = \"soon\"").unwrap_err().to_string();
    assert!(error.contains("timeout") && error.contains("10s"), "{error}");
}

#[test]
fn an_unknown_key_is_an_error() {
    assert!(toml::from_str::<TelemetryConfig>("sample_rate = 1.0").unwrap_err().to_string().contains("sample_rate"));
}

#[test]
fn values_of_headers_are_not_shown() {
    let config: TelemetryConfig = toml::from_str("headers = { authorization = \"Bearer hush\" }").unwrap();
    let shown = format!("{config:?}");
    assert!(shown.contains("authorization") && !shown.contains("hush"), "{shown}");
}
