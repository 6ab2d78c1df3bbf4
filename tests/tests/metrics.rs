//! What `/metrics` says is what the database and the API server say, metric by metric, and how it is served.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it where it went wrong")]
#![expect(clippy::disallowed_methods, reason = "a test has no lifecycle: its tasks end with its runtime")]

#[path = "metrics/agent.rs"]
mod agent;
#[path = "metrics/broker.rs"]
mod broker;
#[path = "metrics/serving.rs"]
mod serving;
#[path = "metrics/truth.rs"]
mod truth;
#[path = "metrics/webhooks.rs"]
mod webhooks;

/// The tests beside this file.
const TESTS: [&str; 4] = [
    include_str!("metrics/agent.rs"),
    include_str!("metrics/broker.rs"),
    include_str!("metrics/serving.rs"),
    include_str!("metrics/webhooks.rs"),
];
/// Metrics that another test brings about and reads, and where that is.
const ELSEWHERE: &[(&str, &str)] = &[];

#[test]
fn every_metric_of_the_catalogue_is_read_by_a_test_that_brings_it_about() {
    for metric in brokkr_telemetry::metrics::catalogue() {
        let elsewhere = ELSEWHERE.iter().filter(|(name, _)| *name == metric.name).map(|(_, text)| *text);
        let is_read = TESTS.into_iter().chain(elsewhere).any(|text| text.contains(metric.name));
        assert!(is_read, "{}: bring it about in a test here and compare it with what happened", metric.name);
    }
}
