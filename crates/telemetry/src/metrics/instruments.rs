//! Instruments: what a row of the catalogue becomes.
//!
//! Recording is a no-op where metrics are switched off.

use std::{collections::HashMap, sync::Arc, time::Duration, time::SystemTime};

use opentelemetry::{
    Context, KeyValue,
    metrics::{self, Meter},
    trace::TraceContextExt,
};
use parking_lot::Mutex;

use super::{MetricInfo, MetricKind};

/// Makes instruments.
#[derive(Debug, Clone, Default)]
pub(crate) struct Instruments {
    pub(crate) meter: Option<Meter>,
    pub(crate) exemplars: Exemplars,
}

/// Only goes up.
#[derive(Debug, Clone)]
pub(crate) struct Counter(Option<metrics::Counter<u64>>);

/// Durations, in seconds. Measured inside a sampled span, they leave its trace id as an exemplar.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    family: &'static str,
    bounds: &'static [f64],
    histogram: Option<metrics::Histogram<f64>>,
    exemplars: Exemplars,
}

/// A number that goes up and down.
#[derive(Debug, Clone)]
pub struct Gauge(Option<metrics::Gauge<i64>>);

/// How many are within something at this moment.
#[derive(Debug, Clone)]
pub struct Level(Option<metrics::UpDownCounter<i64>>);

/// One that is within, until it is dropped.
#[derive(Debug)]
pub struct Within<'a>(&'a Level);

/// A number that is read whenever somebody looks, from memory: reading it must cost nothing that grows with the fleet.
#[derive(Debug, Clone)]
pub struct Observed {
    meter: Option<Meter>,
    name: &'static str,
    help: &'static str,
}

/// A point in time in Unix seconds, or a span of time in seconds.
#[derive(Debug, Clone)]
pub struct SecondsGauge(Option<metrics::Gauge<f64>>);

impl Counter {
    pub(crate) const KIND: MetricKind = MetricKind::Counter;

    pub(crate) fn declare(instruments: &Instruments, info: &MetricInfo) -> Self {
        // The exporter appends the suffix.
        let name = info.name.trim_end_matches("_total");
        Self(instruments.meter.as_ref().map(|meter| meter.u64_counter(name).with_description(info.help).build()))
    }

    /// Adding 0 makes the series appear.
    pub(crate) fn add(&self, value: u64, labels: &[KeyValue]) {
        if let Some(counter) = &self.0 {
            counter.add(value, labels);
        }
    }
}

impl Histogram {
    pub(crate) const KIND: MetricKind = MetricKind::Histogram;

    pub(crate) fn declare(instruments: &Instruments, info: &MetricInfo) -> Self {
        // The exporter appends the unit.
        let name = info.name.trim_end_matches("_seconds");
        let build = |meter: &Meter| {
            meter.f64_histogram(name).with_unit("s").with_description(info.help).with_boundaries(info.buckets.to_vec()).build()
        };
        let histogram = instruments.meter.as_ref().map(build);
        Self { family: info.name, bounds: info.buckets, histogram, exemplars: instruments.exemplars.clone() }
    }

    pub(crate) fn record(&self, elapsed: Duration, labels: &[KeyValue]) {
        let Some(histogram) = &self.histogram else { return };
        let seconds = elapsed.as_secs_f64();
        histogram.record(seconds, labels);
        let place = Context::map_current(|context| {
            let span = context.span();
            let place = span.span_context();
            place.is_sampled().then(|| (place.trace_id().to_string(), place.span_id().to_string()))
        });
        if let Some((trace_id, span_id)) = place {
            let bucket = self.bounds.partition_point(|bound| *bound < seconds);
            let exemplar = Exemplar { trace_id, span_id, value: seconds, at: opentelemetry::time::now() };
            self.exemplars.keep(self.family, labels, bucket, exemplar);
        }
    }
}

impl Gauge {
    pub(crate) const KIND: MetricKind = MetricKind::Gauge;

    pub(crate) fn declare(instruments: &Instruments, info: &MetricInfo) -> Self {
        Self(instruments.meter.as_ref().map(|meter| meter.i64_gauge(info.name).with_description(info.help).build()))
    }

    /// The value from now on.
    pub fn set(&self, value: i64) {
        self.set_with(value, &[]);
    }

    pub(crate) fn set_with(&self, value: i64, labels: &[KeyValue]) {
        if let Some(gauge) = &self.0 {
            gauge.record(value, labels);
        }
    }
}

impl Level {
    pub(crate) const KIND: MetricKind = MetricKind::Gauge;

    pub(crate) fn declare(instruments: &Instruments, info: &MetricInfo) -> Self {
        let build = |meter: &Meter| meter.i64_up_down_counter(info.name).with_description(info.help).build();
        Self(instruments.meter.as_ref().map(build))
    }

    /// One more, until what is returned is dropped.
    #[must_use]
    pub fn enter(&self) -> Within<'_> {
        self.add(1);
        Within(self)
    }

    pub(crate) fn add(&self, change: i64) {
        if let Some(counter) = &self.0 {
            counter.add(change, &[]);
        }
    }
}

impl Drop for Within<'_> {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

impl Observed {
    pub(crate) const KIND: MetricKind = MetricKind::Gauge;

    pub(crate) fn declare(instruments: &Instruments, info: &MetricInfo) -> Self {
        Self { meter: instruments.meter.clone(), name: info.name, help: info.help }
    }

    /// Where the number is read. Said once.
    pub fn by(&self, read: impl Fn() -> i64 + Send + Sync + 'static) {
        if let Some(meter) = &self.meter {
            let gauge = meter.i64_observable_gauge(self.name).with_description(self.help);
            gauge.with_callback(move |observer| observer.observe(read(), &[])).build();
        }
    }

    pub(crate) fn by_word(&self, label: &'static str, read: impl Fn() -> Vec<(&'static str, i64)> + Send + Sync + 'static) {
        if let Some(meter) = &self.meter {
            let gauge = meter.i64_observable_gauge(self.name).with_description(self.help);
            let observe = move |observer: &dyn metrics::AsyncInstrument<i64>| {
                for (word, value) in read() {
                    observer.observe(value, &[KeyValue::new(label, word)]);
                }
            };
            gauge.with_callback(observe).build();
        }
    }
}

impl SecondsGauge {
    pub(crate) const KIND: MetricKind = MetricKind::Gauge;

    pub(crate) fn declare(instruments: &Instruments, info: &MetricInfo) -> Self {
        Self(instruments.meter.as_ref().map(|meter| meter.f64_gauge(info.name).with_description(info.help).build()))
    }

    /// The point in time from now on; before 1970 counts as 1970.
    pub fn set(&self, at: SystemTime) {
        self.set_seconds(at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64());
    }

    /// The time span from now on.
    pub fn set_span(&self, span: Duration) {
        self.set_seconds(span.as_secs_f64());
    }

    pub(crate) fn set_seconds(&self, seconds: f64) {
        self.set_with(seconds, &[]);
    }

    pub(crate) fn set_with(&self, seconds: f64, labels: &[KeyValue]) {
        if let Some(gauge) = &self.0 {
            gauge.record(seconds, labels);
        }
    }
}

/// A measurement that can be looked up as a trace.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Exemplar {
    pub(crate) trace_id: String,
    pub(crate) span_id: String,
    pub(crate) value: f64,
    pub(crate) at: SystemTime,
}

/// The latest exemplar of each bucket. The SDK records none itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Exemplars(Arc<Mutex<Kept>>);

type Kept = HashMap<(&'static str, Labels), HashMap<usize, Exemplar>>;

/// Sorted by name.
type Labels = Vec<(String, String)>;

impl Exemplars {
    fn keep(&self, family: &'static str, labels: &[KeyValue], bucket: usize, exemplar: Exemplar) {
        let mut labels: Labels = labels.iter().map(|label| (label.key.to_string(), label.value.to_string())).collect();
        labels.sort_unstable();
        self.0.lock().entry((family, labels)).or_default().insert(bucket, exemplar);
    }

    /// The exemplars of a series, by the index of their bucket. `labels` are sorted by name.
    pub(crate) fn of(&self, family: &str, labels: &[(&str, &str)]) -> HashMap<usize, Exemplar> {
        let kept = self.0.lock();
        let same = |kept: &Labels| kept.iter().map(|(name, value)| (name.as_str(), value.as_str())).eq(labels.iter().copied());
        kept.iter()
            .find(|((name, kept), _)| *name == family && same(kept))
            .map(|(_, buckets)| buckets.clone())
            .unwrap_or_default()
    }
}
