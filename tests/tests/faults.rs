//! What the broker must hold whatever happens: power cuts, killed brokers, stopped databases, strangers, Secrets.
//! `make test` runs a sample; `make soak` runs the full counts and leaves its evidence in `target/soak`.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "the helpers of a test fail it where it went wrong")]
#![expect(clippy::disallowed_methods, reason = "a test has no lifecycle: its tasks end with its runtime")]

#[path = "faults/brokers.rs"]
mod brokers;
#[path = "faults/disk.rs"]
mod disk;
#[path = "faults/outage.rs"]
mod outage;
#[path = "faults/power.rs"]
mod power;
#[path = "faults/secrets.rs"]
mod secrets;
#[path = "faults/strangers.rs"]
mod strangers;
