//! One command per file.

pub(crate) mod agent;
pub(crate) mod apply;
pub(crate) mod approve;
pub(crate) mod build;
mod confirm;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod describe;
pub(crate) mod get;
pub(crate) mod history;
pub(crate) mod man;
mod manifests;
mod policy;
pub(crate) mod revoke;
pub(crate) mod rollback;
pub(crate) mod rollout;
pub(crate) mod run;
pub(crate) mod suspend;
pub(crate) mod trace;
pub(crate) mod webhooks;
pub(crate) mod work_orders;

use std::process::ExitCode;

/// A label of the command line.
fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// How a command ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything that was asked for is done.
    Done,
    /// The rollout is under way, and the time that was given is over.
    NotInTime,
    /// The rollout failed on some agent, or the work order did not succeed.
    RolloutFailed,
}

impl Outcome {
    pub(crate) fn exit_code(self) -> ExitCode {
        match self {
            Self::Done => ExitCode::SUCCESS,
            Self::NotInTime => ExitCode::from(3),
            Self::RolloutFailed => ExitCode::from(4),
        }
    }
}
