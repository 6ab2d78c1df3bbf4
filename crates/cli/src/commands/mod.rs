//! One command per file.

pub(crate) mod apply;
pub(crate) mod delete;
pub(crate) mod get;
mod manifests;
pub(crate) mod rollout;

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
