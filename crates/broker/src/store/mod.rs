//! The store: SQL for SQLite and PostgreSQL from one text. One file per aggregate; every statement goes through [`sql`].

mod agents;
mod changes;
mod deployment_objects;
mod deployments;
mod error;
mod events;
mod keys;
mod open;
mod presence;
pub(crate) mod sql;
mod stacks;
#[cfg(test)]
mod tests;
mod totals;

pub(crate) use agents::{AgentRow, NewAgent};
pub(crate) use changes::ChangeListener;
pub(crate) use deployment_objects::NewDeploymentObject;
pub(crate) use deployments::{DeploymentRow, DesiredRow, Outcome, RevisionSource};
pub(crate) use error::Error;
pub(crate) use events::NewEvent;
pub(crate) use keys::{KeyRow, NewKey};
pub(crate) use open::{Installation, open};
pub(crate) use sql::{Db, Tx};
pub(crate) use stacks::{Scope, StackRow};
#[cfg(test)]
pub(crate) use tests::close as close_for_tests;
