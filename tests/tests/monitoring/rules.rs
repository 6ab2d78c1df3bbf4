//! What can be said of the rules, the dashboards and the documentation without running anything of ours.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use brokkr_telemetry::metrics::{MetricKind, catalogue};
use brokkr_tests::{
    dashboards,
    lab::Scratch,
    prometheus::{RuleFile, check_config, check_rules, test_rules},
};
use serde::Deserialize;
use serde_json::Value;

use crate::queries::{self, in_repository};

const RUNBOOKS: &str = "docs/content/how-to/runbooks.md";
const BASE: &str = "https://brokkr.io/docs/how-to/runbooks#";

/// What is not ours and yet named by a query: Prometheus itself, the process, the collector and its span metrics.
const FOREIGN: [&str; 8] = [
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "otelcol_exporter_queue_capacity",
    "otelcol_exporter_queue_size",
    "traces_span_metrics_calls_total",
];

/// Alerts that no test brings about for real, and why; their unit tests stand for them.
const UNSEEN: [(&str, &str); 8] = [
    ("BrokkrFileDescriptors", "a process at its limit of descriptors cannot be scraped in a test that shares the limit"),
    ("BrokkrHttpLatency", "a broker that is slow for itself, and not for its database, is no fault that can be injected"),
    ("BrokkrKubernetesLatency", "the proxy before the API server refuses calls or swallows them, and delays none"),
    ("BrokkrWakeupLag", "the lag counts from a commit to an answer within one process"),
    (
        "BrokkrJobsFailing",
        "a job that fails for fifteen minutes and yet leaves the broker alive is no fault that can be injected",
    ),
    ("BrokkrObjectsDegraded", "the stand-in for the kubelet makes every pod ready"),
    ("BrokkrCollectorRefusing", "a collector refuses spans when it has no memory left"),
    ("BrokkrCollectorQueueFull", "a queue of the collector is full for the moment in which a test's spans fit in it"),
];

#[derive(Debug, Deserialize)]
struct UnitTests {
    tests: Vec<UnitTest>,
}

#[derive(Debug, Deserialize)]
struct UnitTest {
    #[serde(default)]
    alert_rule_test: Vec<AlertTest>,
}

#[derive(Debug, Deserialize)]
struct AlertTest {
    alertname: String,
    exp_alerts: Vec<Value>,
}

fn unit_tests() -> PathBuf {
    in_repository("monitoring/tests/brokkr.yaml")
}

#[test]
fn promtool_accepts_the_rules_and_their_unit_tests_pass() {
    check_rules(&RuleFile::path()).unwrap();
    test_rules(&unit_tests()).unwrap();
}

#[test]
fn the_scrape_configuration_of_the_documentation_is_one() {
    let page = std::fs::read_to_string(in_repository("docs/content/reference/monitoring.md")).unwrap();
    let block = page.split("```yaml\n").filter_map(|rest| rest.split("```").next()).find(|block| block.starts_with("global:"));
    let scratch = Scratch::new("scrape").unwrap();
    check_config(&scratch.write("prometheus.yaml", block.unwrap()).unwrap()).unwrap();
}

#[test]
fn every_alert_has_a_unit_test_in_which_it_fires_and_one_in_which_it_does_not() {
    let tests: UnitTests = serde_saphyr::from_str(&std::fs::read_to_string(unit_tests()).unwrap()).unwrap();
    let mut seen: BTreeMap<String, BTreeSet<bool>> = BTreeMap::new();
    for test in tests.tests.into_iter().flat_map(|test| test.alert_rule_test) {
        seen.entry(test.alertname).or_default().insert(!test.exp_alerts.is_empty());
    }
    let rules = RuleFile::ours().unwrap();
    for (alert, _) in rules.alerts() {
        assert_eq!(seen.remove(alert), Some([false, true].into()), "{alert}");
    }
    assert!(seen.is_empty(), "tests of alerts that there are not: {seen:?}");
}

#[test]
fn every_alert_says_how_urgent_it_is_and_what_is_wrong_and_has_a_section_in_the_runbooks() {
    let runbooks = std::fs::read_to_string(in_repository(RUNBOOKS)).unwrap();
    let sections: BTreeSet<&str> = runbooks.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let rules = RuleFile::ours().unwrap();
    let mut alerts = BTreeSet::new();
    for (alert, rule) in rules.alerts() {
        assert!(alerts.insert(alert), "{alert} twice");
        let severity = rule.labels.get("severity").map(String::as_str);
        assert!(matches!(severity, Some("critical" | "warning" | "info")), "{alert}: {severity:?}");
        let said = |annotation: &str| rule.annotations.get(annotation).cloned().unwrap_or_default();
        assert!(said("summary").ends_with('.'), "{alert}: {}", said("summary"));
        assert!(said("description").contains("$value"), "{alert}: {}", said("description"));
        assert_eq!(said("runbook_url"), format!("{BASE}{}", alert.to_lowercase()));
        assert!(sections.contains(alert), "{RUNBOOKS} has no section for {alert}");
    }
    let strangers: Vec<_> =
        sections.iter().filter(|section| section.starts_with("Brokkr") && !alerts.contains(*section)).collect();
    assert!(strangers.is_empty(), "sections for alerts that there are not: {strangers:?}");
}

#[test]
fn every_alert_fires_under_a_fault_of_these_tests_or_says_why_it_cannot() {
    let texts = [
        include_str!("load.rs"),
        include_str!("outages.rs"),
        include_str!("clusters.rs"),
        include_str!("databases.rs"),
        include_str!("collectors.rs"),
        include_str!("deadlines.rs"),
    ];
    let rules = RuleFile::ours().unwrap();
    for (alert, _) in rules.alerts() {
        let awaited = texts.iter().any(|text| text.contains(&format!("fires(\"{alert}\"")));
        let is_unseen = UNSEEN.iter().any(|(unseen, _)| *unseen == alert);
        assert!(awaited != is_unseen, "{alert}: brought about: {awaited}, listed as impossible: {is_unseen}");
    }
}

#[test]
fn rules_dashboards_and_documentation_name_only_metrics_that_exist() {
    let mut known: BTreeSet<String> = FOREIGN.iter().map(|name| (*name).to_owned()).collect();
    for metric in catalogue() {
        known.insert(metric.name.to_owned());
        if metric.kind == MetricKind::Histogram {
            known.extend(["_bucket", "_sum", "_count"].map(|suffix| format!("{}{suffix}", metric.name)));
        }
    }
    known.extend(RuleFile::ours().unwrap().rules().filter_map(|rule| rule.record.clone()));
    for query in queries::all() {
        for name in queries::metrics_of(&query.expression) {
            assert!(known.contains(&name), "{}: there is no metric {name}: {}", query.origin, query.expression);
        }
    }
}

#[test]
fn the_dashboards_are_those_of_the_table_and_their_traces_are_looked_for_under_names_that_exist() {
    let spans = std::fs::read_to_string(in_repository("docs/content/reference/tracing.md")).unwrap();
    for name in dashboards::names() {
        let text = std::fs::read_to_string(in_repository(&format!("monitoring/dashboards/{name}.json"))).unwrap();
        let committed: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(committed, dashboards::render(name).unwrap(), "{name}: run `make generate`");
        for panel in committed["panels"].as_array().unwrap() {
            assert!(panel["type"] == "row" || !panel["description"].as_str().unwrap().is_empty(), "{name}: {}", panel["title"]);
        }
        for query in queries::trace_queries(&committed) {
            for literal in query.split("name = \"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
                let is_service = literal.starts_with("brokkr-");
                assert!(is_service || spans.contains(&format!("`{literal}`")), "{name}: no span {literal:?}: {query}");
            }
        }
    }
}
