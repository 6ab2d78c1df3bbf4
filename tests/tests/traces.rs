//! What traces of real processes tell: where the time went, what Kubernetes adds, and how large they become.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "the helpers of a test fail it where it went wrong")]
#![expect(clippy::print_stdout, reason = "the figures, for whoever runs it with --nocapture")]

#[path = "traces/catalogue.rs"]
mod catalogue;
#[path = "traces/coverage.rs"]
mod coverage;
#[path = "traces/coverage_of_changes.rs"]
mod coverage_of_changes;
#[path = "traces/fan_out.rs"]
mod fan_out;
#[path = "traces/kubernetes.rs"]
mod kubernetes;
#[path = "traces/passing_on.rs"]
mod passing_on;
#[path = "traces/world.rs"]
mod world;
