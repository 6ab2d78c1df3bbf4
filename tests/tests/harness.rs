//! The harness itself: what it starts is real, and nothing of it survives.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test's own helpers fail the test")]

#[path = "harness/cluster.rs"]
mod cluster;
#[path = "harness/otlp.rs"]
mod otlp;
#[path = "harness/postgres.rs"]
mod postgres;
#[path = "harness/process.rs"]
mod process;
#[path = "harness/survivors.rs"]
mod survivors;
