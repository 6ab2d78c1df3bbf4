//! The way of spans out of the process: sampled only, bounded, counted, changeable, and never in anybody's way.

mod counting;
mod export;
mod lane;
mod outage;
mod status;
mod switch;

use std::sync::Arc;

use opentelemetry_sdk::{
    Resource,
    trace::{BatchConfigBuilder, BatchSpanProcessor, SpanExporter, SpanProcessor},
};

pub use export::ExporterError;
pub(crate) use export::{Client, channel, http_url, metadata, otlp, target};
pub use status::PipelineStatus;
pub(crate) use status::{Cause, Counts};
pub(crate) use switch::{Switch, Switched, Way};

use crate::config::BatchConfig;
use counting::{CountingExporter, SampledOnly};
use lane::Lane;

/// The largest number of spans in a queue; a configured size beyond counts as this one.
const LARGEST_QUEUE: usize = 1 << 20;

/// A bounded queue with an exporter behind it.
pub(crate) type Sender = SampledOnly<BatchSpanProcessor>;

/// A queue from which sampled spans go to `exporter`, and which becomes the one that the counts tell of.
pub(crate) fn sender<E>(resource: &Resource, exporter: E, batch: BatchConfig, counts: &Arc<Counts>) -> Sender
where
    E: SpanExporter + 'static,
{
    let queue = batch.queue_size.clamp(1, LARGEST_QUEUE);
    let config = BatchConfigBuilder::default()
        .with_max_queue_size(queue)
        .with_max_export_batch_size(batch.batch_size.clamp(1, queue))
        .with_scheduled_delay(batch.delay)
        .build();
    let lane = counts.new_lane();
    let exporter = CountingExporter::new(exporter, counts.clone(), lane.clone());
    let mut processor = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
    processor.set_resource(resource);
    SampledOnly::new(processor, counts.clone(), lane, queue)
}
