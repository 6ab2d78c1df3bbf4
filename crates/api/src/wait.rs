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
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let millis: Option<u64> = match unit {
            "ms" => Some(1),
            "s" => Some(1_000),
            "m" => Some(60_000),
            "h" => Some(3_600_000),
            _ => None,
        };
        // Nine digits of the largest unit are far from what a number holds.
        let number: Option<u64> = number.parse().ok().filter(|_| digits <= 9);
        let wait = number.zip(millis).map(|(number, millis)| Self::from(Duration::from_millis(number * millis)));
        wait.ok_or_else(|| InvalidWait(text.chars().take(40).collect()))
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
        let millis = self.0.as_millis();
        if millis.is_multiple_of(1_000) { write!(f, "{}s", millis / 1_000) } else { write!(f, "{millis}ms") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_cut_to_the_longest_that_is_granted() {
        assert_eq!("1h".parse::<Wait>().unwrap().duration(), Duration::from_secs(MAX_WAIT_SECONDS));
        assert_eq!("250ms".parse::<Wait>().unwrap().duration(), Duration::from_millis(250));
        for wrong in ["soon", "-1s", "", "s", "5", "1m 30s", "+1s", "1000000000s", "30 s", "1y"] {
            assert!(wrong.parse::<Wait>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        for millis in [0, 1, 1_500, 30_000, 60_000] {
            let wait = Wait::from(Duration::from_millis(millis));
            assert_eq!(wait.to_string().parse::<Wait>().unwrap(), wait);
        }
    }
}
