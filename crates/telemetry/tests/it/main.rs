//! Telemetry from outside: real exports, real requests.

#![expect(clippy::unwrap_used, reason = "the ways of a test to fail")]

mod delivery;
mod export;
mod http_client;
mod http_server;
mod metrics;
mod metrics_push;
mod receiver;
mod run_time;
mod tls;
mod w3c;
