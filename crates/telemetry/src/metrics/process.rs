//! What every daemon says of itself, on one screen.

use std::sync::Arc;

use opentelemetry::KeyValue;

use super::{
    Instruments, MetricInfo, MetricKind,
    instruments::Gauge,
    labels::{COMMIT, SPAN_RESULT, VERSION},
};
use crate::pipeline::Counts;

/// The commit, where whoever builds says it: `BROKKR_COMMIT=… cargo build`.
const BUILT_FROM: &str = match option_env!("BROKKR_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

const BUILD_INFO: MetricInfo = MetricInfo {
    name: "brokkr_build_info",
    kind: MetricKind::Gauge,
    help: "Always 1; the labels say which build this is.",
    labels: &[VERSION, COMMIT],
    buckets: &[],
    query: "count by (version, commit) (brokkr_build_info)",
};

const SPANS: MetricInfo = MetricInfo {
    name: "brokkr_telemetry_spans_total",
    kind: MetricKind::Counter,
    help: "Sampled spans, by whether the collector took them, refused them or was out of reach, or the queue was full.",
    labels: &[SPAN_RESULT],
    buckets: &[],
    query: "sum by (result) (rate(brokkr_telemetry_spans_total[5m]))",
};

/// The metrics that every daemon has. Beside them: `process_*` and `target_info`.
pub const PROCESS: &[MetricInfo] = &[BUILD_INFO, SPANS];

/// What every daemon says of itself.
#[derive(Debug)]
pub(crate) struct ProcessMetrics;

impl ProcessMetrics {
    pub(crate) fn register(instruments: &Instruments, version: &str, counts: &Arc<Counts>) {
        let build = [KeyValue::new("version", version.to_owned()), KeyValue::new("commit", BUILT_FROM)];
        Gauge::declare(instruments, &BUILD_INFO).set_with(1, &build);
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
