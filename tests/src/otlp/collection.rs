use super::{Paint, Share, Span, shares, tree};
use parking_lot::Mutex;
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::{sync::watch, time::timeout};

/// The spans received so far, shared by the receiver's services and its readers.
#[derive(Debug, Clone)]
pub(super) struct Collection {
    spans: Arc<Mutex<Vec<Span>>>,
    /// Whether nobody will ask for them.
    forgets: bool,
    arrivals: watch::Sender<usize>,
}

impl Collection {
    pub(super) fn new(forgets: bool) -> Self {
        Self { spans: Arc::default(), forgets, arrivals: watch::Sender::new(0) }
    }

    pub(super) fn add(&self, new: Vec<Span>) {
        if self.forgets {
            return;
        }
        let count = {
            let mut spans = self.spans.lock();
            spans.extend(new);
            spans.len()
        };
        self.arrivals.send_replace(count);
    }

    pub(super) fn all(&self) -> Vec<Span> {
        self.spans.lock().clone()
    }

    pub(super) fn trace(&self, id: &str) -> Trace {
        Trace::gather(id, &self.spans.lock())
    }

    pub(super) async fn wait_for(
        &self,
        what: &str,
        limit: Duration,
        mut enough: impl FnMut(&[Span]) -> bool,
    ) -> Result<Vec<Span>, Missing> {
        let mut arrivals = self.arrivals.subscribe();
        let complete = async {
            loop {
                arrivals.borrow_and_update();
                let spans = self.all();
                if enough(&spans) {
                    return spans;
                }
                // Cannot fail: `self` holds the sender.
                drop(arrivals.changed().await);
            }
        };
        timeout(limit, complete).await.map_err(|_elapsed| {
            let spans = self.spans.lock();
            let seen = spans.iter().rev().take(40).map(|span| format!("{} {} ({})", span.trace_id, span.name, span.service));
            Missing { what: what.to_owned(), limit, count: spans.len(), seen: seen.collect::<Vec<_>>().join("\n  ") }
        })
    }
}

/// Spans that did not arrive in time.
#[derive(Debug, thiserror::Error)]
#[error("after {limit:?} no {what}; {count} spans arrived, the newest:\n  {seen}")]
pub struct Missing {
    what: String,
    limit: Duration,
    count: usize,
    seen: String,
}

/// The spans of one trace, oldest first, and of other traces that link to it.
#[derive(Debug, Clone)]
pub struct Trace {
    /// The trace that was asked for.
    pub id: String,
    /// Its spans, by start time.
    pub spans: Vec<Span>,
    /// Spans of the traces that begin with a link to one of [`Trace::spans`], by start time.
    pub linked: Vec<Span>,
}

impl Trace {
    fn gather(id: &str, all: &[Span]) -> Self {
        let mut spans: Vec<Span> = all.iter().filter(|span| span.trace_id == id).cloned().collect();
        let mut traces = HashSet::new();
        for span in all.iter().filter(|span| span.trace_id != id && span.parent.is_none()) {
            if span.links.iter().any(|link| link.trace_id == id) {
                traces.insert(span.trace_id.as_str());
            }
        }
        let mut linked: Vec<Span> = all.iter().filter(|span| traces.contains(span.trace_id.as_str())).cloned().collect();
        for list in [&mut spans, &mut linked] {
            list.sort_by(|a, b| (a.start_nanos, &a.span_id).cmp(&(b.start_nanos, &b.span_id)));
            list.dedup_by(|a, b| a.span_id == b.span_id && a.trace_id == b.trace_id);
        }
        Self { id: id.to_owned(), spans, linked }
    }

    /// The first span of that name.
    pub fn span(&self, name: &str) -> Option<&Span> {
        self.spans.iter().find(|span| span.name == name)
    }

    /// The spans whose parent is this one.
    pub fn children<'a>(&'a self, parent: &'a Span) -> impl Iterator<Item = &'a Span> {
        self.spans.iter().filter(move |span| span.parent.as_ref() == Some(&parent.span_id))
    }

    /// From the first start to the last end, in nanoseconds.
    pub fn nanos(&self) -> u64 {
        let start = self.spans.iter().map(|span| span.start_nanos).min().unwrap_or(0);
        self.spans.iter().map(|span| span.end_nanos).max().unwrap_or(0).saturating_sub(start)
    }

    /// Its size on the wire, without what its spans share with others of their process.
    pub fn bytes(&self) -> u64 {
        self.spans.iter().map(|span| span.bytes).sum()
    }

    /// The trace as an indented tree with offsets, durations, services, kinds and status; traces that link to it below their cause.
    pub fn tree(&self, paint: Paint) -> String {
        tree::draw(self, paint)
    }

    /// Each component's share of the time from the first start to the last end, largest first; they add up to all of it.
    pub fn shares(&self) -> Vec<Share> {
        shares::of(&self.spans)
    }
}
