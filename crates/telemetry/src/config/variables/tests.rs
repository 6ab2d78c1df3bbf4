use super::*;

fn read(variables: &[(&str, &str)]) -> Standard {
    standard(&variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

/// The values by their dotted place below `telemetry`.
fn values(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    let read = read(variables);
    assert!(read.notes.is_empty(), "{:?}", read.notes);
    let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    read.settings.into_iter().map(|(keys, (value, _))| (keys[1..].join("/"), text(value))).collect()
}

#[track_caller]
fn expect(variables: &[(&str, &str)], expected: &[(&str, &str)]) {
    let expected: BTreeMap<_, _> = expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    assert_eq!(values(variables), expected, "{variables:?}");
}

#[track_caller]
fn ignored_with_a_note(variables: &[(&str, &str)]) {
    let read = read(variables);
    assert!(read.settings.is_empty(), "{:?}", read.settings);
    assert_eq!(read.notes.len(), 1, "{:?}", read.notes);
    assert!(read.notes[0].contains(variables[0].0) && read.notes[0].contains("has no effect"), "{:?}", read.notes);
}

#[test]
fn each_variable_sets_its_key() {
    expect(&[("OTEL_SERVICE_NAME", "shop")], &[("service_name", "shop")]);
    expect(&[("OTEL_SERVICE_VERSION", "3")], &[("service_version", "3")]);
    expect(&[("RUST_ENV", "staging")], &[("environment", "staging")]);
    expect(&[("K8S_POD_NAME", "broker-0"), ("K8S_OTHER", "x")], &[("resource/k8s.pod.name", "broker-0")]);
    expect(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")], &[("protocol", "http/protobuf")]);
    expect(&[("OTEL_EXPORTER_OTLP_TIMEOUT", "2500")], &[("timeout", "2500ms")]);
    expect(&[("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")], &[("compression", "gzip")]);
    expect(&[("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem")], &[("tls/ca_file", "/ca.pem")]);
    expect(&[("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/c.pem")], &[("tls/certificate_file", "/c.pem")]);
    expect(&[("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/k.pem")], &[("tls/key_file", "/k.pem")]);
    expect(&[("OTEL_BSP_SCHEDULE_DELAY", "100")], &[("batch/delay", "100ms")]);
    expect(&[("OTEL_BSP_MAX_QUEUE_SIZE", "9")], &[("batch/queue_size", "9")]);
    expect(&[("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "3")], &[("batch/batch_size", "3")]);
    expect(&[("OTEL_TRACES_EXPORTER", "none")], &[("exporter", "none")]);
    expect(&[("OTEL_ENABLED", "on")], &[("enabled", "true")]);
    expect(&[("OTEL_SAMPLING_RATE", "0.25")], &[("sampling_rate", "0.25")]);
}

#[test]
fn a_variable_of_traces_wins_over_the_one_of_every_signal() {
    let of = |name: &str, general: &str, traces: &str| {
        let (general_name, traces_name) = (format!("OTEL_EXPORTER_OTLP_{name}"), format!("OTEL_EXPORTER_OTLP_TRACES_{name}"));
        values(&[(&general_name, general), (&traces_name, traces)]).into_values().collect::<Vec<_>>()
    };
    assert_eq!(of("ENDPOINT", "http://a:1", "http://b:1"), ["http://b:1"]);
    assert_eq!(of("PROTOCOL", "grpc", "http/protobuf"), ["http/protobuf"]);
    assert_eq!(of("HEADERS", "a=1,b=2", "c=3"), ["3"]);
    assert_eq!(of("TIMEOUT", "1", "2"), ["2ms"]);
    assert_eq!(of("COMPRESSION", "gzip", "none"), ["none"]);
    for name in ["CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"] {
        assert_eq!(of(name, "/a", "/b"), ["/b"]);
    }
}

#[test]
fn an_endpoint_of_every_signal_is_a_base_and_one_of_traces_is_whole() {
    let endpoint = |name: &str, value: &str| values(&[(name, value)])["endpoint"].clone();
    for name in ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTLP_EXPORTER_ENDPOINT"] {
        assert_eq!(endpoint(name, "http://c:4318"), "http://c:4318");
        assert_eq!(endpoint(name, "http://c:4318/"), "http://c:4318/");
        assert_eq!(endpoint(name, "http://c/otlp/"), "http://c/otlp/v1/traces");
        assert_eq!(endpoint(name, "http://c:14268/api/traces"), "http://c:14268/api/traces");
    }
    assert_eq!(endpoint("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c/x"), "http://c/x");
}

#[test]
fn an_endpoint_or_an_exporter_asks_for_spans_and_none_does_not() {
    assert_eq!(read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:1")]).asks, Some("OTEL_EXPORTER_OTLP_ENDPOINT"));
    assert_eq!(read(&[("OTEL_TRACES_EXPORTER", "otlp")]).asks, Some("OTEL_TRACES_EXPORTER"));
    assert_eq!(read(&[("OTEL_TRACES_EXPORTER", "none"), ("OTEL_SERVICE_NAME", "x")]).asks, None);
}

#[test]
fn attributes_of_the_resource_are_decoded_and_the_well_known_ones_are_keys_of_their_own() {
    let text = "service.name=a,service.version=2,deployment.environment.name=prod,team=x%2Cy , k8s.pod.uid=u";
    let expected = [
        ("service_name", "a"),
        ("service_version", "2"),
        ("environment", "prod"),
        ("resource/team", "x,y"),
        ("resource/k8s.pod.uid", "u"),
    ];
    expect(&[("OTEL_RESOURCE_ATTRIBUTES", text)], &expected);
    expect(&[("OTEL_RESOURCE_ATTRIBUTES", "service.name=a"), ("OTEL_SERVICE_NAME", "b")], &[("service_name", "b")]);
    expect(&[("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=a"), ("RUST_ENV", "b")], &[("environment", "a")]);
    ignored_with_a_note(&[("OTEL_RESOURCE_ATTRIBUTES", "team")]);
    ignored_with_a_note(&[("OTEL_RESOURCE_ATTRIBUTES", "a=%ff")]);
}

#[test]
fn headers_are_decoded_and_their_values_are_never_told() {
    expect(&[("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20hush")], &[("headers/authorization", "Bearer hush")]);
    let read = read(&[("OTEL_EXPORTER_OTLP_HEADERS", "hush")]);
    assert!(read.settings.is_empty() && !read.notes.concat().contains("hush"), "{read:?}");
}

#[test]
fn samplers_become_a_rate_and_say_whether_a_parent_counts() {
    let sampler = |name: &'static str| ("OTEL_TRACES_SAMPLER", name);
    expect(&[sampler("parentbased_always_on")], &[("sampling_rate", "1.0")]);
    expect(&[sampler("parentbased_always_off")], &[("sampling_rate", "0.0")]);
    expect(&[sampler("parentbased_traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0.5")], &[("sampling_rate", "0.5")]);
    expect(&[sampler("parentbased_traceidratio")], &[("sampling_rate", "1.0")]);
    expect(&[sampler("always_on")], &[("sampling_rate", "1.0"), ("trust_inbound", "false")]);
    let both = [sampler("traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0.5"), ("OTEL_SAMPLING_RATE", "0.1")];
    expect(&both, &[("sampling_rate", "0.5"), ("trust_inbound", "false")]);
    ignored_with_a_note(&[sampler("parentbased_jaeger_remote")]);
    ignored_with_a_note(&[("OTEL_TRACES_SAMPLER_ARG", "0.5")]);
}

#[test]
fn a_rate_that_is_no_number_and_a_switch_that_is_no_switch_stay_text_for_the_configuration_to_refuse() {
    expect(&[("OTEL_SAMPLING_RATE", "lots")], &[("sampling_rate", "lots")]);
    expect(&[("OTEL_ENABLED", "perhaps")], &[("enabled", "perhaps")]);
    expect(&[("OTEL_SAMPLING_RATE", "NaN")], &[("sampling_rate", "NaN")]);
}

#[test]
fn disabled_wins_and_says_nothing_unless_it_is_true() {
    expect(&[("OTEL_SDK_DISABLED", "TRUE"), ("OTEL_ENABLED", "true")], &[("enabled", "false")]);
    expect(&[("OTEL_SDK_DISABLED", "false")], &[]);
}

#[test]
fn what_is_not_understood_is_told_and_has_no_effect() {
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_METRICS_EXPORTER", "otlp"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://c"),
        ("OTEL_PROPAGATORS", "b3"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "1"),
        ("OTEL_SOMETHING_NEW", "1"),
    ] {
        ignored_with_a_note(&[(name, value)]);
    }
    expect(&[("OTEL_METRICS_EXPORTER", "none"), ("OTEL_PROPAGATORS", "tracecontext"), ("OTEL_SERVICE_NAME", " ")], &[]);
}

#[test]
fn no_variable_stands_twice_in_the_table_and_none_is_hidden_by_a_pattern() {
    for (at, variable) in VARIABLES.iter().enumerate() {
        let others = VARIABLES.iter().enumerate().filter(|(other, _)| *other != at);
        assert!(!others.into_iter().any(|(_, other)| other.is(variable.name)), "{}", variable.name);
    }
}
