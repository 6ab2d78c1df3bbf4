use super::caller::is_sql;
use brokkr_tests::otlp::{Span, Status, Trace};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Fewer than this many spans of a kind are shown one by one.
const FEW: usize = 3;

/// A trace in which runs of like spans without children (statements of a transaction, looks at something that takes its time to go)
/// are one line each, so that a person sees the whole on one screen. A folded span begins with the first of its run and ends with the last.
pub(super) fn folded(trace: &Trace) -> Trace {
    let parents: HashSet<&str> = trace.spans.iter().filter_map(|span| span.parent.as_deref()).collect();
    let foldable = |span: &Span| {
        let is_leaf = !parents.contains(span.span_id.as_str()) && !matches!(span.status, Status::Error(_));
        Run::of(span).filter(|_| is_leaf)
    };
    let mut siblings: BTreeMap<&str, Vec<&Span>> = BTreeMap::new();
    for span in &trace.spans {
        siblings.entry(span.parent.as_deref().unwrap_or_default()).or_default().push(span);
    }
    let mut replaced: HashMap<&str, Option<Span>> = HashMap::new();
    for brothers in siblings.values() {
        for run in brothers.chunk_by(|a, b| foldable(a).is_some() && foldable(a) == foldable(b)) {
            let Some((first, rest)) = run.split_first() else { continue };
            let Some(kind) = foldable(first).filter(|_| run.len() >= FEW) else { continue };
            replaced.insert(&first.span_id, Some(kind.fold(first, run)));
            replaced.extend(rest.iter().map(|span| (span.span_id.as_str(), None)));
        }
    }
    let spans = trace.spans.iter().filter_map(|span| match replaced.get(span.span_id.as_str()) {
        Some(instead) => instead.clone(),
        None => Some(span.clone()),
    });
    Trace { id: trace.id.clone(), spans: spans.collect(), linked: trace.linked.clone() }
}

/// What may follow one another in one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    /// Statements of one transaction.
    Statements,
    /// Waits for something to go away, with the looks between them.
    Going,
    /// Questions about what there is.
    Discovery,
    /// Lists of what there is.
    Lists,
}

impl Run {
    fn of(span: &Span) -> Option<Self> {
        let is_call = span.component() == "Kubernetes API";
        match span.name.split(' ').next() {
            _ if is_sql(span) => Some(Self::Statements),
            _ if span.name == "wait gone" => Some(Self::Going),
            Some("get") if is_call => Some(Self::Going),
            Some("discover") if is_call => Some(Self::Discovery),
            Some("list") if is_call => Some(Self::Lists),
            _ => None,
        }
    }

    fn fold(self, first: &Span, run: &[&Span]) -> Span {
        let count = run.len();
        let name = match self {
            Self::Statements => format!("{} … {}  ({count} statements)", first.name, run.last().map_or("", |last| &last.name)),
            Self::Going if run.iter().any(|span| span.is_wait()) => {
                format!("wait gone  ({} looks)", run.iter().filter(|span| !span.is_wait()).count())
            }
            Self::Going => format!("get  ({count} calls)"),
            Self::Discovery => format!("discover  ({count} API groups)"),
            Self::Lists => format!("list  ({count} kinds)"),
        };
        let end_nanos = run.iter().map(|span| span.end_nanos).max().unwrap_or(first.end_nanos);
        Span { name, end_nanos, ..first.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use brokkr_tests::otlp::Kind;
    use serde_json::json;

    fn span(id: &str, parent: &str, name: &str, attribute: &str, times: [u64; 2]) -> Span {
        Span {
            service: "brokkr-broker".to_owned(),
            trace_id: "t".to_owned(),
            span_id: id.to_owned(),
            parent: Some(parent.to_owned()),
            trace_state: String::new(),
            name: name.to_owned(),
            kind: Kind::Client,
            start_nanos: times[0],
            end_nanos: times[1],
            attributes: [(attribute.to_owned(), json!("x"))].into(),
            resource: BTreeMap::new(),
            links: Vec::new(),
            events: Vec::new(),
            status: Status::Unset,
            bytes: 0,
        }
    }

    #[test]
    fn a_run_of_statements_is_one_line_that_keeps_its_time() {
        let names = ["BEGIN", "SELECT stacks", "COMMIT"];
        let statement = |(at, name): (u64, &&str)| span(&at.to_string(), "r", name, "db.system.name", [at * 10, at * 10 + 5]);
        let spans = (1..).zip(&names).map(statement).collect();
        let folded = folded(&Trace { id: "t".to_owned(), spans, linked: Vec::new() });
        let lines: Vec<_> = folded.spans.iter().map(|span| (span.name.as_str(), span.start_nanos, span.end_nanos)).collect();
        assert_eq!(lines, [("BEGIN … COMMIT  (3 statements)", 10, 35)]);
    }

    #[test]
    fn what_failed_and_what_has_children_is_always_shown() {
        let mut failed = span("2", "r", "SELECT b", "db.system.name", [20, 25]);
        failed.status = Status::Error("locked".to_owned());
        let spans = vec![
            span("1", "r", "SELECT a", "db.system.name", [10, 15]),
            failed,
            span("3", "r", "SELECT c", "db.system.name", [30, 35]),
            span("4", "3", "below", "other", [31, 32]),
        ];
        let trace = Trace { id: "t".to_owned(), spans, linked: Vec::new() };
        assert_eq!(folded(&trace).spans, trace.spans);
    }
}
