//! Builds end to end: real broker, agent and command line, the real controllers of Shipwright and Tekton, and KWOK in the kubelet's place.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it where it went wrong")]

#[path = "builds/failed.rs"]
mod failed;
#[path = "builds/stopped.rs"]
mod stopped;
#[path = "builds/succeeded.rs"]
mod succeeded;
#[path = "builds/typed.rs"]
mod typed;
#[path = "builds/world.rs"]
mod world;
