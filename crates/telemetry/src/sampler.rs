//! Which spans are kept.
//!
//! - A child follows the flag of its parent. A local parent that is recorded without being sampled has children that are recorded, too.
//! - A remote parent of an untrusted caller gives its trace id only; the rates decide.
//! - A root that links somewhere follows the flag of the link, so that a rollout is kept whole or not at all.
//! - Any other root is kept by the rate of its class, from the trace id alone, so that every process of ours decides alike. A class without a rate of
//!   its own has the general one, or the share that makes so many traces a second.
//! - Of what strangers begin or continue, so many a second are kept at most.

mod head;
mod ids;
mod limits;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use opentelemetry::{
    Context, KeyValue,
    trace::{Link, SpanKind, TraceContextExt, TraceId},
};
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, ShouldSample};
use parking_lot::{Mutex, RwLock};

use limits::{Adaptive, Bucket};

use head::Decided;
pub(crate) use head::{Head, Place};
pub(crate) use ids::{Ids, with_trace_id};

use crate::config::{Rates, TelemetryConfig};

/// Class of an operation, which chooses the rate of a trace that begins with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Class {
    /// What delivers something: rollouts and work orders.
    Rollout,
    /// A long poll.
    Poll,
    /// Health and metrics.
    Probe,
    /// Background work.
    Job,
    /// A request that changes something.
    Write,
    /// Trouble that is rare and told once: always kept.
    Trouble,
    /// Anything else.
    #[default]
    Default,
}

impl Class {
    /// What a request is whose route says nothing else.
    pub(crate) fn of_method(method: &http::Method) -> Self {
        if method.is_safe() { Self::Default } else { Self::Write }
    }
}

/// Changes the rates while the process runs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SamplerHandle {
    rules: Arc<Rules>,
}

#[derive(Debug)]
struct Rules {
    thresholds: RwLock<Thresholds>,
    adaptive: Mutex<Option<Adaptive>>,
    strangers: Mutex<Bucket>,
    record_rollouts: AtomicBool,
}

/// From which random value on a trace is kept. None follows the load.
#[derive(Debug, Clone, Copy)]
struct Thresholds {
    rollout: Option<u64>,
    poll: u64,
    probe: u64,
    job: u64,
    write: Option<u64>,
    default: Option<u64>,
}

impl SamplerHandle {
    pub(crate) fn new(config: &TelemetryConfig) -> Self {
        let rules = Rules {
            thresholds: RwLock::new(Thresholds::new(config)),
            adaptive: Mutex::new(config.adaptive_traces_per_second.map(Adaptive::new)),
            strangers: Mutex::new(Bucket::new(config.untrusted_traces_per_second)),
            record_rollouts: AtomicBool::new(false),
        };
        Self { rules: Arc::new(rules) }
    }

    /// From now on traces begin by these rates. Values outside of 0 to 1 are clamped; what is not a number counts as 0.
    pub(crate) fn set(&self, config: &TelemetryConfig) {
        *self.rules.thresholds.write() = Thresholds::new(config);
        *self.rules.adaptive.lock() = config.adaptive_traces_per_second.map(Adaptive::new);
    }

    /// The same, by shares alone.
    pub fn set_rates(&self, sampling_rate: f64, rates: Rates) {
        self.set(&TelemetryConfig { sampling_rate, rates, ..TelemetryConfig::default() });
    }

    /// Whether rollouts are recorded even where they are not sampled. The flag on the wire does not change by that, and nothing more is exported.
    pub fn record_rollouts(&self, record: bool) {
        self.rules.record_rollouts.store(record, Ordering::Relaxed);
    }

    pub(crate) fn sampler(&self) -> RuleSampler {
        RuleSampler { rules: self.rules.clone() }
    }
}

impl Rules {
    /// Whether a trace is kept that begins with this class.
    fn by_rate(&self, class: Class, trace_id: TraceId) -> bool {
        let random = random_value(trace_id);
        match self.thresholds.read().of(class) {
            Some(threshold) => threshold < RANDOM_VALUES && random >= threshold,
            None => self.adaptive.lock().as_mut().is_some_and(|adaptive| adaptive.keeps(random, Instant::now())),
        }
    }

    /// Whether one is recorded that is not kept.
    fn records(&self, class: Class) -> bool {
        class == Class::Rollout && self.record_rollouts.load(Ordering::Relaxed)
    }

    /// Whether one more trace of somebody that we do not know may be kept.
    fn admits_stranger(&self) -> bool {
        self.strangers.lock().take(Instant::now())
    }
}

impl Thresholds {
    fn new(config: &TelemetryConfig) -> Self {
        let Rates { poll, probe, job, rollout, write } = config.rates;
        let default = config.adaptive_traces_per_second.is_none().then(|| threshold(config.sampling_rate));
        Self {
            rollout: rollout.map(threshold).or(default),
            poll: threshold(poll),
            probe: threshold(probe),
            job: threshold(job),
            write: write.map(threshold).or(default),
            default,
        }
    }

    fn of(&self, class: Class) -> Option<u64> {
        match class {
            Class::Rollout => self.rollout,
            Class::Poll => Some(self.poll),
            Class::Probe => Some(self.probe),
            Class::Job => Some(self.job),
            Class::Write => self.write,
            Class::Trouble => Some(0),
            Class::Default => self.default,
        }
    }
}

/// The number of random values, of the 56 bits that the W3C recommendation promises in a trace id.
const RANDOM_VALUES: u64 = 1 << 56;

/// Random values from here on are kept. The same rule as the collector's, so that the two keep the same traces.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0 to 2^56")]
fn threshold(rate: f64) -> u64 {
    let rate = clamp(rate);
    ((1.0 - rate) * RANDOM_VALUES as f64) as u64
}

/// Within 0 to 1; 0 for what is not a number.
pub(crate) fn clamp(rate: f64) -> f64 {
    if rate.is_nan() { 0.0 } else { rate.clamp(0.0, 1.0) }
}

fn random_value(trace_id: TraceId) -> u64 {
    let [.., a, b, c, d, e, f, g] = trace_id.to_bytes();
    u64::from_be_bytes([0, a, b, c, d, e, f, g])
}

#[derive(Debug, Clone)]
pub(crate) struct RuleSampler {
    rules: Arc<Rules>,
}

impl RuleSampler {
    fn keeps(&self, parent: &Context, class: Class, trace_id: TraceId, links: &[Link]) -> bool {
        let span = parent.span();
        let place = span.span_context();
        if place.is_valid() {
            return place.is_sampled();
        }
        let mut links = links.iter().filter(|link| link.span_context.is_valid()).peekable();
        if links.peek().is_some() {
            links.any(|link| link.span_context.is_sampled())
        } else {
            self.rules.by_rate(class, trace_id)
        }
    }

    fn records(&self, parent: &Context, class: Class) -> bool {
        let span = parent.span();
        let place = span.span_context();
        let child_of_ours = place.is_valid() && !place.is_remote();
        if child_of_ours { span.is_recording() } else { self.rules.records(class) }
    }
}

impl ShouldSample for RuleSampler {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        _name: &str,
        _kind: &SpanKind,
        _attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let none = Context::new();
        let parent = parent.unwrap_or(&none);
        let class = parent.get::<Class>().copied().unwrap_or_default();
        let decision = if let Some(decided) = Decided::of(parent) {
            decided
        } else if self.keeps(parent, class, trace_id, links) {
            SamplingDecision::RecordAndSample
        } else if self.records(parent, class) {
            SamplingDecision::RecordOnly
        } else {
            SamplingDecision::Drop
        };
        let trace_state = parent.span().span_context().trace_state().clone();
        SamplingResult { decision, attributes: Vec::new(), trace_state }
    }
}

#[cfg(test)]
mod tests;
