//! What became of the spans.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::SystemTime,
};

use parking_lot::RwLock;
use tracing::{Dispatch, dispatcher::WeakDispatch};

use super::{Lane, outage::Outage};

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
    /// When the present collector last took something.
    pub last_success: Option<SystemTime>,
    /// Why the latest export failed; none when it succeeded. Names no header and no span.
    pub last_error: Option<String>,
}

/// Why a span is lost: the labels of `brokkr_telemetry_drops_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It found the queue full.
    QueueFull,
    /// The collector refused it, or was out of reach for too long.
    ExportFailed,
    /// It came after the end, or was not sent in time at the end.
    Shutdown,
    /// It ended after tracing was switched off.
    SwitchedOff,
}

impl Cause {
    pub(crate) const ALL: [Self; 4] = [Self::QueueFull, Self::ExportFailed, Self::Shutdown, Self::SwitchedOff];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::ExportFailed => "export_failed",
            Self::Shutdown => "shutdown",
            Self::SwitchedOff => "switched_off",
        }
    }
}

/// The same, as it happens.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    on: AtomicBool,
    exported: AtomicU64,
    drops: [AtomicU64; Cause::ALL.len()],
    lane: RwLock<Arc<Lane>>,
    log: OnceLock<WeakDispatch>,
}

impl Counts {
    pub(crate) fn by_result(&self) -> [(&'static str, u64); 3] {
        let failed = self.drops_by(Cause::ExportFailed);
        let dropped = Cause::ALL.iter().filter(|cause| **cause != Cause::ExportFailed).map(|cause| self.drops_by(*cause)).sum();
        [("exported", self.exported.load(Ordering::Relaxed)), ("failed", failed), ("dropped", dropped)]
    }

    pub(crate) fn drops_by(&self, cause: Cause) -> u64 {
        self.drops.get(cause as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Whether spans are made.
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Whether spans are made from now on.
    pub(crate) fn switch(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
    }

    /// Whether spans can leave, as far as is known; none where none are made.
    pub(crate) fn is_up(&self) -> Option<bool> {
        self.is_on().then(|| self.lane.read().latest.lock().error.is_none())
    }

    pub(crate) fn status(&self) -> PipelineStatus {
        let [(_, exported), (_, failed), (_, dropped)] = self.by_result();
        let lane = Arc::clone(&self.lane.read());
        let pending = u64::try_from(lane.pending()).unwrap_or(u64::MAX);
        let latest = lane.latest.lock();
        PipelineStatus {
            enabled: self.is_on(),
            exported,
            failed,
            dropped,
            pending,
            last_success: latest.success,
            last_error: latest.error.clone(),
        }
    }

    /// Whether the latest export failed, and whether one has succeeded.
    pub(crate) fn latest(&self) -> (bool, bool) {
        let lane = self.lane.read();
        let latest = lane.latest.lock();
        (latest.error.is_some(), latest.success.is_some())
    }

    /// Another queue takes the place of the one that is told of.
    pub(crate) fn new_lane(&self) -> Arc<Lane> {
        let lane = Arc::new(Lane::default());
        *self.lane.write() = Arc::clone(&lane);
        lane
    }

    /// Where changes of state are logged. The exporter works on a thread of its own, which knows no subscriber.
    pub(crate) fn tell(&self, dispatch: &Dispatch) {
        // Set once, by the telemetry that makes this.
        let _first = self.log.set(dispatch.downgrade());
    }

    pub(crate) fn log(&self, say: impl FnOnce()) {
        if let Some(dispatch) = self.log.get().and_then(WeakDispatch::upgrade) {
            tracing::dispatcher::with_default(&dispatch, say);
        }
    }

    pub(crate) fn dropped(&self, cause: Cause, spans: usize) {
        if let Some(count) = self.drops.get(cause as usize) {
            count.fetch_add(u64::try_from(spans).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    /// What still waits is lost.
    pub(crate) fn give_up(&self) {
        let spans = self.lane.read().give_up();
        self.dropped(Cause::Shutdown, spans);
    }

    /// A batch was taken.
    pub(super) fn succeeded(&self, lane: &Lane, spans: usize) {
        if lane.leave(spans) {
            self.exported.fetch_add(u64::try_from(spans).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        let mut latest = lane.latest.lock();
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
    pub(super) fn failed(&self, lane: &Lane, spans: usize, error: &str) {
        // What is lost from here on, this batch included.
        let lost = self.lost();
        if lane.leave(spans) {
            self.dropped(Cause::ExportFailed, spans);
        }
        lane.latest.lock().outage.get_or_insert_with(|| Outage::begin(opentelemetry::time::now(), lost, error));
        self.broken_lane(lane, error);
    }

    /// Something is wrong with the present queue. Said once in the log, until the next success.
    pub(crate) fn broken(&self, error: &str) {
        let lane = Arc::clone(&self.lane.read());
        self.broken_lane(&lane, error);
    }

    fn broken_lane(&self, lane: &Lane, error: &str) {
        let before = lane.latest.lock().error.replace(error.to_owned());
        if before.is_none() {
            self.log(|| tracing::warn!(%error, "the trace collector takes no spans; they are counted and lost until it does"));
        }
    }

    fn lost(&self) -> u64 {
        Cause::ALL.iter().map(|cause| self.drops_by(*cause)).sum()
    }
}
