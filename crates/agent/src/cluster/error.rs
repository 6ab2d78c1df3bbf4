//! How a call fails. The class is a closed set: it is the reason in reports and the `error.type` of spans.

use std::{fmt, time::Duration};

use http::StatusCode;
use kube::core::{Status, response::StatusCause};

pub(crate) use brokkr_telemetry::metrics::FailureClass as Class;

/// A failed call: class and a message that contains no value of the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KubeFailure {
    pub(crate) class: Class,
    pub(crate) message: String,
    /// For how long the API server asks not to be called.
    pub(crate) retry_after: Option<Duration>,
    /// The fields that other managers own, when that is the conflict.
    pub(crate) fields: Vec<String>,
}

impl fmt::Display for KubeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for KubeFailure {}

impl KubeFailure {
    pub(crate) fn new(class: Class, message: impl Into<String>) -> Self {
        let message: String = message.into();
        let message = message.chars().take(brokkr_api::reports::MAX_MESSAGE).collect();
        Self { class, message, retry_after: None, fields: Vec::new() }
    }

    pub(super) fn timeout(limit: Duration) -> Self {
        Self::new(Class::Timeout, format!("the API server did not answer within {} s", limit.as_secs()))
    }

    pub(super) fn of(error: kube::Error, is_secret: bool) -> Self {
        match error {
            kube::Error::Api(status) => Self::of_status(&status, is_secret),
            kube::Error::Auth(_) => Self::new(Class::Forbidden, "the agent's credentials for the API server cannot be used"),
            kube::Error::BuildRequest(source) => Self::new(Class::Invalid, source.to_string()),
            other => Self::new(Class::Unreachable, format!("the API server does not answer: {}", root_cause(&other))),
        }
    }

    /// The failure of an answer that is no success.
    pub(super) fn of_answer(status: StatusCode, body: &[u8], is_secret: bool) -> Self {
        match serde_json::from_slice::<Status>(body) {
            Ok(mut answer) => {
                answer.code = status.as_u16();
                Self::of_status(&answer, is_secret)
            }
            // Not the API server's own words: for example "404 page not found" for a group that it does not serve.
            Err(_) if status == StatusCode::NOT_FOUND => Self::new(Class::MissingKind, "the cluster does not serve this kind"),
            Err(_) => Self::new(class_of(status.as_u16()), format!("the API server answered with status {}", status.as_u16())),
        }
    }

    fn of_status(status: &Status, is_secret: bool) -> Self {
        let class = match () {
            () if is_malformed(&status.message) => Class::Invalid,
            () if is_too_large(&status.message) => Class::TooLarge,
            () if status.code == 403 && is_over_quota(&status.message) => Class::OverQuota,
            () => class_of(status.code),
        };
        let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
        let message = match class {
            // The words of a validation repeat the value; field and rule say enough.
            Class::Invalid if !causes.is_empty() => {
                causes.iter().map(|cause| format!("{}: {}", cause.field, rule_of(cause))).collect::<Vec<_>>().join("; ")
            }
            Class::Conflict if !causes.is_empty() => {
                causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect::<Vec<_>>().join("; ")
            }
            Class::Invalid if is_secret => format!("a field has a wrong type or encoding ({})", status.code),
            _ if is_secret => format!("{} ({})", reason_of(status), status.code),
            _ => without_values(&status.message),
        };
        let of_managers = causes.iter().filter(|cause| class == Class::Conflict && cause.reason == "FieldManagerConflict");
        Self { fields: of_managers.map(|cause| cause.field.clone()).collect(), ..Self::new(class, message) }
    }
}

/// The rule that a field breaks; the words beside it may repeat the value.
fn rule_of(cause: &StatusCause) -> &str {
    if cause.message.ends_with("field is immutable") { "field is immutable" } else { &cause.reason }
}

/// A patch that does not fit its schema is the object's fault, although the API server answers 500.
fn is_malformed(message: &str) -> bool {
    ["failed to create typed patch object", "illegal base64 data", "failed to convert"]
        .iter()
        .any(|words| message.contains(words))
}

/// More than its database takes is the object's fault too, and no trouble that passes.
fn is_too_large(message: &str) -> bool {
    ["trying to send message larger than max", "etcdserver: request is too large", "Request entity too large"]
        .iter()
        .any(|words| message.contains(words))
}

/// Quota is admission, which answers as if a right were missing.
fn is_over_quota(message: &str) -> bool {
    ["exceeded quota", "failed quota", "status unknown for quota"].iter().any(|words| message.contains(words))
}

/// The API server's words up to where they repeat a value of the object.
fn without_values(message: &str) -> String {
    let markers = [", got ", "Invalid value: ", "invalid value: ", "Unsupported value: ", "cannot unmarshal "];
    let cut = markers.iter().filter_map(|marker| message.find(marker)).min();
    match cut {
        Some(at) => format!("{} (the value is left out)", message[..at].trim_end_matches([' ', ':', ','])),
        None => message.to_owned(),
    }
}

fn reason_of(status: &Status) -> &str {
    if status.reason.is_empty() { "the API server refused" } else { &status.reason }
}

fn class_of(status: u16) -> Class {
    match status {
        401 | 403 => Class::Forbidden,
        404 => Class::NotFound,
        405 => Class::MissingKind,
        409 | 412 => Class::Conflict,
        410 => Class::Expired,
        413 => Class::TooLarge,
        429 | 500..=599 => Class::Transient,
        _ => Class::Invalid,
    }
}

/// The innermost cause: the outer ones repeat that a request failed.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn failure(status: u16, body: &serde_json::Value, is_secret: bool) -> KubeFailure {
        KubeFailure::of_answer(StatusCode::from_u16(status).unwrap(), body.to_string().as_bytes(), is_secret)
    }

    #[test]
    fn a_refused_value_is_named_by_field_and_rule_and_never_shown() {
        let body = json!({"kind": "Status", "status": "Failure", "code": 422, "reason": "Invalid",
            "message": "Secret \"s\" is invalid: data[token]: Invalid value: \"hunter2\": bad",
            "details": {"causes": [{"reason": "FieldValueInvalid", "message": "Invalid value: \"hunter2\": bad", "field": "data[token]"}]}});
        let failure = failure(422, &body, true);
        assert_eq!(failure, KubeFailure::new(Class::Invalid, "data[token]: FieldValueInvalid"));
    }

    #[test]
    fn what_the_store_cannot_take_is_too_large_and_not_a_passing_trouble() {
        for message in [
            "etcdserver: request is too large",
            "rpc error: code = ResourceExhausted desc = trying to send message larger than max (2139520 vs. 2097152)",
        ] {
            let body = json!({"kind": "Status", "status": "Failure", "code": 500, "message": message});
            assert_eq!(failure(500, &body, false).class, Class::TooLarge, "{message}");
        }
    }

    #[test]
    fn a_used_up_quota_is_no_missing_right() {
        let message = "pods \"a\" is forbidden: exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1";
        let body = json!({"kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden", "message": message});
        assert_eq!(failure(403, &body, false).class, Class::OverQuota);
        let body =
            json!({"kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden", "message": "pods is forbidden"});
        assert_eq!(failure(403, &body, false).class, Class::Forbidden);
    }

    #[test]
    fn what_the_server_says_about_a_secret_is_left_out() {
        let body = json!({"kind": "Status", "status": "Failure", "code": 400, "reason": "BadRequest", "message": "cannot decode hunter2"});
        assert!(!failure(400, &body, true).message.contains("hunter2"));
    }

    #[test]
    fn a_field_of_the_wrong_type_is_invalid_and_its_value_is_left_out() {
        let message = "failed to create typed patch object (default/a; /v1, Kind=ConfigMap): .data.a: expected string, got &value.valueUnstructured{Value:hunter2}";
        let body = json!({"kind": "Status", "status": "Failure", "code": 500, "message": message});
        let failure = failure(500, &body, false);
        assert_eq!(failure.class, Class::Invalid);
        assert!(
            failure.message.contains(".data.a: expected string") && !failure.message.contains("hunter2"),
            "{}",
            failure.message
        );
    }

    #[test]
    fn a_conflict_names_manager_and_field() {
        let body = json!({"kind": "Status", "status": "Failure", "code": 409, "reason": "Conflict", "message": "Apply failed with 1 conflict",
            "details": {"causes": [{"reason": "FieldManagerConflict", "message": "conflict with \"kubectl\" using apps/v1", "field": ".spec.replicas"}]}});
        let failure = failure(409, &body, false);
        assert_eq!(failure.class, Class::Conflict);
        assert_eq!(failure.message, ".spec.replicas: conflict with \"kubectl\" using apps/v1");
    }

    #[test]
    fn a_group_that_is_not_served_is_a_missing_kind() {
        let failure = KubeFailure::of_answer(StatusCode::NOT_FOUND, b"404 page not found\n", false);
        assert_eq!(failure.class, Class::MissingKind);
    }
}
