//! HTTP on both sides: a span, the trace context, and the metrics of a request.

#[cfg(feature = "client")]
mod client;
mod server;

#[cfg(feature = "client")]
pub use client::ClientTelemetry;
pub use server::{Encrypted, Parked, SERVER_TIMING_HEADER, ServerTelemetry, TRACE_ID_HEADER};
