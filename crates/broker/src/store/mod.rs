//! The store: SQL for SQLite and PostgreSQL from one text. One file per aggregate; every statement goes through [`sql`].

mod agent_deliveries;
mod agents;
mod audit;
mod changes;
mod deliveries;
mod deployment_objects;
mod deployments;
mod enrolment;
mod error;
mod events;
mod fan_out;
mod keys;
mod migrations;
mod open;
mod outcomes;
mod presence;
mod restore;
mod rollouts;
pub(crate) mod sql;
mod stacks;
mod suspensions;
#[cfg(test)]
mod tests;
mod totals;
mod tracing;
mod webhooks;
mod work_orders;

pub(crate) use agent_deliveries::{DeliveryClaim, DueDelivery, SendingAgent};
pub(crate) use agents::{AgentFilter, AgentRow, Marked, NewAgent};
pub(crate) use audit::NewAuditEntry;
pub(crate) use changes::{ChangeListener, Standing};
pub(crate) use deliveries::{ClaimedDelivery, DeliveryRow, Judged, Settled};
pub(crate) use deployment_objects::{NewDeploymentObject, StoredContent};
pub(crate) use deployments::{AgentTarget, Approval, ByStack, DesiredRow, RevisionSource};
pub(crate) use enrolment::EnrolledAgent;
pub(crate) use error::Error;
pub(crate) use events::{EventFilter, NewEvent};
pub(crate) use keys::{KeyRow, NewKey};
pub(crate) use migrations::{Schema, look, migrate};
pub(crate) use open::{Installation, OpenError, is_postgres, new_epoch, open, sqlite_file};
pub(crate) use outcomes::{DeploymentRow, Outcome};
pub(crate) use presence::PickedUp;
pub(crate) use restore::{Restore, Restored};
pub(crate) use rollouts::DeploymentView;
pub(crate) use sql::{Db, Tx};
pub(crate) use stacks::{AcceptGeneration, DeletedStack, Phases, Scope, StackFilter, StackRow, StackTargets};
pub(crate) use suspensions::{StoredSuspension, widest};
#[cfg(test)]
pub(crate) use tests::close as close_for_tests;
pub(crate) use tracing::StoredTracing;
pub(crate) use webhooks::{DisabledWebhook, Mark, NewWebhook, WebhookRow};
pub(crate) use work_orders::{Claimant, ClaimedRow, NewWorkOrder, Payload, Queue, Saved, WorkOrderRow};
