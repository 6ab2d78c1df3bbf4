//! Version 1 of the API.

pub(super) mod abandonment;
pub(super) mod agent;
pub(super) mod agents;
pub(super) mod approvals;
pub(super) mod audit;
pub(super) mod deliveries;
pub(super) mod deployment_objects;
pub(super) mod deployments;
pub(super) mod enrolments;
pub(super) mod events;
pub(super) mod generation;
pub(super) mod generators;
pub(super) mod keys;
pub(super) mod page;
mod phases;
pub(super) mod reports;
pub(super) mod rollout;
pub(super) mod rotation;
pub(super) mod stacks;
pub(super) mod suspensions;
pub(super) mod targets;
pub(super) mod tokens;
pub(super) mod tracing;
pub(super) mod webhooks;
pub(super) mod work_claims;
pub(super) mod work_orders;
pub(super) mod work_reports;
