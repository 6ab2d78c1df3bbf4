//! What makes no sense in the section that both daemons have.

use brokkr_telemetry::config::TelemetryConfig;

use super::Problems;

/// Tells what makes no sense in `[telemetry]`.
pub fn check_telemetry(config: &TelemetryConfig, problems: &mut Problems) {
    problems.require(!config.timeout.is_zero(), "telemetry.timeout", "must be longer than nothing");
    problems.require(!config.batch.delay.is_zero(), "telemetry.batch.delay", "must be longer than nothing");
    problems.require(config.batch.queue_size > 0, "telemetry.batch.queue_size", "must be at least 1");
    problems.require(config.batch.batch_size > 0, "telemetry.batch.batch_size", "must be at least 1");
}
