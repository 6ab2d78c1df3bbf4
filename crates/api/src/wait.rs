//! How long a request may be parked.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Longest wait that a broker grants, in seconds.
pub const MAX_WAIT_SECONDS: u64 = 60;

/// A wait of a long poll, written as `30s`, `500ms` or `1m`; more than [`MAX_WAIT_SECONDS`] is cut to that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, example = "30s")]
pub struct Wait(Duration);

/// Why a text is not a [`Wait`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration: write it as 30s, 500ms or 1m")]
pub struct InvalidWait(String);

impl Wait {
    /// The wait, at most [`MAX_WAIT_SECONDS`].
    #[must_use]
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl From<Duration> for Wait {
    fn from(wait: Duration) -> Self {
        Self(wait.min(Duration::from_secs(MAX_WAIT_SECONDS)))
    }
}

impl FromStr for Wait {
    type Err = InvalidWait;

    fn from_str(text: &str) -> Result<Self, InvalidWait> {
        humantime::parse_duration(text).map(Self::from).map_err(|_| InvalidWait(text.chars().take(40).collect()))
    }
}

impl TryFrom<String> for Wait {
    type Error = InvalidWait;

    fn try_from(text: String) -> Result<Self, InvalidWait> {
        text.parse()
    }
}

impl From<Wait> for String {
    fn from(wait: Wait) -> Self {
        wait.to_string()
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_cut_to_the_longest_that_is_granted() {
        assert_eq!("1h".parse::<Wait>().unwrap().duration(), Duration::from_secs(MAX_WAIT_SECONDS));
        assert_eq!("250ms".parse::<Wait>().unwrap().duration(), Duration::from_millis(250));
        assert!("soon".parse::<Wait>().is_err());
        assert!("-1s".parse::<Wait>().is_err());
    }
}
