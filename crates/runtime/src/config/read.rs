//! From the tree to the configuration, past everything that is wrong.

use serde::de::DeserializeOwned;
use serde_path_to_error::{Path, Segment};

use super::{Problems, sources::Sources};

/// Reads what can be read: a value that is wrong is told, taken out, and the rest is read again.
pub(super) fn read<T: DeserializeOwned>(sources: &mut Sources, problems: &mut Problems) -> Option<T> {
    let mut first_message = None;
    loop {
        let error = match serde_path_to_error::deserialize::<_, T>(sources.tree.clone()) {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let path = key(error.path());
        let message = if is_secret(&path) { "is of the wrong kind".to_owned() } else { error.into_inner().to_string() };
        // `12345` in a variable is a number, and for a key that wants text it is text.
        if sources.retake_as_text(&path) {
            first_message = Some((path, message));
            continue;
        }
        let message = match first_message.take() {
            Some((of, first)) if of == path => first,
            _ => message,
        };
        let removed = sources.remove(&path);
        problems.add(if path.is_empty() { "(all of it)".to_owned() } else { path }, message);
        if !removed {
            return None;
        }
    }
}

/// The keys that lead to the value; what is wrong inside a list is a matter of the list.
fn key(path: &Path) -> String {
    let keys = path.iter().map_while(|segment| match segment {
        Segment::Map { key } => Some(key.as_str()),
        _ => None,
    });
    keys.collect::<Vec<_>>().join(".")
}

/// Values that stand in no message.
fn is_secret(path: &str) -> bool {
    let last = path.rsplit('.').next().unwrap_or_default();
    ["key", "keys", "url", "listen_url"].contains(&last) || path.split('.').any(|key| key == "headers")
}
