//! Tracing as it is, and changing it while the process runs.

mod run_time;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use opentelemetry_sdk::{
    Resource,
    trace::{SdkTracerProvider, SpanLimits},
};
use parking_lot::Mutex;

pub use run_time::{Effective, RUN_TIME, RunTime};

use crate::{
    config::{Exporter, TelemetryConfig, endpoint},
    pipeline::{self, Counts, PipelineStatus, Switch, Switched, Way},
    sampler::{SamplerHandle, clamp},
};

/// How long a former exporter has for what it still holds.
const ENDING: Duration = Duration::from_secs(5);

/// Changes tracing while the process runs: on and off, the exporter, its endpoint, the name of the service, the sampling rate. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Control(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    base: TelemetryConfig,
    identity: super::init::Identity,
    sampler: SamplerHandle,
    counts: Arc<Counts>,
    switch: Arc<Switch>,
    now: Mutex<Now>,
    changes: AtomicU64,
}

/// How tracing fares, in a few numbers: comparing two of them says whether there is anything new to tell. Making one allocates nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pulse {
    /// How often the settings in effect have changed.
    pub changes: u64,
    /// Whether the latest export failed.
    pub failing: bool,
    /// Whether one has succeeded.
    pub succeeded: bool,
    /// Spans exported, failed and dropped.
    pub counts: [u64; 3],
}

#[derive(Debug, Default)]
struct Now {
    run_time: RunTime,
    /// None before the start.
    effective: Option<TelemetryConfig>,
}

impl Control {
    pub(crate) fn new(
        base: TelemetryConfig,
        identity: super::init::Identity,
        sampler: SamplerHandle,
        counts: Arc<Counts>,
    ) -> Self {
        let inner =
            Inner { base, identity, sampler, counts, switch: Arc::default(), now: Mutex::default(), changes: AtomicU64::new(0) };
        Self(Arc::new(inner))
    }

    /// The one provider of the process. Where its spans go follows the settings.
    pub(crate) fn provider(&self) -> SdkTracerProvider {
        SdkTracerProvider::builder()
            .with_resource(self.resource(&self.0.base))
            .with_sampler(self.0.sampler.sampler())
            .with_span_limits(SpanLimits::default())
            .with_span_processor(Switched { switch: self.0.switch.clone(), counts: self.0.counts.clone() })
            .build()
    }

    pub(crate) fn resource(&self, config: &TelemetryConfig) -> Resource {
        self.0.identity.resource(config, true)
    }

    /// From now on these settings win over the file and the environment; those that are absent are as configured. Tells whether that changed anything.
    ///
    /// Call it inside a tokio runtime, as [`crate::init()`]. What a former exporter still holds is sent in the background. Trouble with the new one
    /// is told in the status and in the log.
    pub fn apply(&self, run_time: &RunTime) -> bool {
        let mut now = self.0.now.lock();
        let before = now.effective.take();
        let effective = run_time.over(&self.0.base);
        let changed = before.as_ref() != Some(&effective);
        if changed {
            self.0.changes.fetch_add(1, Ordering::Relaxed);
            self.0.sampler.set(&effective);
            if before.as_ref().is_none_or(|before| is_other_way(before, &effective)) {
                self.turn(&effective);
            }
            if before.is_some() {
                self.tell(&effective);
            }
        }
        now.run_time = run_time.clone();
        now.effective = Some(effective);
        changed
    }

    fn turn(&self, config: &TelemetryConfig) {
        let Inner { counts, switch, .. } = &*self.0;
        let (way, trouble) = self.way(config);
        let former = switch.turn(way);
        counts.switch(config.enabled);
        if let Some(trouble) = trouble {
            counts.broken(&trouble);
        }
        end_in_background(former);
    }

    fn way(&self, config: &TelemetryConfig) -> (Way, Option<String>) {
        let counts = &self.0.counts;
        // Whatever was wrong with the former collector is over.
        counts.new_lane();
        if !config.enabled {
            return (Way::Off, None);
        }
        match config.exporter {
            Exporter::None => (Way::Nowhere, None),
            Exporter::Otlp | Exporter::Jaeger => match pipeline::otlp(config) {
                Ok(exporter) => {
                    let sender = pipeline::sender(&self.resource(config), exporter, config.batch, counts);
                    (Way::Out(Arc::new(sender)), None)
                }
                // Logs still carry the ids of the spans that nobody gets.
                Err(error) => (Way::Nowhere, Some(error.to_string())),
            },
        }
    }

    /// Says what does not go without saying.
    fn tell(&self, config: &TelemetryConfig) {
        let (exporter, endpoint, rate) = (config.exporter.as_str(), config.effective_endpoint(), clamp(config.sampling_rate));
        self.0.counts.log(|| {
            if config.enabled {
                tracing::info!(exporter, endpoint, sampling_rate = rate, "tracing is on, by settings at run time");
            } else {
                tracing::info!("tracing is off, by settings at run time");
            }
        });
    }

    /// What was set at run time.
    #[must_use]
    pub fn run_time(&self) -> RunTime {
        self.0.now.lock().run_time.clone()
    }

    /// What is in effect, key by key, and where each value comes from. Values of headers are not among it.
    #[must_use]
    pub fn effective(&self) -> Vec<Effective> {
        let now = self.0.now.lock();
        run_time::effective(now.effective.as_ref().unwrap_or(&self.0.base), self.0.identity.service)
    }

    /// Whether there is anything new to tell, in a few numbers.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        let (failing, succeeded) = self.0.counts.latest();
        let [exported, failed, dropped] = self.0.counts.by_result().map(|(_, count)| count);
        Pulse { changes: self.0.changes.load(Ordering::Relaxed), failing, succeeded, counts: [exported, failed, dropped] }
    }

    /// What became of the spans so far.
    #[must_use]
    pub fn status(&self) -> PipelineStatus {
        self.0.counts.status()
    }

    /// What should be said at the start.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let base = &self.0.base;
        let mut warnings = base.origins.notes().to_vec();
        warnings
            .extend(base.endpoint.as_deref().and_then(|text| endpoint::parse(text).ok()).and_then(|endpoint| endpoint.warning));
        warnings
    }
}

/// Whether spans go elsewhere, or under another name.
fn is_other_way(before: &TelemetryConfig, after: &TelemetryConfig) -> bool {
    let way = |config: &TelemetryConfig| {
        let place = (config.enabled, config.exporter, config.endpoint.clone(), config.protocol);
        (place, config.headers.clone(), config.tls.clone(), config.service_name.clone())
    };
    way(before) != way(after)
}

/// The end of an exporter blocks, and nobody waits for it.
fn end_in_background(way: Way) {
    if !matches!(way, Way::Out(_)) {
        return;
    }
    let end = move || drop(way.end(ENDING));
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(end)),
        Err(_) => end(),
    }
}
