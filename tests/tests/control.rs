//! What people do to a fleet, end to end: suspension, refusals, rollback, targets, and the command line that does it.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it where it went wrong")]
#![expect(clippy::disallowed_methods, reason = "a test has no lifecycle: its tasks end with its runtime")]

#[path = "control/approvals.rs"]
mod approvals;
#[path = "control/command_line.rs"]
mod command_line;
#[path = "control/enrolled.rs"]
mod enrolled;
#[path = "control/identity.rs"]
mod identity;
#[path = "control/suspension.rs"]
mod suspension;
#[path = "control/tracing.rs"]
mod tracing;
