use std::{io, path::PathBuf, time::Duration};

/// Why something of the lab did not start, answer or stop.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// An executable is not where it should be.
    #[error("{name} was not found: {hint}")]
    Missing {
        /// The executable.
        name: String,
        /// What the reader can do about it.
        hint: String,
    },
    /// The operating system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A program ended that should have stayed.
    #[error("{name} ended by itself ({status}); the end of {}:\n{tail}", log.display())]
    Ended {
        /// The program.
        name: String,
        /// Its exit status or signal.
        status: String,
        /// Its log file.
        log: PathBuf,
        /// The last lines of that file.
        tail: String,
    },
    /// Something did not happen in time.
    #[error("after {limit:?} still waiting for {what}; last seen: {seen}")]
    Late {
        /// What was expected.
        what: String,
        /// How long it was waited for.
        limit: Duration,
        /// The last observation.
        seen: String,
    },
    /// A supervisor or a program it ran said no.
    #[error("{0}")]
    Refused(String),
    /// The Kubernetes API answered with an error.
    #[error("Kubernetes API: {0}")]
    Kubernetes(#[from] Box<kube::Error>),
}

impl LabError {
    /// Wraps an error of the operating system with what was tried.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what: what.into(), source }
    }
}

impl From<kube::Error> for LabError {
    fn from(error: kube::Error) -> Self {
        Self::Kubernetes(Box::new(error))
    }
}
