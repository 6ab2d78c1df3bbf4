//! What traces tell: every fault with component, operation and reason, and nothing that nobody may know.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it where it went wrong")]
#![expect(clippy::disallowed_methods, reason = "a test has no lifecycle: its tasks end with its runtime")]

#[path = "tracing/allowed.rs"]
mod allowed;
#[path = "tracing/faults.rs"]
mod faults;
#[path = "tracing/privacy.rs"]
mod privacy;
#[path = "reach/proxy.rs"]
mod proxy;
#[path = "tracing/watched.rs"]
mod watched;
