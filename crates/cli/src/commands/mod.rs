//! One command per file.

pub(crate) mod apply;
mod confirm;
pub(crate) mod delete;
pub(crate) mod describe;
pub(crate) mod get;
pub(crate) mod history;
mod manifests;
pub(crate) mod rollback;
pub(crate) mod rollout;
pub(crate) mod suspend;

use std::process::ExitCode;

/// How a command ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything that was asked for is done.
    Done,
    /// The rollout is under way, and the time that was given is over.
    NotInTime,
    /// The rollout failed on some agent.
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
