//! Reference files that follow from the code: written by `make generate`, compared by CI.

use brokkr_telemetry::{metrics, spans};
use clap::ValueEnum;

use crate::{config::Config, http};

/// What can be written.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Generated {
    /// The reference copy of `config.toml`
    Config,
    /// The JSON Schema of the configuration, for the chart's values
    ConfigSchema,
    /// The `OpenAPI` document
    Openapi,
    /// Every error code
    Errors,
    /// Every metric of both daemons
    Metrics,
    /// Every span of both daemons
    Spans,
}

/// The text.
pub(crate) fn generate(what: Generated) -> String {
    match what {
        Generated::Config => brokkr_runtime::config::reference::<Config>(
            "config.toml of brokkr-broker: every key with its default. Generated from the code by `make generate`.\nBROKKR__SECTION__KEY in the environment wins over this file.",
        ),
        Generated::ConfigSchema => brokkr_runtime::config::schema::<Config>(),
        Generated::Openapi => http::openapi(),
        Generated::Errors => errors(),
        Generated::Metrics => metric_page(),
        Generated::Spans => span_page(),
    }
}

const HEAD: &str = "<!-- Generated from the code by `make generate`: edit the code. -->\n\n";

fn errors() -> String {
    let mut page = HEAD.to_owned()
        + "# Error codes\n\nEvery error of the API is a problem by RFC 9457 with one of these codes. Codes are added, never renamed.\n\n\
           | code | status | title | meaning |\n|---|---|---|---|\n";
    for (code, doc) in brokkr_api::ErrorCode::ALL {
        page += &format!("| `{}` | {} | {} | {} |\n", code.as_str(), code.status(), code.title(), doc.trim());
    }
    page
}

fn metric_page() -> String {
    let mut page = HEAD.to_owned()
        + "# Metrics\n\nServed at `/metrics` by the broker (port 3000) and the agent (port 8080), as Prometheus text or OpenMetrics with exemplars.\n\
           No metric carries an agent, a stack or a request id. Beside these there are `process_*` and `target_info`.\n\n\
           | metric | type | labels | meaning |\n|---|---|---|---|\n";
    for metric in metrics::catalogue() {
        let labels: Vec<_> = metric.label_names().map(|label| format!("`{label}`")).collect();
        page += &format!("| `{}` | {} | {} | {} |\n", metric.name, metric.kind.as_str(), labels.join(", "), metric.help.trim());
    }
    page += "\n## Values of labels\n\n| metric | label | values |\n|---|---|---|\n";
    for metric in metrics::catalogue() {
        for label in metric.labels {
            let words: Vec<_> = label.values.iter().map(|word| format!("`{word}`")).collect();
            let values = if words.is_empty() { label.of.to_owned() } else { words.join(" ") };
            page += &format!("| `{}` | `{}` | {values} |\n", metric.name, label.name);
        }
    }
    page += "\n## A query to begin with\n\n| metric | query |\n|---|---|\n";
    for metric in metrics::catalogue() {
        page += &format!("| `{}` | `{}` |\n", metric.name, metric.query);
    }
    page
}

fn span_page() -> String {
    let mut page = HEAD.to_owned()
        + "# Spans\n\nEvery span that the daemons make. Any of them may carry `error.type`, a word of a closed set, with status ERROR.\n\n\
           | span | kind | meaning | attributes |\n|---|---|---|---|\n";
    for span in spans::SPANS {
        let attributes: Vec<_> = span.attributes.iter().map(|attribute| format!("`{attribute}`")).collect();
        page += &format!(
            "| `{}` | {} | {} | {} |\n",
            span.name.replace('|', "\\|"),
            span.kind,
            span.help.trim(),
            attributes.join(" ")
        );
    }
    page
}
