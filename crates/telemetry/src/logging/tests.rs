use serde_json::Value;
use tracing::info;

use crate::{
    Service, TraceContext,
    capture::{Capture, options},
    config::{LogConfig, LogFormat},
    spans,
};

const INBOUND: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

fn capture(format: LogFormat, level: &str, spans: bool) -> Capture {
    let mut options = options(Service::Broker);
    options.telemetry.log = LogConfig { format, level: level.to_owned() };
    options.telemetry.enabled = spans;
    Capture::with(options).unwrap()
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn a_json_line_is_one_flat_object_with_the_ids_of_its_span() {
    let capture = capture(LogFormat::Json, "info", true);
    let _guard = capture.enter();
    let place = spans::plan().in_scope(|| {
        info!(stack = "shop", objects = 3, ready = true, "planned");
        TraceContext::current().unwrap()
    });
    let line = json(&capture.logs()[0]);
    let expected = [("level", "INFO"), ("message", "planned"), ("service", "brokkr-broker"), ("stack", "shop")];
    for (name, value) in expected {
        assert_eq!(line[name], value, "{line}");
    }
    assert_eq!((&line["objects"], &line["ready"]), (&Value::from(3), &Value::from(true)));
    assert_eq!((&line["trace_id"], &line["span_id"]), (&Value::from(place.trace_id()), &Value::from(place.span_id())));
    assert!(line["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
    assert!(line.as_object().unwrap().values().all(|value| !value.is_object()), "{line}");
}

#[test]
fn a_line_in_a_child_span_carries_the_ids_of_the_child() {
    let capture = capture(LogFormat::Json, "info", true);
    let _guard = capture.enter();
    spans::report().in_scope(|| spans::plan().in_scope(|| info!("inside")));
    let (line, child) = (json(&capture.logs()[0]), capture.span("plan"));
    assert_eq!((&line["trace_id"], &line["span_id"]), (&Value::from(child.trace_id()), &Value::from(child.span_id())));
}

#[test]
fn a_line_outside_of_any_span_has_no_ids() {
    let capture = capture(LogFormat::Json, "info", true);
    let _guard = capture.enter();
    info!("outside");
    assert_eq!(json(&capture.logs()[0]).get("trace_id"), None);
}

#[test]
fn lines_carry_ids_of_traces_that_are_not_sampled_too() {
    let capture = capture(LogFormat::Json, "info", true);
    capture.telemetry().sampler().set_rates(0.0, crate::config::Rates::default());
    let _guard = capture.enter();
    spans::plan().in_scope(|| info!("inside"));
    assert!(capture.spans().is_empty());
    assert_eq!(json(&capture.logs()[0])["trace_id"].as_str().unwrap().len(), 32);
}

#[test]
fn a_human_line_ends_with_the_ids_and_stays_one_line() {
    let capture = capture(LogFormat::Human, "info", true);
    let _guard = capture.enter();
    spans::plan().in_scope(|| info!(stack = "shop", note = "two words", "planned\nINFO forged"));
    let logs = capture.logs();
    let span = capture.span("plan");
    assert_eq!(logs.len(), 1, "{logs:?}");
    let tail =
        format!("planned\\nINFO forged stack=shop note=\"two words\" trace_id={} span_id={}", span.trace_id(), span.span_id());
    assert!(logs[0].ends_with(&tail) && logs[0].contains("  INFO brokkr_telemetry"), "{logs:?}");
}

#[test]
fn the_level_of_the_log_switches_no_span_off() {
    let capture = capture(LogFormat::Json, "error", true);
    let _guard = capture.enter();
    spans::plan().in_scope(|| info!("not said"));
    assert!(capture.logs().is_empty());
    assert_eq!(capture.span("plan").name(), "plan");
}

#[test]
fn the_level_can_differ_by_module() {
    let capture = capture(LogFormat::Json, "warn,brokkr_telemetry::logging=debug", true);
    let _guard = capture.enter();
    tracing::debug!("said");
    info!(target: "elsewhere", "not said");
    assert_eq!(capture.logs().len(), 1);
}

#[test]
fn the_exporters_libraries_are_silent_unless_they_are_named() {
    for (level, lines) in [("info", 0), ("info,opentelemetry_sdk=debug", 1)] {
        let capture = capture(LogFormat::Json, level, true);
        let _guard = capture.enter();
        tracing::error!(target: "opentelemetry_sdk", "a batch failed, as the one before");
        assert_eq!(capture.logs().len(), lines, "{level}");
    }
}

#[test]
fn a_level_that_is_none_is_refused_with_its_text() {
    let mut options = options(Service::Broker);
    options.telemetry.log.level = "brokkr=loud".to_owned();
    let error = Capture::with(options).unwrap_err().to_string();
    assert!(error.contains("telemetry.log.level") && error.contains("brokkr=loud"), "{error}");
}

#[test]
fn a_field_that_sounds_like_a_secret_is_not_written() {
    for format in [LogFormat::Json, LogFormat::Human] {
        let capture = capture(format, "info", true);
        let _guard = capture.enter();
        info!(authorization = "Bearer hush", api_key = "hush", "called");
        let logs = capture.logs().concat();
        assert!(logs.contains("[redacted]") && !logs.contains("hush"), "{logs}");
    }
}

#[test]
fn a_field_cannot_pass_itself_off_as_another() {
    let capture = capture(LogFormat::Json, "info", true);
    let _guard = capture.enter();
    info!(level = "ERROR", service = "other", "said");
    let line = json(&capture.logs()[0]);
    assert_eq!(
        (&line["level"], &line["service"], &line["field.level"]),
        (&Value::from("INFO"), &Value::from("brokkr-broker"), &Value::from("ERROR"))
    );
}

#[test]
fn without_spans_a_line_carries_the_ids_that_the_caller_sent() {
    let capture = capture(LogFormat::Json, "info", false);
    let _guard = capture.enter();
    let inbound = TraceContext::from_parts(INBOUND, None).unwrap();
    let _place = inbound.to_remote_parent().attach();
    info!("served");
    assert_eq!(json(&capture.logs()[0])["trace_id"], "0af7651916cd43dd8448eb211c80319c");
}
