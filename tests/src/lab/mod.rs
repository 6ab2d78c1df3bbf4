//! Starting programs so that nothing survives: supervisors, scratch folders, ports, children bound to our life.

mod error;
mod limits;
mod orders;
mod ports;
mod program;
mod programs;
mod scratch;
mod spawn;
mod supervisor;
mod wait;

pub use error::LabError;
pub use limits::raise_file_limit;
pub use orders::{Order, Orders, Reply, Service, serve};
pub use ports::free_port;
pub(crate) use program::tail;
pub use program::{Program, Spec};
pub use programs::{built, collector, compose, helm, kubernetes_programs, on_path, shipwright, zipkin};
pub use scratch::Scratch;
pub use spawn::{Death, bound, spawn};
pub use supervisor::Supervisor;
pub use wait::until;
