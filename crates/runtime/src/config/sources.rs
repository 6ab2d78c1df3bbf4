//! Where values come from: one tree of a file and of the environment.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

use brokkr_telemetry::config::variables::Standard;
use serde_json::{Map, Value};

use super::{ConfigError, Problems};

const PREFIX: &str = "BROKKR__";

/// The tree, and what it was made of.
#[derive(Debug)]
pub(super) struct Sources {
    pub(super) tree: Value,
    file: Option<PathBuf>,
    in_file: Value,
    variables: BTreeMap<String, Variable>,
}

#[derive(Debug)]
struct Variable {
    name: String,
    text: String,
    /// The value was guessed to be something else than text.
    guessed: bool,
}

impl Sources {
    pub(super) fn read(
        file: Option<&Path>,
        environment: impl Iterator<Item = (OsString, OsString)>,
        problems: &mut Problems,
    ) -> Result<Self, ConfigError> {
        let in_file = file.map_or_else(|| Ok(Value::Object(Map::new())), read_file)?;
        let mut sources = Self { tree: in_file.clone(), file: file.map(Path::to_owned), in_file, variables: BTreeMap::new() };
        let mut variables: Vec<_> = environment.filter_map(|(name, text)| ours(name, text)).collect();
        // The order of an environment is an accident.
        variables.sort();
        for (name, text) in variables {
            sources.set(name, text, problems);
        }
        Ok(sources)
    }

    /// Puts in what the standard variables of OpenTelemetry say. They win over everything else.
    pub(super) fn set_standard(&mut self, standard: Standard, problems: &mut Problems) {
        for (keys, (value, name)) in standard.settings {
            let path = keys.join(".");
            let known = Variable { name: name.to_owned(), text: String::new(), guessed: false };
            if self.put(&keys, value) {
                self.variables.insert(path, known);
            } else {
                problems.add(path, format!("{name} names a key below one that has a value itself"));
            }
        }
        if let Some(name) = standard.asks.filter(|_| self.tree.pointer("/telemetry/enabled").is_none())
            && self.put(&["telemetry".to_owned(), "enabled".to_owned()], Value::Bool(true))
        {
            let known = Variable { name: name.to_owned(), text: String::new(), guessed: false };
            self.variables.insert("telemetry.enabled".to_owned(), known);
        }
    }

    /// False when a key on the way has a value itself.
    fn put(&mut self, keys: &[String], value: Value) -> bool {
        let Some((last, parents)) = keys.split_last() else { return false };
        let mut node = &mut self.tree;
        for key in parents {
            let Value::Object(map) = node else { return false };
            node = map.entry(key.as_str()).or_insert_with(|| Value::Object(Map::new()));
        }
        let Value::Object(map) = node else { return false };
        map.insert(last.clone(), value);
        true
    }

    /// Where the values of a section come from: the variable or the file, by the key below it.
    pub(super) fn origins(&self, section: &str) -> BTreeMap<String, String> {
        let mut origins = BTreeMap::new();
        if let (Some(table), Some(file)) = (self.in_file.get(section), &self.file) {
            leaves(table, "", &mut |key| drop(origins.insert(key, file.display().to_string())));
        }
        let below = format!("{section}.");
        for (path, variable) in &self.variables {
            if let Some(key) = path.strip_prefix(&below) {
                origins.insert(key.to_owned(), variable.name.clone());
            }
        }
        origins
    }

    fn set(&mut self, name: String, text: Option<String>, problems: &mut Problems) {
        let path = name.trim_start_matches(PREFIX).to_lowercase().replace("__", ".");
        let Some(text) = text else {
            return problems.add(path, format!("{name} is not UTF-8"));
        };
        let keys: Vec<_> = path.split('.').map(str::to_owned).collect();
        if keys.iter().any(String::is_empty) {
            return problems.add(path, format!("{name} names no key: write BROKKR__SECTION__KEY"));
        }
        let value = guess(&text);
        let guessed = !value.is_string();
        if !self.put(&keys, value) {
            return problems.add(path, format!("{name} names a key below one that has a value itself"));
        }
        self.variables.insert(path.clone(), Variable { name, text, guessed });
    }

    /// Takes a variable for text that was taken for something else. False when there is nothing to take back.
    pub(super) fn retake_as_text(&mut self, path: &str) -> bool {
        let Some(variable) = self.variables.get_mut(path).filter(|variable| variable.guessed) else { return false };
        variable.guessed = false;
        let text = variable.text.clone();
        if let Some(node) = self.tree.pointer_mut(&pointer(path)) {
            *node = Value::String(text);
        }
        true
    }

    /// Takes a value out of the tree. False when there is none.
    pub(super) fn remove(&mut self, path: &str) -> bool {
        let (parent, key) = path.rsplit_once('.').unwrap_or(("", path));
        let parent = if parent.is_empty() { Some(&mut self.tree) } else { self.tree.pointer_mut(&pointer(parent)) };
        parent.and_then(Value::as_object_mut).is_some_and(|map| map.shift_remove(key).is_some())
    }

    /// Where the value of this key comes from.
    pub(super) fn origin(&self, path: &str) -> Option<String> {
        let below = format!("{path}.");
        let variable = self.variables.iter().find(|(known, _)| *known == path || known.starts_with(&below));
        if let Some((_, variable)) = variable {
            return Some(variable.name.clone());
        }
        self.in_file.pointer(&pointer(path)).and(self.file.as_ref()).map(|file| file.display().to_string())
    }
}

/// Tells the dotted key of everything that is no table.
fn leaves(node: &Value, prefix: &str, tell: &mut impl FnMut(String)) {
    let Value::Object(map) = node else { return tell(prefix.to_owned()) };
    for (key, value) in map {
        leaves(value, &if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") }, tell);
    }
}

fn pointer(path: &str) -> String {
    format!("/{}", path.replace('.', "/"))
}

/// A variable of ours; its text is absent when it is not UTF-8.
fn ours(name: OsString, text: OsString) -> Option<(String, Option<String>)> {
    let name = name.into_string().ok().filter(|name| name.starts_with(PREFIX))?;
    Some((name, text.into_string().ok()))
}

/// Variables are text; what looks like a number, a truth value, an array or a table is taken for one first.
fn guess(text: &str) -> Value {
    match text {
        "true" => return Value::Bool(true),
        "false" => return Value::Bool(false),
        _ => {}
    }
    if let Ok(number) = text.parse::<i64>() {
        return number.into();
    }
    let begins = |with: &[char]| text.starts_with(with);
    if begins(&['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '-', '.'])
        && let Some(number) = text.parse().ok().and_then(serde_json::Number::from_f64)
    {
        return Value::Number(number);
    }
    if begins(&['[', '{'])
        && let Ok(mut table) = toml::from_str::<Map<String, Value>>(&format!("value = {text}"))
        && let Some(value) = table.shift_remove("value")
    {
        return value;
    }
    Value::String(text.to_owned())
}

fn read_file(path: &Path) -> Result<Value, ConfigError> {
    let fail = |message| ConfigError::File { path: path.to_owned(), message };
    let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
    // The text itself is not shown: it may hold a password.
    toml::from_str(&text).map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        fail(format!("line {line}, column {column}: {}", error.message()))
    })
}
