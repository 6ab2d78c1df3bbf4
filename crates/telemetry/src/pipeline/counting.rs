//! The filter before the queue, and the counter behind it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use opentelemetry::Context;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{Span, SpanData, SpanExporter, SpanProcessor},
};

use super::{Cause, Counts, Lane};

/// Lets sampled spans through to `inner`, as many as its queue holds.
///
/// The SDK's batch processor would export record-only spans too, and does not say how many it drops. The queue is measured here, up to the end of
/// an export, so that the inner one is never full and every span is counted exactly once.
#[derive(Debug)]
pub(crate) struct SampledOnly<P> {
    inner: P,
    counts: Arc<Counts>,
    lane: Arc<Lane>,
    queue: usize,
    ended: AtomicBool,
}

impl<P> SampledOnly<P> {
    pub(crate) fn new(inner: P, counts: Arc<Counts>, lane: Arc<Lane>, queue: usize) -> Self {
        Self { inner, counts, lane, queue, ended: AtomicBool::new(false) }
    }
}

impl<P: SpanProcessor> SpanProcessor for SampledOnly<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        if self.ended.load(Ordering::Acquire) {
            self.counts.dropped(Cause::Shutdown, 1);
        } else if self.lane.enter(self.queue) {
            self.inner.on_end(span);
        } else {
            self.counts.dropped(Cause::QueueFull, 1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.ended.store(true, Ordering::Release);
        let result = self.inner.shutdown_with_timeout(timeout);
        self.counts.dropped(Cause::Shutdown, self.lane.give_up());
        result
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Counts what `inner` exports, and what it fails to.
#[derive(Debug)]
pub(crate) struct CountingExporter<E> {
    inner: E,
    counts: Arc<Counts>,
    lane: Arc<Lane>,
}

impl<E> CountingExporter<E> {
    pub(crate) fn new(inner: E, counts: Arc<Counts>, lane: Arc<Lane>) -> Self {
        Self { inner, counts, lane }
    }
}

impl<E: SpanExporter> SpanExporter for CountingExporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let result = self.inner.export(batch).await;
        match &result {
            Ok(()) => self.counts.succeeded(&self.lane, spans),
            Err(error) => self.counts.failed(&self.lane, spans, &error.to_string()),
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
