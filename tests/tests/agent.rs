//! The agent against a real kube-apiserver: faults on every way, real bundles, bad input.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it where it went wrong")]

#[path = "agent/bad_input.rs"]
mod bad_input;
#[path = "agent/bundles.rs"]
mod bundles;
#[path = "agent/faults.rs"]
mod faults;
#[path = "agent/ground.rs"]
mod ground;
#[path = "agent/objects.rs"]
mod objects;
#[path = "agent/policies.rs"]
mod policies;
#[path = "agent/steps.rs"]
mod steps;
#[path = "agent/trials.rs"]
mod trials;
