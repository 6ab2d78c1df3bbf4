//! Work orders end to end: real broker, agent and command line, the real Job controller, and KWOK in the kubelet's place.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it where it went wrong")]
#![expect(clippy::disallowed_methods, reason = "a test has no lifecycle: its tasks end with its runtime")]

#[path = "work/apply.rs"]
mod apply;
#[path = "work/jobs.rs"]
mod jobs;
#[path = "work/traces.rs"]
mod traces;
#[path = "work/trials.rs"]
mod trials;
#[path = "work/typed.rs"]
mod typed;
#[path = "work/world.rs"]
mod world;
