//! What is wrong with a configuration.

use std::fmt;

use super::sources::Sources;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Section and key, `server.listen`.
    pub path: String,
    /// What is wrong with it.
    pub message: String,
    /// Where the value comes from: a file or a variable. Nothing for a value that is missing.
    pub origin: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)?;
        self.origin.iter().try_for_each(|origin| write!(f, " (from {origin})"))
    }
}

/// Gathers everything that is wrong.
#[derive(Debug, Default)]
pub struct Problems(Vec<(String, String)>);

impl Problems {
    /// This key is wrong. Of several problems of one key the first is told.
    pub fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        let path = path.into();
        if !self.0.iter().any(|(known, _)| *known == path) {
            self.0.push((path, message.into()));
        }
    }

    /// This key is wrong, unless the condition holds.
    pub fn require(&mut self, holds: bool, path: &str, message: &str) {
        if !holds {
            self.add(path, message);
        }
    }

    /// This number is wrong, unless it lies in the range.
    pub fn range(&mut self, path: &str, value: u64, range: std::ops::RangeInclusive<u64>) {
        if !range.contains(&value) {
            self.add(path, format!("is {value}; it must be {} to {}", range.start(), range.end()));
        }
    }

    pub(super) fn into_list(self, sources: &Sources) -> Vec<Problem> {
        let problem = |(path, message): (String, String)| {
            let origin = sources.origin(&path);
            Problem { path, message, origin }
        };
        self.0.into_iter().map(problem).collect()
    }
}
