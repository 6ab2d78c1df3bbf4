//! The way of spans out of the process: sampled only, bounded, counted, and never in anybody's way.

mod counting;
mod export;
mod status;

use std::sync::Arc;

use opentelemetry_sdk::{
    Resource,
    trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, SpanExporter},
};

pub(crate) use counting::{CountingExporter, SampledOnly};
pub use export::ExporterError;
pub(crate) use export::{checked, metadata, otlp};
pub(crate) use status::Counts;
pub use status::PipelineStatus;

use crate::{config::BatchConfig, sampler::RuleSampler};

/// The largest number of spans in a queue; a configured size beyond counts as this one.
const LARGEST_QUEUE: usize = 1 << 20;

/// A provider whose sampled spans go to `exporter` through a bounded queue.
pub(crate) fn provider<E>(
    resource: Resource,
    sampler: RuleSampler,
    exporter: Option<(E, BatchConfig)>,
    counts: &Arc<Counts>,
) -> SdkTracerProvider
where
    E: SpanExporter + 'static,
{
    let mut builder = SdkTracerProvider::builder().with_resource(resource).with_sampler(sampler);
    if let Some((exporter, batch)) = exporter {
        let queue = batch.queue_size.clamp(1, LARGEST_QUEUE);
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(queue)
            .with_max_export_batch_size(batch.batch_size.clamp(1, queue))
            .with_scheduled_delay(batch.delay)
            .build();
        let exporter = CountingExporter::new(exporter, counts.clone());
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
        builder = builder.with_span_processor(SampledOnly::new(processor, counts.clone(), queue));
    }
    builder.build()
}
