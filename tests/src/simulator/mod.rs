//! The fleet simulator: thousands of agents in one process that speak the real protocol over TCP, without clusters.
//!
//! `brokkr-lab fleet` runs a [`Fleet`]; [`Simulator`] is the handle of whoever measures or tests a broker. Every agent has a connection
//! of its own and does what a real one does: it says hello, polls with its `ETag`, fetches content, reports what it would have
//! applied, and comes back with jitter when it is thrown out.

mod agent;
mod dial;
mod enrol;
mod fleet;
mod handle;
mod push;
mod shared;
mod wire;

pub use fleet::{Fleet, FleetOptions};
pub use handle::Simulator;
pub use push::{Hammered, Push, Pushed};
pub use shared::Counts;
