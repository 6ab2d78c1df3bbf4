use super::{Share, of};
use crate::otlp::{Kind, Span, Status};
use serde_json::json;

fn span(id: &str, parent: Option<&str>, service: &str, (start_nanos, end_nanos): (u64, u64)) -> Span {
    Span {
        service: service.to_owned(),
        trace_id: "t".to_owned(),
        span_id: id.to_owned(),
        parent: parent.map(str::to_owned),
        trace_state: String::new(),
        name: id.to_owned(),
        kind: Kind::Server,
        start_nanos,
        end_nanos,
        attributes: Default::default(),
        resource: Default::default(),
        links: Vec::new(),
        events: Vec::new(),
        status: Status::Unset,
        bytes: 0,
    }
}

fn sql(mut span: Span) -> Span {
    span.kind = Kind::Client;
    span.attributes.insert("db.system.name".to_owned(), json!("sqlite"));
    span
}

fn shares(spans: &[Span]) -> Vec<(String, u64)> {
    of(spans).into_iter().map(|Share { component, nanos, .. }| (component, nanos)).collect()
}

#[test]
fn time_belongs_to_the_innermost_span() {
    let spans = [span("put", None, "brokkr-broker", (0, 100)), sql(span("insert", Some("put"), "brokkr-broker", (20, 50)))];
    assert_eq!(shares(&spans), [("broker".to_owned(), 70), ("SQL".to_owned(), 30)]);
}

#[test]
fn a_moment_without_a_span_is_a_gap() {
    let spans = [span("put", None, "brokkr-broker", (0, 10)), span("process", Some("put"), "brokkr-agent", (40, 50))];
    assert_eq!(shares(&spans), [("no span".to_owned(), 30), ("agent".to_owned(), 10), ("broker".to_owned(), 10)]);
}

#[test]
fn a_wait_counts_only_while_nobody_works() {
    let spans = [
        span("process", None, "brokkr-agent", (0, 100)),
        span("wait for health", Some("process"), "brokkr-agent", (0, 90)),
        sql(span("report", Some("process"), "brokkr-broker", (10, 30))),
    ];
    assert_eq!(shares(&spans), [("waiting".to_owned(), 70), ("SQL".to_owned(), 20), ("agent".to_owned(), 10)]);
}

#[test]
fn spans_side_by_side_divide_the_time_and_all_of_it_adds_up() {
    let spans = [
        span("root", None, "brokkr-agent", (0, 99)),
        span("a", Some("root"), "kube-apiserver", (0, 99)),
        sql(span("b", Some("root"), "brokkr-broker", (0, 99))),
        span("c", Some("root"), "brokkr-broker", (0, 99)),
    ];
    let shares = of(&spans);
    assert_eq!(shares.len(), 3);
    assert_eq!(shares.iter().map(|share| share.nanos).sum::<u64>(), 99);
}
