//! Reference files that follow from the code: written by `make generate`, compared by CI.

use brokkr_telemetry::{
    config::variables::{Fate, VARIABLES},
    metrics, spans,
};
use clap::ValueEnum;

use crate::{cli, config::Config, http};

/// What can be written.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Generated {
    /// The reference copy of `config.toml`
    Config,
    /// The reference of configurations, without the agent's part
    Configuration,
    /// The JSON Schema of the configuration, for the chart's values
    ConfigSchema,
    /// The `OpenAPI` document
    Openapi,
    /// Every error code
    Errors,
    /// Every metric of both daemons
    Metrics,
    /// Every span of both daemons, its attributes, and how spans relate
    Tracing,
    /// The manual page
    Man,
}

/// The text.
pub(crate) fn generate(what: Generated) -> String {
    match what {
        Generated::Config => brokkr_runtime::config::reference::<Config>(
            "config.toml of brokkr-broker: every key with its default. Generated from the code by `make generate`.\nBROKKR__SECTION__KEY in the environment wins over this file.",
        ),
        Generated::Configuration => configuration(),
        Generated::ConfigSchema => brokkr_runtime::config::schema::<Config>(),
        Generated::Openapi => http::openapi(),
        Generated::Errors => errors(),
        Generated::Metrics => metric_page(),
        Generated::Tracing => tracing_page(),
        Generated::Man => cli::manual(),
    }
}

const HEAD: &str = "<!-- Generated from the code by `make generate`: edit the code. -->\n\n";

const PROFILES: &str = r#"
## Profiles of tracing

| profile | what to write in `[telemetry]` |
|---|---|
| development: everything | `enabled = true`, `sampling_rate = 1.0`, `rates.poll = 1.0` where polls matter |
| production | `enabled = true`, `sampling_rate = 0.1` (the default), `endpoint = "https://collector:4317"` |
| off | `enabled = false` (the default): no exporter, no spans; contexts of callers still travel on |

`brokkr trace enable` and `brokkr trace disable` change this while the daemons run.
"#;

fn configuration() -> String {
    let mut page = HEAD.to_owned()
        + "# Configuration\n\nBoth daemons read `--config FILE`, else `./config.toml`, else `/etc/brokkr/config.toml`; then `BROKKR__SECTION__KEY`, \
           which wins over the file (`BROKKR__TELEMETRY__BATCH__DELAY=1s`); then, for `[telemetry]`, the standard variables below, which win over both. \
           What is set by `brokkr trace` wins over everything.\n"
        + PROFILES
        + "\n## Standard variables\n\nRead by both daemons. A row further down wins over one further up. What is set and has no effect is named in the log \
           at the start. An endpoint or an exporter switches tracing on where nothing else says whether it is.\n\n\
           | variable | honoured | by |\n|---|---|---|\n";
    for variable in VARIABLES {
        let (honoured, by) = match variable.fate {
            Fate::Honoured { by, .. } => ("yes", by.to_owned()),
            Fate::Ignored { unless: [], why } => ("no", why.to_owned()),
            Fate::Ignored { unless, why } => ("no", format!("{why}; `{}` is no news", unless.join("`, `"))),
        };
        page += &format!("| `{}` | {honoured} | {by} |\n", variable.name);
    }
    page + "\n## brokkr-broker\n" + &brokkr_runtime::config::tables::<Config>()
}

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

/// What cannot be derived: how spans relate.
const RELATIONS: &str = include_str!("generate/tracing.md");

fn tracing_page() -> String {
    let mut page = HEAD.to_owned()
        + RELATIONS
        + "\n## Spans\n\nAny of them may carry `error.type`.\n\n| span | kind | meaning | place | attributes |\n|---|---|---|---|---|\n";
    for span in spans::SPANS {
        let attributes: Vec<_> = span.attributes.iter().map(|attribute| format!("`{attribute}`")).collect();
        let (name, attributes) = (span.name.replace('|', "\\|"), attributes.join(" "));
        page += &format!("| `{name}` | {} | {} | {} | {attributes} |\n", span.kind, span.help.trim(), span.place);
    }
    page += "\n## Attributes\n\nThere are no others: no key, no manifest, no parameter of a statement, no query string. \
             Every process adds `service.name`, `service.version` and `service.instance.id` as its resource.\n\n\
             | attribute | meaning | example |\n|---|---|---|\n";
    for attribute in spans::ATTRIBUTES {
        let example = attribute.example.replace('|', "\\|");
        page += &format!("| `{}` | {} | `{example}` |\n", attribute.name, attribute.help);
    }
    page
}
