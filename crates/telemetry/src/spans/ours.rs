//! Which spans are made.

use std::sync::Arc;

use tracing::{Metadata, level_filters::LevelFilter, subscriber::Interest};
use tracing_subscriber::layer::{Context, Filter};

use crate::pipeline::Counts;

/// Lets the spans of the catalogue through while tracing is on. Those of the libraries below, the exporter's own among them, are none of ours.
///
/// The places that make spans ask each time, because what they remember could be older than the switch: without tracing that costs some
/// nanoseconds and no allocation.
#[derive(Debug)]
pub(crate) struct Ours(pub(crate) Arc<Counts>);

fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target().starts_with(crate::TARGET)
}

impl<S> Filter<S> for Ours {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.0.is_on() && is_ours(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if is_ours(metadata) { Interest::sometimes() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }
}
