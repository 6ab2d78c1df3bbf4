//! The Helm charts: what they render, what they refuse, and what becomes of it on a real cluster.
#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test fail it where it went wrong")]

#[path = "charts/authority.rs"]
mod authority;
#[path = "charts/collector.rs"]
mod collector;
#[path = "charts/configurations.rs"]
mod configurations;
#[path = "charts/daemons.rs"]
mod daemons;
#[path = "charts/examples.rs"]
mod examples;
#[path = "charts/helm.rs"]
mod helm;
#[path = "charts/keys.rs"]
mod keys;
#[path = "charts/mtls.rs"]
mod mtls;
#[path = "charts/networks.rs"]
mod networks;
#[path = "charts/passage.rs"]
mod passage;
#[path = "charts/release.rs"]
mod release;
#[path = "charts/render.rs"]
mod render;
#[path = "charts/rights.rs"]
mod rights;
