//! Rollouts end to end: real broker and agents, real databases, a real kube-apiserver.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "the helpers of a test fail it where it went wrong")]
#![expect(clippy::disallowed_methods, reason = "a test has no lifecycle: its tasks end with its runtime")]

#[path = "rollouts/bad_input.rs"]
mod bad_input;
#[path = "rollouts/deletion.rs"]
mod deletion;
#[path = "rollouts/drift.rs"]
mod drift;
#[path = "rollouts/endurance.rs"]
mod endurance;
#[path = "rollouts/outages.rs"]
mod outages;
#[path = "rollouts/probes.rs"]
mod probes;
#[path = "rollouts/replicas.rs"]
mod replicas;
#[path = "rollouts/start_and_end.rs"]
mod start_and_end;
#[path = "rollouts/supervision.rs"]
mod supervision;
#[path = "rollouts/telemetry.rs"]
mod telemetry;
#[path = "rollouts/trials.rs"]
mod trials;
#[path = "rollouts/waves.rs"]
mod waves;
