//! Metrics that page the right person: rules, dashboards and documentation against a real Prometheus, and the alerts under the
//! faults that they are for.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it where it went wrong")]
#![expect(clippy::disallowed_methods, reason = "a test's certificates are made for today")]

#[path = "monitoring/clusters.rs"]
mod clusters;
#[path = "monitoring/collectors.rs"]
mod collectors;
#[path = "monitoring/databases.rs"]
mod databases;
#[path = "monitoring/deadlines.rs"]
mod deadlines;
#[path = "monitoring/load.rs"]
mod load;
#[path = "monitoring/outages.rs"]
mod outages;
#[path = "monitoring/queries.rs"]
mod queries;
#[path = "monitoring/rules.rs"]
mod rules;
#[path = "monitoring/world.rs"]
mod world;
