//! What every daemon says of itself, on one screen.

use std::sync::Arc;

use opentelemetry::KeyValue;

use super::{Instruments, MetricInfo, MetricKind, instruments::Gauge};
use crate::pipeline::Counts;

const BUILD_INFO: MetricInfo = MetricInfo {
    name: "brokkr_build_info",
    kind: MetricKind::Gauge,
    help: "Always 1; the labels say which build this is.",
    labels: &["version"],
    buckets: &[],
};

const SPANS: MetricInfo = MetricInfo {
    name: "brokkr_telemetry_spans_total",
    kind: MetricKind::Counter,
    help: "Sampled spans, by whether the collector took them, refused them or was out of reach, or the queue was full.",
    labels: &["result"],
    buckets: &[],
};

/// The metrics that every daemon has. Beside them: `process_*` and `target_info`.
pub const PROCESS: &[MetricInfo] = &[BUILD_INFO, SPANS];

/// What every daemon says of itself.
#[derive(Debug)]
pub(crate) struct ProcessMetrics;

impl ProcessMetrics {
    pub(crate) fn register(instruments: &Instruments, version: &str, counts: &Arc<Counts>) {
        Gauge::declare(instruments, &BUILD_INFO).set_with(1, &[KeyValue::new("version", version.to_owned())]);
        let Some(meter) = &instruments.meter else { return };
        let counts = counts.clone();
        meter
            .u64_observable_counter(SPANS.name.trim_end_matches("_total"))
            .with_description(SPANS.help)
            .with_callback(move |observer| {
                for (result, count) in counts.by_result() {
                    observer.observe(count, &[KeyValue::new("result", result)]);
                }
            })
            .build();
    }
}
