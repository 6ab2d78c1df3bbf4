use brokkr_api::reports::HealthStatus;
use proptest::prelude::*;
use serde_json::json;

use super::{compile::FUNCTIONS, *};

fn rule(healthy: &str) -> HealthRule {
    HealthRule { kind: "Database.example.com".to_owned(), healthy: healthy.to_owned(), degraded: None, message: None }
}

fn assess(rule: HealthRule, object: &Value) -> Assessment {
    let kind = GroupKind::parse("Database.example.com").unwrap();
    Rules::compile(&[rule]).assess(&kind, object).unwrap()
}

fn database() -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Database", "metadata": {"name": "orders", "managedFields": [{"manager": "x"}]},
        "spec": {"replicas": 3, "ratio": 0.5},
        "status": {"phase": "Ready", "ready": 3, "message": "all is well", "conditions": [
            {"type": "Synced", "status": "True"}, {"type": "Backup", "status": "False", "message": "disk full"}]}})
}

#[test]
fn a_rule_says_when_its_kind_is_healthy() {
    for (healthy, expected) in [
        ("object.status.phase == 'Ready'", true),
        ("object.status.phase == \"Failed\"", false),
        ("object.status.ready >= object.spec.replicas", true),
        ("object.spec.ratio < 1.0", true),
        ("object.status.conditions.exists(c, c.type == 'Synced' && c.status == 'True')", true),
        ("object.status.conditions.all(c, c.status == 'True')", false),
        ("object.status.conditions.exists_one(c, c.status == 'True')", true),
        ("object.status.conditions.filter(c, c.status == 'False').map(c, c.type) == ['Backup']", true),
        ("size(object.status.conditions.filter(c, c.status == 'False')) == 1", true),
        ("object.status.conditions[0].type == 'Synced'", true),
        ("object['status']['phase'] in ['Ready', 'Running']", true),
        ("object.metadata.?name == 'x'", false),
        ("has(object.status.phase) && !has(object.status.error)", true),
        ("has(object.metadata.managedFields)", false),
        ("object.status.nothing == 1", false),
        ("object.status.phase.startsWith('Re') && object.status.phase.endsWith('dy')", true),
        ("object.status.phase.contains('ead') && string(object.status.ready) == '3'", true),
        ("type(object.spec) == map && (object.spec.replicas > 2 ? true : false)", true),
        ("object.spec.replicas + 1 == 4 && -object.spec.replicas == -3", true),
    ] {
        let expected = if expected { HealthStatus::Healthy } else { HealthStatus::Progressing };
        let found = assess(rule(healthy), &database());
        if healthy.contains(".?") {
            assert_eq!(found.reason, Some(HealthReason::RuleInvalid), "{healthy}: {found:?}");
        } else {
            assert_eq!(found.status, expected, "{healthy}: {found:?}");
        }
    }
}

#[test]
fn a_rule_says_what_is_degraded_and_why() {
    let rule = HealthRule {
        degraded: Some("object.status.conditions.exists(c, c.type == 'Backup' && c.status == 'False')".to_owned()),
        message: Some("'backup: ' + object.status.conditions.filter(c, c.type == 'Backup')[0].message".to_owned()),
        ..rule("object.status.phase == 'Done'")
    };
    let found = assess(rule, &database());
    assert_eq!(found, Assessment::degraded(HealthReason::Stalled, "backup: disk full"));
}

#[test]
fn a_rule_that_does_not_compile_makes_the_health_unknown_and_says_where() {
    for (healthy, words) in [
        ("object.status.phase ==", "line 1, column"),
        ("object.status\n  && frobnicate(1)", "line 2, column 6: there is no function frobnicate"),
        ("object.a == self.b", "line 1, column 13: there is no variable self"),
        ("", "line 1"),
        ("object.status.phase", "healthy: gives a value of type string"),
        ("google.Duration{seconds: 1} == 1", "types of messages are unknown"),
        ("object.a.matches('.*')", "there is no function matches"),
    ] {
        let found = assess(rule(healthy), &database());
        assert_eq!(
            (found.status, found.reason),
            (HealthStatus::Unknown, Some(HealthReason::RuleInvalid)),
            "{healthy}: {found:?}"
        );
        assert!(found.message.as_deref().unwrap_or_default().contains(words), "{healthy}: {found:?}");
    }
    let kind = GroupKind::parse("Other.example.com").unwrap();
    assert_eq!(Rules::compile(&[rule("true")]).assess(&kind, &database()), None);
}

#[test]
fn every_function_that_may_be_called_exists() {
    for name in FUNCTIONS {
        let call = match *name {
            "contains" | "startsWith" | "endsWith" => format!("'1'.{name}('1') == true"),
            "bool" => "bool('true') == true".to_owned(),
            "type" => "type(1) == int".to_owned(),
            "size" => "size('1') == 1".to_owned(),
            name => format!("{name}(1) == {name}(1)"),
        };
        assert_eq!(assess(rule(&call), &database()), Assessment::healthy(), "{call}");
    }
}

/// An object with a list that rules iterate.
fn large(entries: usize) -> Value {
    json!({"items": (0..entries).map(|number| json!({"name": format!("item-{number}")})).collect::<Vec<_>>(), "text": "x".repeat(100_000)})
}

#[test]
fn a_rule_that_costs_too_much_is_stopped_wherever_the_cost_hides() {
    let doubling = (0..9).fold("[object.text]".to_owned(), |list, _| format!("{list}.map(t, t + t)"));
    let nesting = (0..9).fold("[object.items]".to_owned(), |list, _| format!("{list}.map(t, [t, t])"));
    for expensive in [
        "object.items.all(a, object.items.all(b, object.items.all(c, a != b || b != c || c == c)))".to_owned(),
        "object.items.exists(a, object.items.exists(b, object == {'a': b}))".to_owned(),
        "object.items.map(a, object.items.map(b, [a, b])) == []".to_owned(),
        "object.items.filter(a, object.items.filter(b, a.name == b.name) == []) == []".to_owned(),
        "object.items.all(a, object.items == object.items || object.items != object.items)".to_owned(),
        format!("{doubling} == []"),
        format!("{nesting} == []"),
        format!("[{}] == []", vec!["object"; 400].join(",")),
        format!("{} || true", vec!["object == {}"; 300].join(" || ")),
    ] {
        let found = assess(rule(&expensive), &large(2_000));
        assert_eq!(found.reason, Some(HealthReason::RuleTooCostly), "{}: {found:?}", &expensive[..expensive.len().min(80)]);
        assert_eq!(found.status, HealthStatus::Unknown);
    }
    assert_eq!(assess(rule("true"), &large(300_000)).reason, Some(HealthReason::RuleTooCostly));
    let many = vec!["has(object.items)"; 100].join(" && ");
    assert_eq!(assess(rule(&many), &large(10)), Assessment::healthy());
    assert_eq!(assess(rule("object.items.all(i, i.name.startsWith('item-'))"), &large(2_000)), Assessment::healthy());
}

#[test]
fn nesting_without_end_is_refused() {
    for deep in [
        format!("{}1{}", "(".repeat(1_000), ")".repeat(1_000)),
        format!("{}true", "!".repeat(4_000)),
        format!("{}1 == 1", "-".repeat(4_000)),
        format!("1{} == 1", "+1".repeat(2_000)),
        format!("object{} == 1", ".a".repeat(2_000)),
        format!("object{} == 1", "[0]".repeat(1_300)),
        format!("{}1{} == 1", "[".repeat(2_000), "]".repeat(2_000)),
        format!("{}true{}", "true ? ".repeat(500), " : true".repeat(500)),
        format!("true{}", " ? true : true".repeat(290)),
        format!("true{}", " && true".repeat(500)),
    ] {
        let found = assess(rule(&deep), &database());
        let is_fine =
            found.is_healthy() || found.reason == Some(HealthReason::RuleInvalid) || found.status == HealthStatus::Progressing;
        assert!(is_fine, "{}: {found:?}", &deep[..40]);
    }
}

/// The deepest expression of a shape that still compiles.
fn deepest(shape: impl Fn(usize) -> String + Send) -> String {
    with_room(|| (1..200).map(shape).take_while(|source| Program::compile(source).is_ok()).last()).flatten().unwrap()
}

#[test]
fn the_deepest_rule_needs_less_than_half_its_stack() {
    let object = database();
    for (name, source) in [
        ("list", deepest(|n| format!("{}1{} == 1", "[".repeat(n), "]".repeat(n)))),
        ("map", deepest(|n| format!("{}1{} == 1", "{'a': ".repeat(n), "}".repeat(n)))),
        ("sum", deepest(|n| format!("1{} == 1", "+1".repeat(n)))),
        ("right sum", deepest(|n| format!("{}1{} == 1", "1+(".repeat(n), ")".repeat(n)))),
        ("call", deepest(|n| format!("{}1{} == '1'", "string(".repeat(n), ")".repeat(n)))),
        ("member", deepest(|n| format!("{}'a'{}", "'a'.startsWith(string(".repeat(n), "))".repeat(n)))),
        ("index", deepest(|n| format!("object{} == 1", "[0]".repeat(n)))),
        ("choice", deepest(|n| format!("{}true{}", "true ? ".repeat(n), " : true".repeat(n)))),
        ("chain", deepest(|n| format!("[[1]]{} == []", ".map(x, x + x)".repeat(n)))),
        ("nest", deepest(|n| format!("{}true{}", "[1].all(x, ".repeat(n), ")".repeat(n)))),
        ("filter", deepest(|n| format!("{}true{}", "[1].filter(x, x == 1 && ".repeat(n), ") == [1]".repeat(n)))),
    ] {
        let (rule, object) = (rule(&source), object.clone());
        let work = move || Rule::compile(&rule, &GroupKind::new("example.com", "Database")).unwrap().assess(&object);
        let half = std::thread::Builder::new().name(name.to_owned()).stack_size(stack::STACK / 2);
        half.spawn(work).unwrap().join().unwrap();
    }
}

#[test]
fn rules_can_be_shared_between_tasks() {
    fn shared<T: Send + Sync>(_: &T) {}
    shared(&Rules::default());
}

proptest! {
    #[test]
    fn no_text_is_too_odd_to_be_compiled_and_run(source in "\\PC{0,60}") {
        assess(rule(&source), &database());
    }

    #[test]
    fn no_sequence_of_tokens_is_too_odd_to_be_compiled_and_run(tokens in proptest::collection::vec(prop_oneof![
        Just("object"), Just("."), Just("status"), Just("("), Just(")"), Just("["), Just("]"), Just("{"), Just("}"), Just("+"), Just("-"),
        Just("!"), Just("&&"), Just("||"), Just("?"), Just(":"), Just(","), Just("1"), Just("1u"), Just("0.5"), Just("'a'"), Just("\"\\"),
        Just("b'\\xff'"), Just("r'"), Just("'''"), Just("`"), Just("in"), Just("has"), Just("all"), Just("map"), Just("x"), Just("=="),
        Just("<"), Just("/"), Just("%"), Just("*"), Just("size"), Just("int"), Just("9223372036854775807"), Just("-9223372036854775808"),
        Just("@result"), Just("@charge"), Just("filter"), Just("exists_one"), Just("type"), Just("true"), Just("null"), Just("conditions"),
    ], 0..24)) {
        assess(rule(&tokens.join(" ")), &database());
        assess(rule(&tokens.concat()), &database());
    }
}
