//! Reading an object that may look in any way: what is missing or of another type is absent.

use serde_json::Value;

/// A condition of an object's status.
#[derive(Debug, Clone, Copy)]
pub(super) struct Condition<'a> {
    status: &'a str,
    pub(super) reason: &'a str,
    pub(super) message: &'a str,
    /// Whether it speaks of an older generation of the object.
    pub(super) is_stale: bool,
}

impl Condition<'_> {
    pub(super) fn is_true(&self) -> bool {
        self.status == "True"
    }

    pub(super) fn is_false(&self) -> bool {
        self.status == "False"
    }

    /// `Reason: message`, or what there is of it.
    pub(super) fn words(&self) -> String {
        match (self.reason, self.message) {
            (reason, "") => reason.to_owned(),
            ("", message) => message.to_owned(),
            (reason, message) => format!("{reason}: {message}"),
        }
    }
}

/// The condition of this type.
pub(super) fn condition<'a>(object: &'a Value, kind: &str) -> Option<Condition<'a>> {
    let entry = list(object, "/status/conditions").iter().find(|entry| text(entry, "/type") == kind)?;
    let observed = number(entry, "/observedGeneration");
    Some(Condition {
        status: text(entry, "/status"),
        reason: text(entry, "/reason"),
        message: text(entry, "/message"),
        is_stale: observed.is_some_and(|observed| observed < number(object, "/metadata/generation").unwrap_or(0)),
    })
}

/// Text at a pointer; empty when there is none.
pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A whole number at a pointer.
pub(super) fn number(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer).and_then(Value::as_i64)
}

/// A count at a pointer: the controllers leave zeros out.
pub(super) fn count(object: &Value, pointer: &str) -> i64 {
    number(object, pointer).unwrap_or(0)
}

/// Whether `true` stands at a pointer.
pub(super) fn flag(object: &Value, pointer: &str) -> bool {
    object.pointer(pointer).and_then(Value::as_bool).unwrap_or(false)
}

/// The list at a pointer; empty when there is none.
pub(super) fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
