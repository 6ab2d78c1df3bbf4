//! What every daemon says of itself, on one screen.

use std::sync::Arc;

use opentelemetry::KeyValue;

use super::{
    Instruments, MetricInfo, MetricKind,
    instruments::Gauge,
    labels::{CAUSE, COMMIT, SPAN_RESULT, VERSION},
    usage,
};
use crate::pipeline::{Cause, Counts};

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

const DROPS: MetricInfo = MetricInfo {
    name: "brokkr_telemetry_drops_total",
    kind: MetricKind::Counter,
    help: "Sampled spans that are lost, by cause.",
    labels: &[CAUSE],
    buckets: &[],
    query: "sum by (cause) (increase(brokkr_telemetry_drops_total[1h]))",
};

const UP: MetricInfo = MetricInfo {
    name: "brokkr_telemetry_pipeline_up",
    kind: MetricKind::Gauge,
    help: "1 while the collector takes spans as far as is known, 0 when the exporter cannot be made or the latest export failed. Absent while tracing is off.",
    labels: &[],
    buckets: &[],
    query: "min by (instance) (brokkr_telemetry_pipeline_up)",
};

/// The metrics that every daemon has. Beside them: `process_*` and `target_info`.
pub const PROCESS: &[MetricInfo] = &[BUILD_INFO, SPANS, DROPS, UP];

/// What every daemon says of itself.
#[derive(Debug)]
pub(crate) struct ProcessMetrics;

impl ProcessMetrics {
    pub(crate) fn register(instruments: &Instruments, version: &str, counts: &Arc<Counts>) {
        let build = [KeyValue::new("version", version.to_owned()), KeyValue::new("commit", BUILT_FROM)];
        Gauge::declare(instruments, &BUILD_INFO).set_with(1, &build);
        let Some(meter) = &instruments.meter else { return };
        usage::register(meter);
        let (drops, up, counts) = (counts.clone(), counts.clone(), counts.clone());
        meter
            .u64_observable_counter(DROPS.name.trim_end_matches("_total"))
            .with_description(DROPS.help)
            .with_callback(move |observer| {
                for cause in Cause::ALL {
                    observer.observe(drops.drops_by(cause), &[KeyValue::new("cause", cause.as_str())]);
                }
            })
            .build();
        meter
            .u64_observable_gauge(UP.name)
            .with_description(UP.help)
            .with_callback(move |observer| {
                if let Some(is_up) = up.is_up() {
                    observer.observe(u64::from(is_up), &[]);
                }
            })
            .build();
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
