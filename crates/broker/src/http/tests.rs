//! The API in process: the router with everything behind it, without a port.

mod access;
mod battery;
mod content;
mod costs;
mod generations;
mod identities;
mod manners;
mod outage;
mod policies;
mod poll;
mod problems;
mod records;
mod steps;
mod suspension;
mod targeting;
mod trace_settings;
mod tracing;
mod work_model;
mod work_order_requests;
mod work_orders;

use std::time::Duration;

/// Fails the test instead of hanging when `work` does not end; says nothing about how fast it is.
async fn ends<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("it goes on and on")
}
