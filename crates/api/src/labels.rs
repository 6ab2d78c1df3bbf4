//! Labels with the syntax of Kubernetes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::name::is_dns_label;

/// Most labels that one agent or stack may carry.
pub const MAX_LABELS: usize = 64;

/// Labels of an agent or a stack, by Kubernetes' rules for keys and values; at most [`MAX_LABELS`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
#[schema(value_type = BTreeMap<String, String>)]
pub struct Labels(BTreeMap<String, String>);

/// Why labels are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLabels {
    /// The key is not `[prefix/]name`.
    #[error("{0:?} is not a label key: an optional DNS subdomain and '/', then 1 to 63 of letters, digits, '-', '_' and '.'")]
    Key(String),
    /// The value is not a label value.
    #[error(
        "the value of label {0:?} is not a label value: at most 63 of letters, digits, '-', '_' and '.', starting and ending with a letter or digit"
    )]
    Value(String),
    /// There are more than [`MAX_LABELS`].
    #[error("{0} labels are more than {MAX_LABELS}")]
    TooMany(usize),
}

impl Labels {
    /// The value of a label.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// All labels, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn is_qualified_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let inner = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(inner)
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
}

/// Whether `key` is a label key of Kubernetes: an optional DNS-1123 subdomain of at most 253 characters and `/`, then a name.
#[must_use]
pub fn is_label_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => prefix.len() <= 253 && prefix.split('.').all(is_dns_label) && is_qualified_name(name),
        None => is_qualified_name(key),
    }
}

/// Whether `value` is a label value of Kubernetes; the empty text is one.
#[must_use]
pub fn is_label_value(value: &str) -> bool {
    value.is_empty() || is_qualified_name(value)
}

fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

impl TryFrom<BTreeMap<String, String>> for Labels {
    type Error = InvalidLabels;

    fn try_from(map: BTreeMap<String, String>) -> Result<Self, InvalidLabels> {
        if map.len() > MAX_LABELS {
            return Err(InvalidLabels::TooMany(map.len()));
        }
        for (key, value) in &map {
            if !is_label_key(key) {
                return Err(InvalidLabels::Key(shown(key)));
            }
            if !is_label_value(value) {
                return Err(InvalidLabels::Value(shown(key)));
            }
        }
        Ok(Self(map))
    }
}

impl From<Labels> for BTreeMap<String, String> {
    fn from(labels: Labels) -> Self {
        labels.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(key: &str, value: &str) -> Result<Labels, InvalidLabels> {
        Labels::try_from(BTreeMap::from([(key.to_owned(), value.to_owned())]))
    }

    #[test]
    fn keys_and_values_of_kubernetes_are_accepted() {
        for (key, value) in [("region", "eu"), ("brokkr.io/tier", ""), ("a.b-c/d_e.F", "x.Y-z_0"), ("k", &"v".repeat(63))] {
            assert!(labels(key, value).is_ok(), "{key}={value}");
        }
    }

    #[test]
    fn everything_else_names_the_key() {
        for key in ["", "/x", "x/", "a/b/c", "UPPER.example/x", "-a", &"k".repeat(64)] {
            assert!(matches!(labels(key, "v"), Err(InvalidLabels::Key(_))), "{key}");
        }
        for value in ["-v", "a b", "a\0", &"v".repeat(64)] {
            assert!(matches!(labels("k", value), Err(InvalidLabels::Value(_))), "{value}");
        }
    }
}
