//! Pure rules of the broker: no database, no clock, no network.

mod build_request;
pub(crate) mod handoff;
pub(crate) mod key;
pub(crate) mod manifests;
pub(crate) mod policy;
pub(crate) mod rollout;
pub(crate) mod seal;
pub(crate) mod targeting;
pub(crate) mod tracing;
pub(crate) mod webhook;
pub(crate) mod work_order;
pub(crate) mod work_request;
