//! Every query that we give to people, and where it stands.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use brokkr_telemetry::metrics::catalogue;
use brokkr_tests::{
    dashboards,
    prometheus::{RuleFile, hurried},
};
use serde_json::Value;

/// Pages with queries in blocks marked `promql`.
const PAGES: [&str; 2] = ["docs/content/reference/monitoring.md", "docs/content/how-to/runbooks.md"];

/// A query in `PromQL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query {
    /// Where it stands.
    pub(crate) origin: String,
    /// As it stands there.
    pub(crate) expression: String,
}

impl Query {
    fn new(origin: impl Into<String>, expression: &str) -> Self {
        Self { origin: origin.into(), expression: expression.trim().to_owned() }
    }

    /// As a test asks it: in a hurry, and with the variables of a dashboard filled in.
    pub(crate) fn asked(&self) -> String {
        let filled = self.expression.replace("$__rate_interval", "5m").replace("$__range", "1h");
        hurried(&filled.replace("$cluster", ".*").replace("$namespace", ".*"))
    }
}

pub(crate) fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// All of them.
pub(crate) fn all() -> Vec<Query> {
    let rules = RuleFile::ours().unwrap();
    let mut queries: Vec<Query> = Vec::new();
    for rule in rules.rules() {
        match (&rule.record, &rule.alert) {
            (Some(record), _) => {
                queries.push(Query::new(format!("record {record}"), &rule.expr));
                queries.push(Query::new(format!("record {record}"), record));
            }
            // An alert answers only while it fires. What it compares must answer all the time, or it could never fire.
            (None, Some(alert)) => {
                queries.push(Query::new(format!("alert {alert}"), compared(&rule.expr).unwrap_or(&rule.expr)));
            }
            (None, None) => {}
        }
    }
    for name in dashboards::names() {
        let text = std::fs::read_to_string(in_repository(&format!("monitoring/dashboards/{name}.json"))).unwrap();
        walk(&serde_json::from_str(&text).unwrap(), &mut |value| {
            let origin = || format!("dashboard {name}, {}", value["legendFormat"].as_str().unwrap_or("a variable"));
            queries.extend(value["expr"].as_str().map(|expression| Query::new(origin(), expression)));
            let variable = value["definition"].as_str().and_then(|definition| definition.strip_prefix("label_values("));
            queries.extend(variable.and_then(|inner| inner.rsplit_once(", ")).map(|(series, _)| Query::new(origin(), series)));
        });
    }
    for page in PAGES {
        let text = std::fs::read_to_string(in_repository(page)).unwrap();
        let blocks = text.split("```promql\n").skip(1).filter_map(|rest| rest.split("```").next());
        queries.extend(blocks.map(|block| Query::new(page, block)));
    }
    queries.extend(catalogue().map(|metric| Query::new(format!("catalogue, {}", metric.name), metric.query)));
    queries
}

/// The searches for traces of a dashboard: in `TraceQL`.
pub(crate) fn trace_queries(dashboard: &Value) -> Vec<String> {
    let mut queries = Vec::new();
    walk(dashboard, &mut |value| {
        if value["queryType"] == "traceql" {
            queries.extend(value["query"].as_str().map(str::to_owned));
        }
        if let Some(url) = value["url"].as_str().filter(|url| url.starts_with("/explore")) {
            let decoded = percent_decoded(url);
            let pane: Value = serde_json::from_str(decoded.split_once("panes=").unwrap().1).unwrap();
            queries.push(pane["traces"]["queries"][0]["query"].as_str().unwrap().to_owned());
        }
    });
    queries
}

fn percent_decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend(part[2..].bytes());
    }
    String::from_utf8(bytes).unwrap()
}

fn walk(value: &Value, look: &mut impl FnMut(&Value)) {
    look(value);
    match value {
        Value::Array(values) => values.iter().for_each(|value| walk(value, look)),
        Value::Object(fields) => fields.values().for_each(|value| walk(value, look)),
        _ => {}
    }
}

/// What a simple alert compares with its limit; nothing for one that is put together from several conditions.
fn compared(expression: &str) -> Option<&str> {
    if ["unless", "and ", " or sum"].iter().any(|word| expression.contains(word)) {
        return None;
    }
    let at = [" > ", " < ", " == "].iter().filter_map(|operator| expression.rfind(operator)).max()?;
    Some(&expression[..at])
}

/// The names of metrics in an expression: what is neither a label, a function nor a word in quotes.
pub(crate) fn metrics_of(expression: &str) -> BTreeSet<String> {
    let mut outside = String::new();
    for (at, part) in expression.split('"').enumerate() {
        if at % 2 == 0 {
            outside.push_str(part);
        }
    }
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == ':';
    let words = outside.split(|letter| !is_part(letter));
    let prefixes = ["brokkr_", "brokkr:", "process_", "otelcol_", "traces_", "target_"];
    words.filter(|word| prefixes.iter().any(|prefix| word.starts_with(prefix))).map(str::to_owned).collect()
}

#[test]
fn what_an_alert_compares_is_the_text_before_its_limit() {
    assert_eq!(compared("max by (a) (b > 0) - time() < 14 * 86400"), Some("max by (a) (b > 0) - time()"));
    assert_eq!(compared("up == 0"), Some("up"));
    assert_eq!(compared("a > 1 and b"), None);
}

#[test]
fn the_names_of_metrics_are_found_and_labels_are_not() {
    let found = metrics_of(r#"sum by (brokkr) (rate(brokkr_a_total{job="brokkr_x"}[5m])) / brokkr:b:rate5m > 0"#);
    assert_eq!(found, ["brokkr:b:rate5m".to_owned(), "brokkr_a_total".to_owned()].into());
}

#[test]
fn in_a_hurry_a_minute_is_a_second_in_ranges_waits_and_limits_and_nowhere_else() {
    let before = "rate(a[5m]) > 0.05 and b[1d] > 15 * 60 or c > 2 * 86400 and d > 60 * 60\n";
    assert_eq!(hurried(before), "rate(a[5s]) > 0.05 and b[1440s] > 15 * 1 or c > 2 * 86400 and d > 60 * 1\n");
    assert_eq!(hurried("max(x[30s]) > 3 * 60"), "max(x[1s]) > 3 * 1", "a second at least, and at the end as well");
    let rules = RuleFile::ours().unwrap();
    let all = rules.clone().in_a_hurry();
    for (before, after) in rules.rules().zip(all.rules()) {
        assert!(!after.expr.contains("* 60"), "{}", after.expr);
        assert_eq!(before.expr.contains('['), after.expr.contains("s]"), "{}", after.expr);
        assert_eq!(before.lasting.is_some(), after.lasting.as_ref().is_some_and(|lasting| lasting.ends_with('s')));
    }
}
