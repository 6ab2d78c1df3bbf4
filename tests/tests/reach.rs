//! The agent's edges: who of several leads, how it reaches broker and cluster, what it may do.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it where it went wrong")]
#![expect(clippy::disallowed_methods, reason = "a test has no lifecycle: its tasks end with its runtime")]

#[path = "reach/connection.rs"]
mod connection;
#[path = "reach/leader.rs"]
mod leader;
#[path = "reach/proxy.rs"]
mod proxy;
#[path = "reach/rights.rs"]
mod rights;
