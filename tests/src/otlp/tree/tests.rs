use crate::otlp::{Kind, Link, Paint, Span, Status, Trace};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0eff2a";

fn span(id: &str, parent: Option<&str>, name: &str, (start, end): (u64, u64)) -> Span {
    Span {
        service: "brokkr-broker".to_owned(),
        trace_id: TRACE.to_owned(),
        span_id: id.to_owned(),
        parent: parent.map(str::to_owned),
        trace_state: String::new(),
        name: name.to_owned(),
        kind: Kind::Internal,
        start_nanos: start * 1_000_000,
        end_nanos: end * 1_000_000,
        attributes: Default::default(),
        resource: Default::default(),
        links: Vec::new(),
        events: Vec::new(),
        status: Status::Unset,
        bytes: 0,
    }
}

fn link(span: &Span) -> Link {
    Link { trace_id: span.trace_id.clone(), span_id: span.span_id.clone(), attributes: Default::default() }
}

fn drawn(spans: Vec<Span>, linked: Vec<Span>) -> Vec<String> {
    let trace = Trace { id: TRACE.to_owned(), spans, linked };
    trace.tree(Paint::Plain).lines().skip(2).map(str::to_owned).collect()
}

fn names(lines: &[String]) -> Vec<&str> {
    lines.iter().map(|line| line.split("broker          ").nth(1).expect("every line names the service")).collect()
}

#[test]
fn a_line_shows_offset_duration_place_and_failure() {
    let mut root = span("01", None, "PUT /stacks", (0, 96));
    root.kind = Kind::Server;
    let mut child = span("02", Some("01"), "select", (24, 48));
    child.status = Status::Error("no table".to_owned());
    let lines = drawn(vec![root, child], vec![]);
    let expected = "  24.0 ms    24.0 ms  ······██████············  broker          └─ select  ✗ no table";
    assert_eq!(lines[0], "     0 µs    96.0 ms  ████████████████████████  broker          PUT /stacks  [server]");
    assert_eq!(lines[1], expected);
}

#[test]
fn children_hang_below_their_parents_in_order_of_time() {
    let spans = vec![
        span("01", None, "root", (0, 9)),
        span("04", Some("02"), "inner", (3, 4)),
        span("03", Some("01"), "late", (5, 6)),
        span("02", Some("01"), "early", (1, 4)),
    ];
    assert_eq!(names(&drawn(spans, vec![])), ["root", "├─ early", "│  └─ inner", "└─ late"]);
}

#[test]
fn a_trace_that_begins_with_a_link_hangs_below_its_cause() {
    let cause = span("01", None, "send", (0, 1));
    let mut repair = span("07", None, "process", (5, 6));
    repair.trace_id = "0af7651916cd43dd8448eb211c80319c".to_owned();
    repair.links = vec![link(&cause)];
    assert_eq!(names(&drawn(vec![cause], vec![repair])), ["send", "└┄▸ process"]);
}

#[test]
fn a_link_to_the_parent_is_not_said_twice_and_another_one_is() {
    let root = span("01", None, "send", (0, 9));
    let other = span("02", Some("01"), "other", (1, 2));
    let mut both = span("03", Some("01"), "process", (3, 4));
    both.links = vec![link(&root), link(&other)];
    assert_eq!(names(&drawn(vec![root, other, both], vec![])), ["send", "├─ other", "└─ process  ↗ other"]);
}

#[test]
fn a_span_whose_parent_never_arrived_is_shown_as_a_root() {
    let spans = vec![span("01", None, "root", (0, 9)), span("02", Some("ff"), "orphan", (1, 2))];
    assert_eq!(names(&drawn(spans, vec![])), ["root", "orphan"]);
}
