//! Attributes are an allow-list: what is exported is in the catalogue.

use std::collections::BTreeSet;

use brokkr_telemetry::spans::{SPANS, SpanInfo};
use brokkr_tests::otlp::{Kind, Span, Status};

/// What a process says about itself; where it runs in Kubernetes, `k8s.*` as well.
const RESOURCE: [&str; 7] = [
    "deployment.environment.name",
    "service.name",
    "service.version",
    "service.instance.id",
    "telemetry.sdk.language",
    "telemetry.sdk.name",
    "telemetry.sdk.version",
];

/// Fails when a span of ours says more than its row of the catalogue allows. A test, and no filter on the way out: only the catalogue
/// makes spans, so that whatever it lets through is known when it is compiled, and looking at each span again would cost time in
/// every process for nothing.
pub(crate) fn assert_catalogued(spans: &[Span]) {
    let ours = spans.iter().filter(|span| span.service.starts_with("brokkr-"));
    let strange: BTreeSet<String> = ours.filter_map(|span| strange(span).map(|why| format!("{}: {why}", span.name))).collect();
    assert!(strange.is_empty(), "{strange:#?}");
}

fn strange(span: &Span) -> Option<String> {
    if let Some(key) = span.resource.keys().find(|key| !RESOURCE.contains(&key.as_str()) && !key.starts_with("k8s.")) {
        return Some(format!("resource {key}"));
    }
    if !span.events.is_empty() || span.links.iter().any(|link| !link.attributes.is_empty()) {
        return Some("events, or attributes of links".to_owned());
    }
    if let Status::Error(text) = &span.status
        && !text.is_empty()
    {
        return Some("a description of its status, which is text of whatever failed".to_owned());
    }
    let rows: Vec<&SpanInfo> = SPANS.iter().filter(|row| is_of(row, span)).collect();
    let allowed = |key: &String| key == "error.type" || rows.iter().any(|row| row.attributes.contains(&key.as_str()));
    match span.attributes.keys().find(|key| !allowed(key)) {
        Some(key) => Some(format!("{key} is not among the attributes of {} rows", rows.len())),
        None if rows.is_empty() => Some("it is not in the catalogue".to_owned()),
        None => None,
    }
}

/// Names with braces vary; then the kind says enough.
fn is_of(row: &SpanInfo, span: &Span) -> bool {
    let kind = match span.kind {
        Kind::Internal => "INTERNAL",
        Kind::Server => "SERVER",
        Kind::Client => "CLIENT",
        Kind::Producer => "PRODUCER",
        Kind::Consumer => "CONSUMER",
    };
    let fixed = row.name.split('{').next().unwrap_or_default();
    row.kind == kind && if row.name.contains('{') { span.name.starts_with(fixed) } else { span.name == row.name }
}

#[test]
fn what_is_not_in_the_catalogue_is_strange() {
    let plan = |key: &str| {
        let span = serde_json::json!({"service": "brokkr-agent", "trace_id": "1", "span_id": "1", "parent": null, "trace_state": "",
            "name": "plan", "kind": "internal", "start_nanos": 0, "end_nanos": 1, "attributes": {key: 1}, "resource": {}, "links": [],
            "events": [], "status": "unset"});
        strange(&serde_json::from_value(span).unwrap())
    };
    assert_eq!(plan("brokkr.objects"), None);
    assert_eq!(plan("error.type"), None);
    assert!(plan("db.query.text").is_some() && plan("server.address").is_some(), "of another span");
}
