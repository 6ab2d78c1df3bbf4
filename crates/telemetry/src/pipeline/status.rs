//! What became of the spans.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use parking_lot::Mutex;
use tracing::{Dispatch, dispatcher::WeakDispatch};

use super::outage::Outage;

/// What became of the spans so far, for `/readyz` and for people.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PipelineStatus {
    /// Whether spans are made.
    pub enabled: bool,
    /// Spans that the collector took.
    pub exported: u64,
    /// Spans that it refused, or that did not reach it.
    pub failed: u64,
    /// Spans that found the queue full, or came after the end.
    pub dropped: u64,
    /// Spans that wait or are being sent.
    pub pending: u64,
    /// When the collector last took something.
    pub last_success: Option<SystemTime>,
    /// Why the latest export failed; none when it succeeded. Names no header and no span.
    pub last_error: Option<String>,
}

/// The same, as it happens.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    exported: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    pending: AtomicUsize,
    latest: Mutex<Latest>,
    log: OnceLock<WeakDispatch>,
}

#[derive(Debug, Default)]
struct Latest {
    success: Option<SystemTime>,
    error: Option<String>,
    outage: Option<Outage>,
}

impl Counts {
    pub(crate) fn by_result(&self) -> [(&'static str, u64); 3] {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [("exported", read(&self.exported)), ("failed", read(&self.failed)), ("dropped", read(&self.dropped))]
    }

    pub(crate) fn status(&self, enabled: bool) -> PipelineStatus {
        let [(_, exported), (_, failed), (_, dropped)] = self.by_result();
        let pending = u64::try_from(self.pending.load(Ordering::Relaxed)).unwrap_or(u64::MAX);
        let latest = self.latest.lock();
        PipelineStatus {
            enabled,
            exported,
            failed,
            dropped,
            pending,
            last_success: latest.success,
            last_error: latest.error.clone(),
        }
    }

    /// Where changes of state are logged. The exporter works on a thread of its own, which knows no subscriber.
    pub(crate) fn tell(&self, dispatch: &Dispatch) {
        // Set once, by the telemetry that makes this.
        let _first = self.log.set(dispatch.downgrade());
    }

    fn log(&self, say: impl FnOnce()) {
        if let Some(dispatch) = self.log.get().and_then(WeakDispatch::upgrade) {
            tracing::dispatcher::with_default(&dispatch, say);
        }
    }

    /// Takes a place in a queue of `size`; false, and a drop, when there is none.
    pub(super) fn enter(&self, size: usize) -> bool {
        let entered = self
            .pending
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |pending| (pending < size).then_some(pending + 1))
            .is_ok();
        if !entered {
            self.drop_one();
        }
        entered
    }

    pub(super) fn drop_one(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// A batch was taken.
    pub(super) fn succeeded(&self, spans: usize) {
        self.leave(&self.exported, spans);
        let mut latest = self.latest.lock();
        latest.success = Some(opentelemetry::time::now());
        let recovered = latest.error.take().is_some();
        let outage = latest.outage.take();
        drop(latest);
        if recovered {
            self.log(|| tracing::info!("the trace collector takes spans again"));
        }
        if let Some(outage) = outage {
            let lost = self.lost();
            self.log(|| outage.end(opentelemetry::time::now(), lost));
        }
    }

    /// A batch was not taken.
    pub(super) fn failed(&self, spans: usize, error: &str) {
        // What is lost from here on, this batch included.
        let lost = self.lost();
        self.leave(&self.failed, spans);
        self.latest.lock().outage.get_or_insert_with(|| Outage::begin(opentelemetry::time::now(), lost, error));
        self.broken(error);
    }

    /// Something is wrong. Said once in the log, until the next success.
    pub(crate) fn broken(&self, error: &str) {
        let before = self.latest.lock().error.replace(error.to_owned());
        if before.is_none() {
            self.log(|| tracing::warn!(%error, "the trace collector takes no spans; they are counted and lost until it does"));
        }
    }

    fn lost(&self) -> u64 {
        self.failed.load(Ordering::Relaxed).saturating_add(self.dropped.load(Ordering::Relaxed))
    }

    fn leave(&self, counter: &AtomicU64, spans: usize) {
        counter.fetch_add(u64::try_from(spans).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.pending.fetch_sub(spans, Ordering::AcqRel);
    }
}
