//! Which spans are made.

use std::sync::Arc;

use tracing::{Metadata, Subscriber, level_filters::LevelFilter, subscriber::Interest};
use tracing_subscriber::{
    Layer,
    filter::{FilterFn, filter_fn},
    layer::Context,
};

use crate::pipeline::Counts;

/// Only the catalogue makes spans: those of the libraries below, the exporter's own among them, are none of ours.
pub(crate) fn ours() -> FilterFn {
    filter_fn(is_ours as fn(&Metadata<'_>) -> bool).with_max_level_hint(LevelFilter::INFO)
}

fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target().starts_with(crate::TARGET)
}

/// Lets no span through while tracing is off. It is a layer and no filter of one: a registry keeps spans that every filter refuses.
///
/// The places that make spans ask each time, because what they remember could be older than the switch: without tracing that costs some
/// nanoseconds and no allocation.
#[derive(Debug)]
pub(crate) struct Gate(pub(crate) Arc<Counts>);

impl<S: Subscriber> Layer<S> for Gate {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match (metadata.is_span(), is_ours(metadata)) {
            (false, _) => Interest::always(),
            (true, true) => Interest::sometimes(),
            (true, false) => Interest::never(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        !metadata.is_span() || (self.0.is_on() && is_ours(metadata))
    }
}
