//! Policies of delivery: what may stand in one, and which one is in force.

use brokkr_api::{
    Labels,
    policy::{
        DELETE_POLICY_LABEL, DeletePolicy, HealthRule, IgnoreFields, MAX_EXPRESSION, MAX_PATH, MAX_PATHS, MAX_RULES,
        MAX_WAVE_TIMEOUT_SECONDS, StackPolicy,
    },
};

/// What is wrong with a policy, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) place: String,
    pub(crate) detail: String,
}

fn wrong(place: impl Into<String>, detail: impl Into<String>) -> Wrong {
    Wrong { place: place.into(), detail: detail.into() }
}

/// The policy that agents are told: a label of the stack can only make it keep more.
pub(crate) fn in_force(mut policy: StackPolicy, labels: &Labels) -> StackPolicy {
    if labels.get(DELETE_POLICY_LABEL) == Some("orphan") {
        policy.delete_policy = DeletePolicy::Orphan;
    }
    policy
}

/// A slip in this label would delete what somebody wanted to keep.
pub(crate) fn check_labels(labels: &Labels) -> Result<(), Wrong> {
    match labels.get(DELETE_POLICY_LABEL) {
        None | Some("orphan" | "delete") => Ok(()),
        Some(_) => Err(wrong(format!("labels.{DELETE_POLICY_LABEL}"), format!("{DELETE_POLICY_LABEL} is orphan or delete"))),
    }
}

/// Whether everything in it has a meaning. Expressions are compiled by the agents, which say so when they cannot.
pub(crate) fn check(policy: &StackPolicy) -> Result<(), Wrong> {
    if !(1..=MAX_WAVE_TIMEOUT_SECONDS).contains(&policy.wave_timeout_seconds) {
        return Err(wrong("policy.wave_timeout_seconds", format!("a wave has 1 to {MAX_WAVE_TIMEOUT_SECONDS} seconds")));
    }
    for (place, length) in [("policy.ignore_fields", policy.ignore_fields.len()), ("policy.health", policy.health.len())] {
        if length > MAX_RULES {
            return Err(wrong(place, format!("at most {MAX_RULES} rules")));
        }
    }
    for (index, ignored) in policy.ignore_fields.iter().enumerate() {
        check_ignored(ignored, &format!("policy.ignore_fields[{index}]"))?;
    }
    for (index, rule) in policy.health.iter().enumerate() {
        check_rule(rule, &format!("policy.health[{index}]"))?;
    }
    match policy.service_account.as_deref().map(|account| account.split_once('/')) {
        None => Ok(()),
        Some(Some((namespace, name))) if is_dns_label(namespace) && is_dns_name(name) => Ok(()),
        Some(_) => Err(wrong("policy.service_account", "a service account is written namespace/name")),
    }
}

fn check_ignored(ignored: &IgnoreFields, place: &str) -> Result<(), Wrong> {
    if !ignored.kind.as_deref().is_none_or(is_kind) {
        return Err(wrong(format!("{place}.kind"), "a kind is written Kind or Kind.group"));
    }
    if !ignored.namespace.as_deref().is_none_or(is_dns_label) {
        return Err(wrong(format!("{place}.namespace"), "this is no name of a namespace"));
    }
    if !ignored.name.as_deref().is_none_or(is_object_name) {
        return Err(wrong(format!("{place}.name"), "this is no name of an object"));
    }
    if !(1..=MAX_PATHS).contains(&ignored.paths.len()) {
        return Err(wrong(format!("{place}.paths"), format!("1 to {MAX_PATHS} paths")));
    }
    for (index, path) in ignored.paths.iter().enumerate() {
        check_path(path).map_err(|detail| wrong(format!("{place}.paths[{index}]"), detail))?;
    }
    Ok(())
}

fn check_path(path: &str) -> Result<(), String> {
    if path.chars().count() > MAX_PATH || path.chars().any(char::is_control) {
        return Err(format!("a path has at most {MAX_PATH} printable characters"));
    }
    let Some(below) = path.strip_prefix('/') else {
        return Err("a path is a JSON pointer (RFC 6901): it begins with /, as /spec/replicas does".to_owned());
    };
    let escapes_well = |segment: &str| segment.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    if !below.split('/').all(escapes_well) {
        return Err("in a JSON pointer (RFC 6901) ~ is written ~0, and / inside a key ~1".to_owned());
    }
    let mut segments = below.split('/');
    match (segments.next(), segments.next()) {
        (Some("apiVersion" | "kind"), _) => Err("apiVersion and kind say which object it is".to_owned()),
        (Some("metadata"), Some("labels" | "annotations")) => Ok(()),
        (Some("metadata"), _) => Err("of the metadata only labels and annotations can be left to others".to_owned()),
        _ => Ok(()),
    }
}

fn check_rule(rule: &HealthRule, place: &str) -> Result<(), Wrong> {
    if !is_kind(&rule.kind) {
        return Err(wrong(format!("{place}.kind"), "a kind is written Kind.group"));
    }
    let expressions =
        [("healthy", Some(&rule.healthy)), ("degraded", rule.degraded.as_ref()), ("message", rule.message.as_ref())];
    for (field, expression) in expressions {
        let Some(expression) = expression else { continue };
        if !(1..=MAX_EXPRESSION).contains(&expression.chars().count()) || expression.contains('\0') {
            return Err(wrong(
                format!("{place}.{field}"),
                format!("an expression has 1 to {MAX_EXPRESSION} characters and no NUL"),
            ));
        }
    }
    Ok(())
}

/// `Kind` or `Kind.group`.
fn is_kind(text: &str) -> bool {
    let (kind, group) = text.split_once('.').map_or((text, None), |(kind, group)| (kind, Some(group)));
    let is_kind = (1..=63).contains(&kind.len()) && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    is_kind && group.is_none_or(is_dns_name)
}

fn is_dns_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

fn is_dns_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
}

/// Names of some kinds have capitals and colons, as those of roles do.
fn is_object_name(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b':');
    let outer = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    text.len() <= 253 && text.bytes().all(inner) && outer(text.bytes().next()) && outer(text.bytes().last())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn place(policy: Value) -> Option<String> {
        check(&serde_json::from_value(policy).unwrap()).err().map(|wrong| wrong.place)
    }

    fn ignoring(path: &str) -> Value {
        json!({"ignore_fields": [{"paths": [path]}]})
    }

    #[test]
    fn paths_are_pointers_to_what_can_be_left_to_others() {
        for path in ["/spec/replicas", "/metadata/labels", "/metadata/annotations/a~1b", "/data/~0", "/spec/a/0", "/kinds", "/"] {
            assert_eq!(place(ignoring(path)), None, "{path}");
        }
        let long = format!("/{}", "a".repeat(MAX_PATH));
        for path in
            ["", "spec", "/metadata", "/metadata/name", "/apiVersion", "/kind", "/kind/x", "/a~", "/a~2", "/a\0", "/a\nb", &long]
        {
            assert_eq!(place(ignoring(path)).as_deref(), Some("policy.ignore_fields[0].paths[0]"), "{path}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let rule = |key: &str, value: &str| {
            let mut rule = json!({"kind": "Widget.example.com", "healthy": "true"});
            rule[key] = json!(value);
            json!({"health": [rule]})
        };
        let cases = [
            (json!({}), None),
            (json!({"wave_timeout_seconds": 0}), Some("policy.wave_timeout_seconds")),
            (json!({"wave_timeout_seconds": MAX_WAVE_TIMEOUT_SECONDS + 1}), Some("policy.wave_timeout_seconds")),
            (json!({"service_account": "shop/deployer"}), None),
            (json!({"service_account": "deployer"}), Some("policy.service_account")),
            (json!({"service_account": "shop/a/b"}), Some("policy.service_account")),
            (json!({"service_account": "Shop/deployer"}), Some("policy.service_account")),
            (json!({"ignore_fields": [{"paths": []}]}), Some("policy.ignore_fields[0].paths")),
            (json!({"ignore_fields": [{"paths": ["/a"], "kind": "Deployment.apps"}]}), None),
            (json!({"ignore_fields": [{"paths": ["/a"], "kind": "apps/Deployment"}]}), Some("policy.ignore_fields[0].kind")),
            (json!({"ignore_fields": [{"paths": ["/a"], "kind": "Deployment."}]}), Some("policy.ignore_fields[0].kind")),
            (json!({"ignore_fields": [{"paths": ["/a"], "namespace": "a.b"}]}), Some("policy.ignore_fields[0].namespace")),
            (json!({"ignore_fields": [{"paths": ["/a"], "name": "system:x"}]}), None),
            (json!({"ignore_fields": [{"paths": ["/a"], "name": ""}]}), Some("policy.ignore_fields[0].name")),
            (json!({"ignore_fields": vec![json!({"paths": ["/a"]}); MAX_RULES + 1]}), Some("policy.ignore_fields")),
            (rule("message", "object.status.message"), None),
            (rule("kind", "a b"), Some("policy.health[0].kind")),
            (rule("healthy", ""), Some("policy.health[0].healthy")),
            (rule("degraded", "a\0"), Some("policy.health[0].degraded")),
            (rule("message", &"a".repeat(MAX_EXPRESSION + 1)), Some("policy.health[0].message")),
        ];
        for (policy, expected) in cases {
            assert_eq!(place(policy.clone()).as_deref(), expected, "{policy}");
        }
    }

    #[test]
    fn the_label_keeps_objects_that_the_policy_would_delete_and_never_the_other_way_round() {
        let labels = |value: &str| serde_json::from_value::<Labels>(json!({DELETE_POLICY_LABEL: value})).unwrap();
        let orphan = StackPolicy { delete_policy: DeletePolicy::Orphan, ..StackPolicy::default() };
        assert_eq!(in_force(StackPolicy::default(), &labels("orphan")), orphan);
        assert_eq!(in_force(orphan.clone(), &labels("delete")), orphan);
        assert_eq!(in_force(StackPolicy::default(), &labels("delete")), StackPolicy::default());
        assert!(check_labels(&labels("Orphan")).is_err() && check_labels(&labels("orphan")).is_ok());
    }
}
