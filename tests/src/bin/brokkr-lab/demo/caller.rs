use anyhow::bail;
use brokkr_tests::otlp::{Kind, Receiver, Span, Trace};
use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// Longest time from a command's end until its whole trace has been exported.
const LIMIT: Duration = Duration::from_secs(20);

/// Whoever calls Brokkr from a trace of its own, such as a CI pipeline.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    trace_id: String,
    span_id: String,
}

impl Caller {
    /// A new trace.
    pub(super) fn new() -> Self {
        // Seeded by the operating system, differently each time; an id of zeros is not a valid one.
        let random = |count: u64| RandomState::new().hash_one(count).max(1);
        Self { trace_id: format!("{:016x}{:016x}", random(0), random(1)), span_id: format!("{:016x}", random(2)) }
    }

    /// What the caller sends, sampled.
    pub(super) fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.trace_id, self.span_id)
    }

    /// Waits until the trace has everything that a change causes and no gap, and returns it with what was counted.
    ///
    /// # Errors
    /// After a deadline, with what is missing.
    pub(super) async fn wait_for_trace(&self, receiver: &Receiver) -> anyhow::Result<(Trace, Counts)> {
        let look = || {
            let trace = receiver.trace(&self.trace_id);
            let counts = Counts::of(&trace);
            let lacks = self.lacks(&trace, &counts);
            (trace, counts, lacks)
        };
        let complete = receiver.wait_for("complete trace", LIMIT, |_| look().2.is_empty()).await;
        let (trace, counts, lacks) = look();
        if complete.is_err() && !lacks.is_empty() {
            bail!("the trace {} is not complete after {LIMIT:?}: it lacks {}", self.trace_id, lacks.join(", "));
        }
        Ok((trace, counts))
    }

    fn lacks(&self, trace: &Trace, counts: &Counts) -> Vec<String> {
        let mut lacks: Vec<String> =
            counts.named().into_iter().filter(|(count, _)| *count == 0).map(|(_, name)| format!("any {name} span")).collect();
        let known: HashSet<&str> = trace.spans.iter().map(|span| span.span_id.as_str()).collect();
        let mut begins_here = false;
        for span in &trace.spans {
            match span.parent.as_deref() {
                Some(parent) if parent == self.span_id => begins_here = true,
                Some(parent) if known.contains(parent) => {}
                Some(parent) => lacks.push(format!("the parent {parent} of {}", span.name)),
                None => lacks.push(format!("a parent of {}", span.name)),
            }
        }
        if !begins_here {
            lacks.push("a span below the caller's".to_owned());
        }
        lacks
    }
}

/// How many spans of each role a trace has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    server: usize,
    sql: usize,
    producer: usize,
    consumer: usize,
    kubernetes: usize,
    reports: usize,
}

impl Counts {
    fn of(trace: &Trace) -> Self {
        let count = |wanted: &dyn Fn(&Span) -> bool| trace.spans.iter().filter(|span| wanted(span)).count();
        Self {
            server: count(&|span| span.kind == Kind::Server && !is_report(span)),
            sql: count(&is_sql),
            producer: count(&|span| span.kind == Kind::Producer),
            consumer: count(&|span| span.kind == Kind::Consumer),
            kubernetes: count(&|span| span.kind == Kind::Client && span.component() == "Kubernetes API"),
            reports: count(&is_report),
        }
    }

    fn named(self) -> [(usize, &'static str); 6] {
        [
            (self.server, "SERVER"),
            (self.sql, "SQL"),
            (self.producer, "PRODUCER"),
            (self.consumer, "CONSUMER"),
            (self.kubernetes, "Kubernetes CLIENT"),
            (self.reports, "report"),
        ]
    }

    /// For people.
    pub(super) fn text(self) -> String {
        self.named().map(|(count, name)| format!("{count} {name}")).join(" → ")
    }
}

pub(super) fn is_sql(span: &Span) -> bool {
    span.kind == Kind::Client && span.component() == "SQL"
}

/// The broker's side of an agent's report.
fn is_report(span: &Span) -> bool {
    span.kind == Kind::Server && span.service == "brokkr-broker" && span.name.ends_with("/agent/reports")
}
