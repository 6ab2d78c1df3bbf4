//! What traces tell: every fault with component, operation and reason, and nothing that nobody may know.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "the helpers of a test fail it where it went wrong")]

#[path = "tracing/faults.rs"]
mod faults;
