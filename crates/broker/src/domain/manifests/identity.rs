//! What makes a Kubernetes object the same object: group, kind, namespace and name.

use std::fmt;

use brokkr_api::{ErrorCode, Problem, labels::is_label_value};
use serde_json::Value;

/// Identity of an object; the version of its API is no part of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    group: String,
    kind: String,
    namespace: Option<String>,
    name: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind)?;
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(&self.name)
    }
}

/// What is wrong with an object, and at which key.
#[derive(Debug)]
pub(super) struct Flaw {
    key: &'static str,
    detail: String,
}

impl Flaw {
    pub(super) fn at_object(self, index: usize) -> Problem {
        let dot = if self.key.is_empty() { "" } else { "." };
        let detail = format!("object {}: {}", index + 1, self.detail);
        Problem::new(ErrorCode::InvalidManifest, detail).at(format!("[{index}]{dot}{}", self.key))
    }
}

fn flaw(key: &'static str, detail: impl Into<String>) -> Flaw {
    Flaw { key, detail: detail.into() }
}

/// The identity of an object.
pub(super) fn of(object: &Value) -> Result<Identity, Flaw> {
    if !object.is_object() {
        return Err(flaw("", "a Kubernetes object is a mapping with apiVersion, kind and metadata"));
    }
    let api_version = text(object, "/apiVersion").ok_or_else(|| flaw("apiVersion", "apiVersion is missing or not a text"))?;
    let group = match api_version.split('/').collect::<Vec<_>>()[..] {
        [version] if is_word(version) => "",
        [group, version] if is_subdomain(group) && is_word(version) => group,
        _ => return Err(flaw("apiVersion", "apiVersion is written as VERSION or GROUP/VERSION")),
    };
    let kind = text(object, "/kind").filter(|kind| is_word(kind)).ok_or_else(|| flaw("kind", "kind is missing or not a word"))?;
    if !object.get("metadata").is_some_and(Value::is_object) {
        return Err(flaw("metadata", "metadata is missing"));
    }
    let name = text(object, "/metadata/name").ok_or_else(|| {
        flaw("metadata.name", "metadata.name is missing or not a text (generateName would make another object each time)")
    })?;
    if !is_path_segment(name) {
        return Err(flaw("metadata.name", "metadata.name has 1 to 253 characters and none of '/', '%' or control characters"));
    }
    let namespace = match object.pointer("/metadata/namespace") {
        None | Some(Value::Null) => None,
        Some(Value::String(namespace)) if is_namespace(namespace) => Some(namespace.clone()),
        Some(_) => return Err(flaw("metadata.namespace", "metadata.namespace is a DNS label")),
    };
    check_metadata_map(object, "labels", "metadata.labels", is_label_value)?;
    check_metadata_map(object, "annotations", "metadata.annotations", |_| true)?;
    Ok(Identity { group: group.to_owned(), kind: kind.to_owned(), namespace, name: name.to_owned() })
}

/// Labels and annotations are mappings of text to text: a number or boolean there is the commonest slip of all.
fn check_metadata_map(object: &Value, name: &str, key: &'static str, valid: impl Fn(&str) -> bool) -> Result<(), Flaw> {
    match object.pointer(&format!("/metadata/{name}")) {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Object(map)) => {
            let wrong = map.iter().find(|(_, value)| !value.as_str().is_some_and(&valid));
            match wrong {
                Some((label, _)) => {
                    let label: String = label.chars().take(80).collect();
                    Err(flaw(key, format!("{key}: the value of {label:?} is not a valid text (quote numbers and booleans)")))
                }
                None => Ok(()),
            }
        }
        Some(_) => Err(flaw(key, format!("{key} is a mapping of text to text"))),
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> Option<&'a str> {
    object.pointer(pointer).and_then(Value::as_str)
}

fn is_word(text: &str) -> bool {
    (1..=63).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn is_subdomain(text: &str) -> bool {
    let label = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    (1..=253).contains(&text.len()) && text.bytes().all(label)
}

fn is_namespace(text: &str) -> bool {
    text.parse::<brokkr_api::Name>().is_ok()
}

/// Kubernetes' least rule for names: what can stand in a path.
fn is_path_segment(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text != "."
        && text != ".."
        && !text.contains(['/', '%'])
        && !text.chars().any(char::is_control)
}
