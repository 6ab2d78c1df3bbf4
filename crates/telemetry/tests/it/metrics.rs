//! The catalogue of metrics, in both formats.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use brokkr_telemetry::{
    Service,
    capture::{Capture, options},
    metrics::{
        AGENT, BROKER, DbOperation, FailureClass, HttpMethod, KubeOperation, MetricKind, OpResult, PROCESS, PollResult,
        ReconcileAction, catalogue,
    },
    spans,
};

const OPENMETRICS: &str = "application/openmetrics-text;version=1.0.0";

fn capture(service: Service) -> Capture {
    Capture::with(options(service)).unwrap()
}

fn text(capture: &Capture, accept: Option<&str>) -> String {
    capture.telemetry().metrics_endpoint().unwrap().render(accept).body
}

/// Series and values, numbers in one spelling.
fn series(body: &str) -> BTreeMap<String, f64> {
    let lines = body.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let line = line.split(" # ").next().unwrap();
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (series, le) = match series.split_once("le=\"") {
                Some((head, tail)) => (head, tail.split('"').next().unwrap().parse::<f64>().unwrap().to_string()),
                None => (series, String::new()),
            };
            (format!("{series}{le}"), value.parse().unwrap())
        })
        .collect()
}

/// `# TYPE` lines.
fn types(body: &str) -> BTreeSet<(String, String)> {
    let types = body.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
}

fn measure_broker(capture: &Capture) {
    let metrics = capture.telemetry().broker_metrics();
    metrics.http_request(HttpMethod::Put, "/api/v1/stacks/{stack}", 201, Duration::from_millis(30));
    metrics.http_request(HttpMethod::Get, "unmatched", 404, Duration::from_millis(1));
    metrics.poll_waited(Duration::from_secs(30));
    metrics.database_query(DbOperation::Select, Duration::from_micros(700));
    metrics.agents(3, 1);
    metrics.heartbeat_age(Duration::from_secs(2), Duration::from_secs(90));
    metrics.woken(Duration::from_millis(20));
    metrics.deployment_applied(Duration::from_secs(4));
    metrics.count_connections(|| (6, 2));
    metrics.database_connections_max.set(8);
    metrics.deployments(|phase| if phase == "applied" { 7 } else { 0 });
    metrics.rollout_oldest_unsettled.set_span(Duration::from_secs(11));
    metrics.queue("deliveries", 2, Duration::from_secs(12));
    metrics.job_ran("retention", OpResult::Success, Duration::from_millis(5));
    metrics.certificate_expiry.set(SystemTime::UNIX_EPOCH + Duration::from_secs(13));
    metrics.key_next_expiry.set(SystemTime::UNIX_EPOCH + Duration::from_secs(14));
    std::mem::forget(metrics.poll_waiters.enter());
    drop(metrics.poll_waiters.enter());
    metrics.stacks_total.set(5);
    metrics.deployment_objects_total.set(8);
}

fn measure_agent(capture: &Capture) {
    let metrics = capture.telemetry().agent_metrics();
    metrics.poll(PollResult::Empty, Duration::from_secs(30));
    metrics.kubernetes_operation(KubeOperation::Apply, OpResult::Error, Duration::from_millis(20));
    metrics.heartbeat_sent();
    metrics.stacks.by(|| 4);
    metrics.count_objects(|| vec![("healthy", 3), ("degraded", 1)]);
    metrics.reconciled(ReconcileAction::Delete, Duration::from_millis(300));
    metrics.failed(FailureClass::Forbidden);
    metrics.drift_repaired(2);
    metrics.drift_contested.by(|| 1);
    metrics.prunes_refused(5);
    metrics.leader.by(|| 1);
    metrics.last_successful_poll_timestamp.set(SystemTime::UNIX_EPOCH + Duration::from_millis(1_500));
}

#[test]
fn the_brokers_metrics_have_their_names_labels_and_values() {
    let capture = capture(Service::Broker);
    measure_broker(&capture);
    let expected = [
        ("brokkr_http_requests_total{endpoint=\"/api/v1/stacks/{stack}\",method=\"PUT\",status=\"201\"}", 1.0),
        ("brokkr_http_requests_total{endpoint=\"unmatched\",method=\"GET\",status=\"404\"}", 1.0),
        ("brokkr_http_request_duration_seconds_bucket{endpoint=\"/api/v1/stacks/{stack}\",method=\"PUT\",le=\"0.025\"}", 0.0),
        ("brokkr_http_request_duration_seconds_bucket{endpoint=\"/api/v1/stacks/{stack}\",method=\"PUT\",le=\"0.05\"}", 1.0),
        ("brokkr_http_request_duration_seconds_count{endpoint=\"unmatched\",method=\"GET\"}", 1.0),
        ("brokkr_poll_wait_seconds_sum", 30.0),
        ("brokkr_database_queries_total{operation=\"select\"}", 1.0),
        ("brokkr_database_queries_total{operation=\"delete\"}", 0.0),
        ("brokkr_database_query_duration_seconds_sum{operation=\"select\"}", 0.0007),
        ("brokkr_active_agents", 3.0),
        ("brokkr_agents{state=\"online\"}", 3.0),
        ("brokkr_agents{state=\"offline\"}", 1.0),
        ("brokkr_agent_heartbeat_age_seconds{stat=\"median\"}", 2.0),
        ("brokkr_agent_heartbeat_age_seconds{stat=\"max\"}", 90.0),
        ("brokkr_poll_waiters", 1.0),
        ("brokkr_wakeup_lag_seconds_sum", 0.02),
        ("brokkr_rollout_duration_seconds_sum", 4.0),
        ("brokkr_rollout_oldest_unsettled_seconds", 11.0),
        ("brokkr_database_connections{state=\"idle\"}", 6.0),
        ("brokkr_database_connections{state=\"used\"}", 2.0),
        ("brokkr_database_connections_max", 8.0),
        ("brokkr_deployments{phase=\"applied\"}", 7.0),
        ("brokkr_deployments{phase=\"orphaned\"}", 0.0),
        ("brokkr_queue_depth{queue=\"deliveries\"}", 2.0),
        ("brokkr_queue_oldest_age_seconds{queue=\"deliveries\"}", 12.0),
        ("brokkr_job_runs_total{name=\"retention\",result=\"success\"}", 1.0),
        ("brokkr_job_runs_total{name=\"key-age\",result=\"error\"}", 0.0),
        ("brokkr_job_duration_seconds_count{name=\"retention\"}", 1.0),
        ("brokkr_certificate_expiry_timestamp_seconds", 13.0),
        ("brokkr_key_next_expiry_timestamp_seconds", 14.0),
        ("brokkr_stacks_total", 5.0),
        ("brokkr_deployment_objects_total", 8.0),
        ("brokkr_build_info{commit=\"unknown\",version=\"0.0.0-test\"}", 1.0),
        ("brokkr_telemetry_spans_total{result=\"exported\"}", 0.0),
    ];
    for (series, value) in expected {
        assert_eq!(capture.metric(series), Some(value), "{series} in\n{}", capture.metrics());
    }
}

#[test]
fn the_agents_metrics_have_their_names_labels_and_values() {
    let capture = capture(Service::Agent);
    measure_agent(&capture);
    let expected = [
        ("brokkr_agent_poll_requests_total{result=\"empty\"}", 1.0),
        ("brokkr_agent_poll_requests_total{result=\"success\"}", 0.0),
        ("brokkr_agent_poll_duration_seconds_sum", 30.0),
        ("brokkr_agent_kubernetes_operations_total{operation=\"apply\",result=\"error\"}", 1.0),
        ("brokkr_agent_kubernetes_operations_total{operation=\"delete\",result=\"success\"}", 0.0),
        ("brokkr_agent_kubernetes_operation_duration_seconds_count{operation=\"apply\"}", 1.0),
        ("brokkr_agent_heartbeat_sent_total", 1.0),
        ("brokkr_agent_stacks", 4.0),
        ("brokkr_agent_objects{health=\"healthy\"}", 3.0),
        ("brokkr_agent_objects{health=\"degraded\"}", 1.0),
        ("brokkr_agent_reconcile_duration_seconds_count{action=\"delete\"}", 1.0),
        ("brokkr_agent_failures_total{class=\"forbidden\"}", 1.0),
        ("brokkr_agent_failures_total{class=\"broker_unreachable\"}", 0.0),
        ("brokkr_agent_drift_repairs_total", 2.0),
        ("brokkr_agent_drift_contested", 1.0),
        ("brokkr_agent_prunes_refused_total", 5.0),
        ("brokkr_agent_leader", 1.0),
        ("brokkr_agent_last_successful_poll_timestamp", 1.5),
    ];
    for (series, value) in expected {
        assert_eq!(capture.metric(series), Some(value), "{series} in\n{}", capture.metrics());
    }
}

#[test]
fn every_metric_is_declared_from_the_start_with_its_help() {
    for (service, list) in [(Service::Broker, BROKER), (Service::Agent, AGENT)] {
        let capture = capture(service);
        let body = capture.metrics();
        for info in list.iter().chain(PROCESS) {
            assert!(body.contains(&format!("# HELP {} {}\n", info.name, info.help)), "{} in\n{body}", info.name);
            assert!(body.contains(&format!("# TYPE {} {}\n", info.name, info.kind.as_str())), "{} in\n{body}", info.name);
        }
    }
}

#[test]
fn what_is_rendered_is_in_the_catalogue_and_carries_the_labels_it_names() {
    for (service, measure) in [(Service::Broker, measure_broker as fn(&Capture)), (Service::Agent, measure_agent)] {
        let capture = capture(service);
        measure(&capture);
        for line in capture.metrics().lines().filter(|line| line.starts_with("brokkr_")) {
            let name = line.split(['{', ' ']).next().unwrap();
            let info = catalogue().find(|info| {
                let suffixes: &[&str] = if info.kind == MetricKind::Histogram { &["_bucket", "_sum", "_count"] } else { &[""] };
                suffixes.iter().any(|suffix| name == format!("{}{suffix}", info.name))
            });
            let info = info.unwrap_or_else(|| panic!("{line}"));
            let labels = line.split_once('{').map(|(_, rest)| rest.rsplit_once('}').unwrap().0).unwrap_or_default();
            let carried: BTreeSet<&str> = labels
                .split("\",")
                .filter_map(|label| label.split_once('='))
                .map(|(name, _)| name)
                .filter(|name| *name != "le")
                .collect();
            assert_eq!(carried, info.label_names().collect(), "{line}");
            for label in info.labels.iter().filter(|label| !label.values.is_empty()) {
                let value = labels.split(&format!("{}=\"", label.name)).nth(1).and_then(|rest| rest.split('"').next());
                assert!(label.values.contains(&value.unwrap()), "{line}: {label:?}");
            }
        }
    }
}

#[test]
fn names_keep_the_rules_of_prometheus() {
    for info in catalogue() {
        let exceptions = ["brokkr_stacks_total", "brokkr_deployment_objects_total"];
        match info.kind {
            MetricKind::Counter => {
                assert!(info.name.ends_with("_total"), "{}", info.name);
            }
            MetricKind::Histogram => {
                assert!(info.name.ends_with("_seconds") && info.buckets.is_sorted() && !info.buckets.is_empty(), "{}", info.name);
            }
            MetricKind::Gauge => assert!(!info.name.ends_with("_total") || exceptions.contains(&info.name), "{}", info.name),
        }
        assert!(info.query.contains(info.name) && !info.query.contains('|'), "{}: {}", info.name, info.query);
        for label in info.labels {
            assert_eq!(label.values.is_empty(), !label.of.is_empty(), "{}: {label:?}", info.name);
        }
        assert!(info.help.ends_with('.') && !info.help.contains('\n'), "{}", info.help);
        let ids = ["agent", "stack", "request", "trace", "id"];
        assert!(info.label_names().all(|label| !ids.contains(&label)), "{}", info.name);
    }
}

#[test]
fn both_formats_say_the_same() {
    let capture = capture(Service::Broker);
    measure_broker(&capture);
    // Of the process itself only what stands still between two looks.
    let still = |series: &BTreeMap<String, f64>| {
        series.iter().filter(|(name, _)| !name.starts_with("process_")).map(|(n, v)| (n.clone(), *v)).collect::<Vec<_>>()
    };
    let (plain, open) = (text(&capture, None), text(&capture, Some(OPENMETRICS)));
    let (plain_series, open_series) = (series(&plain), series(&open));
    assert!(!still(&plain_series).is_empty());
    assert_eq!(still(&plain_series).len(), still(&open_series).len());
    assert_eq!(still(&plain_series), still(&open_series));
    let names = |series: &BTreeMap<String, f64>| series.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&plain_series), names(&open_series));
}

#[test]
fn openmetrics_is_well_formed() {
    let capture = capture(Service::Broker);
    measure_broker(&capture);
    let rendered = capture.telemetry().metrics_endpoint().unwrap().render(Some(OPENMETRICS));
    assert_eq!(rendered.content_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let body = rendered.body;
    assert!(body.ends_with("# EOF\n") && body.matches("# EOF").count() == 1 && !body.contains("\n\n"), "{body}");
    let types = types(&body);
    for (name, kind) in [
        ("brokkr_http_requests", "counter"),
        ("brokkr_http_request_duration_seconds", "histogram"),
        ("brokkr_stacks_total", "gauge"),
        ("brokkr_build", "info"),
        ("target", "info"),
        ("process_cpu_seconds", "counter"),
        ("process_resident_memory_bytes", "gauge"),
        ("process_open_fds", "gauge"),
    ] {
        assert!(types.contains(&(name.to_owned(), kind.to_owned())), "{name} {kind} in\n{body}");
    }
    assert!(body.contains("# UNIT brokkr_http_request_duration_seconds seconds\n"), "{body}");
    assert!(body.contains("# UNIT process_resident_memory_bytes bytes\n"), "{body}");
    let families: Vec<&str> = body.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert_eq!(families.len(), families.iter().collect::<BTreeSet<_>>().len(), "a family is declared once");
}

#[test]
fn a_duration_inside_a_sampled_span_leaves_its_trace_in_the_right_bucket() {
    let capture = capture(Service::Broker);
    let _guard = capture.enter();
    let metrics = capture.telemetry().broker_metrics();
    let query = |seconds| metrics.database_query(DbOperation::Select, Duration::from_secs_f64(seconds));
    spans::validate().in_scope(|| query(0.003));
    spans::plan().in_scope(|| query(0.004));
    spans::report().in_scope(|| query(60.0));
    query(0.03);
    capture.telemetry().sampler().set_rates(0.0, brokkr_telemetry::config::Rates::default());
    spans::poll().in_scope(|| query(0.2));
    let body = text(&capture, Some(OPENMETRICS));
    let exemplars: Vec<&str> = body.lines().filter(|line| line.contains(" # {")).collect();
    let bucket = |le: &str| format!("brokkr_database_query_duration_seconds_bucket{{operation=\"select\",le=\"{le}\"}}");
    assert_eq!(exemplars.len(), 2, "{exemplars:?}");
    for (line, le, span, value) in [(exemplars[0], "0.005", "plan", "0.004"), (exemplars[1], "+Inf", "report", "60.0")] {
        let span = capture.span(span);
        let shown = format!("# {{trace_id=\"{}\",span_id=\"{}\"}} {value} ", span.trace_id(), span.span_id());
        assert!(line.starts_with(&bucket(le)) && line.contains(&shown), "{line} {shown}");
    }
    assert!(!text(&capture, None).contains("trace_id"), "plain text has no exemplars");
}

#[test]
fn exemplars_stay_with_their_series() {
    let capture = capture(Service::Broker);
    let _guard = capture.enter();
    let metrics = capture.telemetry().broker_metrics();
    spans::plan().in_scope(|| metrics.http_request(HttpMethod::Get, "/a", 200, Duration::from_millis(1)));
    metrics.http_request(HttpMethod::Get, "/b", 200, Duration::from_millis(1));
    let body = text(&capture, Some(OPENMETRICS));
    let exemplars: Vec<&str> = body.lines().filter(|line| line.contains(" # {")).collect();
    assert!(exemplars.len() == 1 && exemplars[0].contains("endpoint=\"/a\""), "{exemplars:?}");
}

#[test]
fn the_metrics_name_no_instance_and_no_scope() {
    let capture = capture(Service::Broker);
    measure_broker(&capture);
    let body = capture.metrics();
    assert!(body.contains("service_name=\"brokkr-broker\""), "{body}");
    assert!(!body.contains("otel_scope") && !body.contains("instance"), "{body}");
}

#[test]
fn metrics_that_are_off_are_recorded_nowhere() {
    let mut off = options(Service::Broker);
    off.metrics.enabled = false;
    let capture = Capture::with(off).unwrap();
    measure_broker(&capture);
    measure_agent(&capture);
    assert!(capture.telemetry().metrics_endpoint().is_none());
    assert_eq!(capture.metrics(), "");
}
