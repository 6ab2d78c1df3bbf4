//! What both daemons stand on: configuration, clock, ids, supervised tasks, and the routes that every daemon has.

pub mod clock;
pub mod command_line;
pub mod config;
pub mod daemon;
pub mod durable;
mod hex;
pub mod ids;
pub mod lifecycle;
pub mod server;
pub mod trace_settings;

pub use clock::{Clock, ManualClock, SystemClock};
pub use hex::hex;
pub use ids::{Ids, SeededIds, SystemIds};
pub use lifecycle::{Drain, Ended, Lifecycle, Signals};
