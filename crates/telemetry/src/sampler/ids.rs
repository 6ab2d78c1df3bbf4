//! The ids of traces and spans.

use std::cell::Cell;

use opentelemetry::{SpanId, TraceId};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};

thread_local! {
    static CHOSEN: Cell<Option<TraceId>> = const { Cell::new(None) };
}

/// Random ids; for the trace that [`with_trace_id`] begins, the one that was chosen for it.
#[derive(Debug, Default)]
pub(crate) struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        CHOSEN.take().unwrap_or_else(|| self.0.new_trace_id())
    }

    fn new_span_id(&self) -> SpanId {
        self.0.new_span_id()
    }
}

/// Begins a trace whose id is known already: whether it is kept follows from the id, and was asked before there was a span.
pub(crate) fn with_trace_id<T>(id: TraceId, begin: impl FnOnce() -> T) -> T {
    CHOSEN.set(Some(id));
    let begun = begin();
    CHOSEN.set(None);
    begun
}
