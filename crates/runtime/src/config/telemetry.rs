//! What makes no sense in the section that both daemons have.

use std::time::Duration;

use brokkr_api::routes;
use brokkr_telemetry::config::{MetricsConfig, TelemetryConfig};

use super::Problems;

/// Tells what makes no sense in `[telemetry]`.
pub fn check_telemetry(config: &TelemetryConfig, problems: &mut Problems) {
    problems.require(!config.timeout.is_zero(), "telemetry.timeout", "must be longer than nothing");
    problems.require(!config.batch.delay.is_zero(), "telemetry.batch.delay", "must be longer than nothing");
    let tls = &config.tls;
    problems.require(
        tls.key_file.is_some() || tls.certificate_file.is_none(),
        "telemetry.tls.key_file",
        "a certificate needs its key",
    );
    problems.require(
        tls.certificate_file.is_some() || tls.key_file.is_none(),
        "telemetry.tls.certificate_file",
        "a key needs its certificate",
    );
    let is_rate = |rate: f64| rate.is_finite() && rate >= 0.0;
    problems.require(is_rate(config.untrusted_traces_per_second), "telemetry.untrusted_traces_per_second", "must be 0 or more");
    let adaptive = config.adaptive_traces_per_second.is_none_or(|rate| rate.is_finite() && rate > 0.0);
    problems.require(adaptive, "telemetry.adaptive_traces_per_second", "must be more than 0");
    problems.require(config.batch.queue_size > 0, "telemetry.batch.queue_size", "must be at least 1");
    problems.require(config.batch.batch_size > 0, "telemetry.batch.batch_size", "must be at least 1");
}

/// Tells what makes no sense in `[metrics]`.
pub fn check_metrics(config: &MetricsConfig, problems: &mut Problems) {
    let path = config.path.as_str();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte);
    let is_path =
        path.len() > 1 && path.starts_with('/') && !path.ends_with('/') && !path.contains("//") && path.bytes().all(is_plain);
    problems.require(is_path, "metrics.path", "is not a path of letters, digits, -, _ and . such as /metrics");
    let is_taken = [routes::HEALTHZ, routes::READYZ, routes::DOCS].contains(&path) || path.starts_with("/api/");
    problems.require(!is_taken, "metrics.path", "is the path of something else");
    problems.require(config.interval >= Duration::from_secs(1), "metrics.interval", "must be at least 1s");
}
