//! OpenMetrics 1.0 text: what the stock exporter lacks, exemplars above all.
//!
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>

use std::time::{Duration, SystemTime};

use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};

use super::{
    MetricInfo,
    instruments::{Exemplar, Exemplars},
};

/// Encodes families, declares those of `absent`, and ends with `# EOF`.
pub(super) fn encode(families: &[MetricFamily], absent: &[MetricInfo], exemplars: &Exemplars) -> String {
    let mut out = String::new();
    for family in families {
        encode_family(&mut out, family, exemplars);
    }
    for info in absent {
        head(&mut out, info.name, info.kind.as_str(), info.help);
    }
    out.push_str("# EOF\n");
    out
}

fn encode_family(out: &mut String, family: &MetricFamily, exemplars: &Exemplars) {
    let name = family.name();
    let kind = match family.get_field_type() {
        MetricType::COUNTER => "counter",
        MetricType::GAUGE if name.ends_with("_info") => "info",
        MetricType::GAUGE => "gauge",
        MetricType::HISTOGRAM => "histogram",
        MetricType::SUMMARY | MetricType::UNTYPED => "unknown",
    };
    head(out, name, kind, family.help());
    for metric in family.get_metric() {
        match family.get_field_type() {
            MetricType::COUNTER => sample(out, name, metric.get_label(), metric.get_counter().get_value()),
            MetricType::GAUGE => sample(out, name, metric.get_label(), metric.get_gauge().get_value()),
            MetricType::HISTOGRAM => histogram(out, name, metric, exemplars),
            // Nothing of ours makes these.
            MetricType::SUMMARY | MetricType::UNTYPED => {}
        }
    }
}

/// `# TYPE`, `# UNIT` and `# HELP` of a family, whose name is without the suffix that its samples carry.
fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let family = match kind {
        "counter" => name.strip_suffix("_total").unwrap_or(name),
        "info" => name.strip_suffix("_info").unwrap_or(name),
        _ => name,
    };
    line(out, format_args!("# TYPE {family} {kind}"));
    if let Some(unit) = ["seconds", "bytes"].into_iter().find(|unit| family.ends_with(&format!("_{unit}"))) {
        line(out, format_args!("# UNIT {family} {unit}"));
    }
    line(out, format_args!("# HELP {family} {}", escape(help)));
}

fn histogram(out: &mut String, name: &str, metric: &Metric, exemplars: &Exemplars) {
    let histogram = metric.get_histogram();
    let labels: Vec<(&str, &str)> = metric.get_label().iter().map(|label| (label.name(), label.value())).collect();
    let kept = exemplars.of(name, &labels);
    let finite = histogram.get_bucket().iter().map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()));
    let all = finite.chain([(f64::INFINITY, histogram.get_sample_count())]);
    for (index, (bound, count)) in all.enumerate() {
        let le = number(bound);
        let labels = labels_with(metric.get_label(), Some(&le));
        line(out, format_args!("{name}_bucket{labels} {count}{}", kept.get(&index).map(exemplar).unwrap_or_default()));
    }
    let labels = labels_with(metric.get_label(), None);
    line(out, format_args!("{name}_count{labels} {}", histogram.get_sample_count()));
    line(out, format_args!("{name}_sum{labels} {}", number(histogram.get_sample_sum())));
}

fn exemplar(exemplar: &Exemplar) -> String {
    let at = exemplar.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (trace_id, span_id, value) = (&exemplar.trace_id, &exemplar.span_id, number(exemplar.value));
    format!(" # {{trace_id=\"{trace_id}\",span_id=\"{span_id}\"}} {value} {}.{:03}", at.as_secs(), at.subsec_millis())
}

fn sample(out: &mut String, name: &str, labels: &[LabelPair], value: f64) {
    line(out, format_args!("{name}{} {}", labels_with(labels, None), number(value)));
}

fn labels_with(labels: &[LabelPair], le: Option<&str>) -> String {
    let pairs = labels.iter().map(|label| (label.name(), label.value())).chain(le.map(|le| ("le", le)));
    let pairs: Vec<String> = pairs.map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
    if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) }
}

/// A canonical number: always with a point, or an infinity.
fn number(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        format!("{value:?}")
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.push_str(&text.to_string());
    out.push('\n');
}
