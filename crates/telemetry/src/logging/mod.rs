//! Log lines: for people, or one JSON object each. Inside a span every line carries `trace_id` and `span_id`.

mod fields;
mod human;
mod json;
#[cfg(feature = "testing")]
mod memory;

use opentelemetry::{Context, trace::TraceContextExt};
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt, filter_fn},
    fmt::{self, writer::BoxMakeWriter},
    registry::LookupSpan,
};

#[cfg(feature = "testing")]
pub(crate) use memory::Memory;

use crate::config::{LogConfig, LogFormat};

/// What the exporter's own libraries say is told once by us, with a count, and not once a batch by them.
const QUIET: &str = "opentelemetry=off,opentelemetry_sdk=off,opentelemetry_otlp=off,opentelemetry_http=off,h2=warn,hyper=warn,tonic=warn,tower=warn,reqwest=warn,rustls=warn,kube_client=info,sqlx=warn";

/// A level that says nothing that is understood.
#[derive(Debug, thiserror::Error)]
#[error("telemetry.log.level: {level:?} is neither a level nor a filter such as \"info,brokkr_agent=debug\"")]
pub struct LevelError {
    level: String,
    #[source]
    source: tracing_subscriber::filter::ParseError,
}

/// The layer that writes lines. Its filter is its own: it never switches a span off for anybody else.
pub(crate) fn layer<S>(
    config: &LogConfig,
    service: &str,
    writer: BoxMakeWriter,
    colours: bool,
) -> Result<Box<dyn Layer<S> + Send + Sync>, LevelError>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let filter = filter(&config.level)?;
    // Lines are about events; spans stand in them by their ids.
    let filter = filter.and(filter_fn(|metadata| !metadata.is_span()));
    let layer = fmt::layer().with_writer(writer);
    Ok(match config.format {
        LogFormat::Human => layer.event_format(human::Human { colours }).with_filter(filter).boxed(),
        LogFormat::Json => layer.event_format(json::Json::new(service)).with_filter(filter).boxed(),
    })
}

fn filter(level: &str) -> Result<EnvFilter, LevelError> {
    // What is said last wins, so that the configured level can be more talkative.
    let directives = format!("{QUIET},{level}");
    EnvFilter::builder().parse(directives).map_err(|source| LevelError { level: level.to_owned(), source })
}

/// Ids of the current span.
fn ids() -> Option<(String, String)> {
    Context::map_current(|context| {
        let span = context.span();
        let place = span.span_context();
        place.is_valid().then(|| (place.trace_id().to_string(), place.span_id().to_string()))
    })
}

#[cfg(test)]
mod tests;
