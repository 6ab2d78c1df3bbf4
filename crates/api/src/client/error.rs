//! How a request to the broker fails.

use std::path::PathBuf;

use crate::{ErrorCode, Problem};

/// Why a request has no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The broker's address is malformed.
    #[error("{0:?} is not the address of a broker: write it as http://HOST:PORT or https://HOST")]
    InvalidUrl(String),
    /// The key file cannot be read.
    #[error("the key file {} cannot be read", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The HTTP client cannot be set up.
    #[error("the HTTP client cannot be set up")]
    Setup(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The broker did not answer.
    #[error("the broker does not answer")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The broker answered with a problem.
    #[error("{} ({})", .0.detail, .0.code.as_str())]
    Problem(Box<Problem>),
    /// Something answered that is not a broker, or a proxy before it.
    #[error("the answer is status {0} without a problem: is this the address of a broker?")]
    Status(u16),
    /// The answer cannot be read.
    #[error("the broker's answer cannot be read")]
    Answer(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ClientError {
    /// The code, when the broker answered with a problem.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Problem(problem) => Some(problem.code),
            _ => None,
        }
    }

    /// Whether the same request may work later without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Problem(problem) => problem.status >= 500 || problem.status == 429,
            Self::Status(status) => *status >= 500 || *status == 429,
            Self::InvalidUrl(_) | Self::Key { .. } | Self::Setup(_) | Self::Answer(_) => false,
        }
    }
}

impl From<reqwest_middleware::Error> for ClientError {
    fn from(error: reqwest_middleware::Error) -> Self {
        match error {
            // The URL is known to the caller and only makes the message longer.
            reqwest_middleware::Error::Reqwest(source) => Self::Unreachable(Box::new(source.without_url())),
            reqwest_middleware::Error::Middleware(source) => Self::Unreachable(source.into()),
        }
    }
}
