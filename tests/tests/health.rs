//! Health end to end: real broker and agent, the real controllers, and KWOK in the kubelet's place.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it where it went wrong")]

#[path = "health/rules.rs"]
mod rules;
#[path = "health/storage.rs"]
mod storage;
#[path = "health/terminating.rs"]
mod terminating;
#[path = "health/workloads.rs"]
mod workloads;
#[path = "health/world.rs"]
mod world;
