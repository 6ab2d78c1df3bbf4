//! The file of rules, and the same file in a hurry.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::lab::LabError;

/// So many seconds of a deployment are one of a test.
const HURRY: u64 = 60;

/// A file of recording and alert rules.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleFile {
    /// Its groups.
    pub groups: Vec<Group>,
}

/// Rules that are evaluated together, in order.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// How often it is evaluated.
    pub interval: String,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// A rule: `record` or `alert` says which kind.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// The name of what is recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// The name of the alert.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alert: Option<String>,
    /// What is recorded, or what the alert fires for.
    pub expr: String,
    /// How long that must hold.
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasting: Option<String>,
    /// Labels that are added.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What a person reads.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl RuleFile {
    /// The one of this repository.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn ours() -> Result<Self, LabError> {
        let text = std::fs::read_to_string(Self::path()).map_err(LabError::io("the file of rules"))?;
        serde_saphyr::from_str(&text).map_err(|error| LabError::Refused(format!("the file of rules: {error}")))
    }

    /// Where it is.
    pub fn path() -> PathBuf {
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../monitoring/rules/brokkr.yaml"))
    }

    /// Every rule.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.groups.iter().flat_map(|group| &group.rules)
    }

    /// Every alert with its name.
    pub fn alerts(&self) -> impl Iterator<Item = (&str, &Rule)> {
        self.rules().filter_map(|rule| Some((rule.alert.as_deref()?, rule)))
    }

    /// The same rules for a world where a minute is a second: ranges, waits, intervals and limits written as `15 * 60`. What
    /// is compared with the length of a request or a call stays as it is.
    #[must_use]
    pub fn in_a_hurry(mut self) -> Self {
        for group in &mut self.groups {
            group.interval = shorter(&group.interval);
            for rule in &mut group.rules {
                rule.expr = hurried(&rule.expr);
                rule.lasting = rule.lasting.as_deref().map(shorter);
            }
        }
        self
    }
}

/// An expression in which a minute is a second.
#[must_use]
pub fn hurried(expression: &str) -> String {
    let mut parts = expression.split('[');
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (range, rest) = part.split_once(']').unwrap_or((part, ""));
        result.push_str(&format!("[{}]{rest}", shorter(range)));
    }
    let words: Vec<&str> = result.split(' ').collect();
    let is_minutes = |at: usize| at > 0 && words[at - 1] == "*" && words[at].trim_end() == HURRY.to_string();
    let word = |at: usize| if is_minutes(at) { words[at].replace(&HURRY.to_string(), "1") } else { words[at].to_owned() };
    (0..words.len()).map(word).collect::<Vec<_>>().join(" ")
}

/// A duration with one unit, 60 times as short, and a second at least.
fn shorter(duration: &str) -> String {
    let Some((unit_at, unit)) = duration.char_indices().next_back() else { return String::new() };
    let seconds = match unit {
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => 1,
    };
    let number: u64 = duration[..unit_at].parse().unwrap_or(0);
    format!("{}s", (number * seconds / HURRY).max(1))
}
