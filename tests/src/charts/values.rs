//! `values.yaml` with its comments.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{json, yaml};
use crate::lab::LabError;

/// The defaults, and what is said about each key; a key is its path, joined by dots.
#[derive(Debug)]
pub(super) struct Values {
    pub(super) defaults: Value,
    notes: BTreeMap<String, Note>,
}

/// What stands above a key.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Note {
    pub(super) text: String,
    /// What `@schema` adds.
    pub(super) schema: Option<Value>,
    /// Whether it is the daemon's configuration.
    pub(super) is_config: bool,
}

impl Note {
    /// Whether what is below belongs to the person alone: no key of it is known.
    pub(super) fn is_opaque(&self) -> bool {
        self.schema.is_some() || self.is_config
    }
}

impl Values {
    pub(super) fn parse(text: &str) -> Result<Self, LabError> {
        let mut notes = BTreeMap::new();
        let mut note = Note::default();
        // Indentation and key of each object that the line is in.
        let mut path: Vec<(usize, &str)> = Vec::new();
        for line in text.lines() {
            let content = line.trim_start();
            let indent = line.len() - content.len();
            if let Some(comment) = content.strip_prefix('#') {
                note.add(comment.trim())?;
            } else if let Some(key) = key(content) {
                path.retain(|(of_object, _)| *of_object < indent);
                path.push((indent, key));
                let place: Vec<_> = path.iter().map(|(_, key)| *key).collect();
                notes.insert(place.join("."), std::mem::take(&mut note));
            } else {
                // The head of the file and the items of a list.
                note = Note::default();
            }
        }
        Ok(Self { defaults: yaml(text)?, notes })
    }

    pub(super) fn note(&self, path: &str) -> Note {
        self.notes.get(path).cloned().unwrap_or_default()
    }
}

impl Note {
    fn add(&mut self, comment: &str) -> Result<(), LabError> {
        if let Some(schema) = comment.strip_prefix("@schema ") {
            self.schema = Some(json(schema)?);
        } else if comment == "@config" {
            self.is_config = true;
        } else {
            self.text = format!("{} {comment}", self.text).trim().to_owned();
        }
        Ok(())
    }
}

fn key(line: &str) -> Option<&str> {
    let (key, rest) = line.split_once(':')?;
    let is_name = !key.is_empty() && key.chars().all(|char| char.is_ascii_alphanumeric() || char == '_');
    (is_name && (rest.is_empty() || rest.starts_with(' '))).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_belongs_to_the_key_below_it_and_the_head_of_the_file_to_none() {
        let text = "# The head.\n\n# One\n# and two.\na:\n  # Inner.\n  # @schema {\"minimum\": 1}\n  b: 1\n  list:\n    - c: 2\nd: {}\n";
        let values = Values::parse(text).unwrap();
        assert_eq!(values.note("a").text, "One and two.");
        let inner = values.note("a.b");
        assert_eq!((inner.text.as_str(), inner.schema), ("Inner.", Some(serde_json::json!({"minimum": 1}))));
        assert_eq!(values.note("d"), Note::default());
    }
}
