//! Where values of the configuration come from.

use std::collections::BTreeMap;

/// What is said of a value that nobody set.
const DEFAULT: &str = "default";

/// Where the values of `[telemetry]` come from: a variable, a file, or nowhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    keys: BTreeMap<String, String>,
    notes: Vec<String>,
}

impl Origins {
    /// Variables and files by key, `sampling_rate`, `batch.delay`; and what is to be told at the start, because it was set and has no effect.
    #[must_use]
    pub fn new(keys: BTreeMap<String, String>, notes: Vec<String>) -> Self {
        Self { keys, notes }
    }

    /// Where the value of this key comes from; of a table, where its first value does.
    #[must_use]
    pub fn of(&self, key: &str) -> &str {
        let below = format!("{key}.");
        let found = self.keys.iter().find(|(known, _)| *known == key || known.starts_with(&below));
        found.map_or(DEFAULT, |(_, origin)| origin)
    }

    /// From now on the value of this key comes from here.
    pub(crate) fn set(&mut self, key: &str, origin: &str) {
        self.keys.insert(key.to_owned(), origin.to_owned());
    }

    /// What was set and has no effect.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}
