//! The Grafana dashboards of `monitoring/dashboards`, from one table each. `brokkr-lab generate NAME` prints one.

mod agent;
mod broker;
mod fleet;
mod grafana;
mod rollout;

use serde_json::Value;

/// A dashboard: what is on it, and nothing about how Grafana wants it.
pub(crate) struct Dashboard {
    /// Part of its address and of its file's name.
    name: &'static str,
    title: &'static str,
    about: &'static str,
    rows: &'static [Row],
}

/// Panels under one heading.
struct Row {
    title: &'static str,
    panels: &'static [Panel],
}

/// One panel.
struct Panel {
    title: &'static str,
    /// What it says, and what to do about it.
    about: &'static str,
    view: View,
    /// Grafana's word for the unit.
    unit: &'static str,
    /// Of 24.
    width: u8,
    queries: &'static [Query],
    /// The traces that belong to it, in `TraceQL`.
    traces: Option<&'static str>,
}

/// How a panel looks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum View {
    /// Lines over time.
    Lines,
    /// Areas on top of each other.
    Stack,
    /// The latest values, large.
    Numbers,
    /// The latest values as a table.
    Table,
    /// Traces that a `TraceQL` query finds.
    Traces,
}

/// A query in `PromQL`, where `{%}` stands for the chosen clusters and namespaces.
struct Query {
    expr: &'static str,
    legend: &'static str,
    /// Whether it is over the buckets of a histogram, which carry exemplars.
    exemplars: bool,
}

const fn of(expr: &'static str, legend: &'static str) -> Query {
    Query { expr, legend, exemplars: false }
}

const fn with_exemplars(expr: &'static str, legend: &'static str) -> Query {
    Query { expr, legend, exemplars: true }
}

impl Panel {
    const fn new(view: View, title: &'static str, unit: &'static str, about: &'static str, queries: &'static [Query]) -> Self {
        Self { title, about, view, unit, width: 8, queries, traces: None }
    }

    const fn lines(title: &'static str, unit: &'static str, about: &'static str, queries: &'static [Query]) -> Self {
        Self::new(View::Lines, title, unit, about, queries)
    }

    const fn stack(title: &'static str, unit: &'static str, about: &'static str, queries: &'static [Query]) -> Self {
        Self::new(View::Stack, title, unit, about, queries)
    }

    /// Four to a row.
    const fn numbers(title: &'static str, unit: &'static str, about: &'static str, queries: &'static [Query]) -> Self {
        Self::new(View::Numbers, title, unit, about, queries).wide(6)
    }

    const fn table(title: &'static str, unit: &'static str, about: &'static str, queries: &'static [Query]) -> Self {
        Self::new(View::Table, title, unit, about, queries)
    }

    /// A panel that shows the traces themselves.
    const fn traces(title: &'static str, about: &'static str, query: &'static str) -> Self {
        Self { traces: Some(query), ..Self::new(View::Traces, title, "none", about, &[]).wide(24) }
    }

    const fn wide(self, width: u8) -> Self {
        Self { width, ..self }
    }

    /// A panel with a link to these traces.
    const fn leading_to(self, traces: &'static str) -> Self {
        Self { traces: Some(traces), ..self }
    }
}

const ALL: [&Dashboard; 4] = [&fleet::DASHBOARD, &rollout::DASHBOARD, &broker::DASHBOARD, &agent::DASHBOARD];

/// The names of all dashboards.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|dashboard| dashboard.name)
}

/// A dashboard as Grafana imports it.
pub fn render(name: &str) -> Option<Value> {
    ALL.iter().find(|dashboard| dashboard.name == name).map(|dashboard| grafana::dashboard(dashboard))
}
