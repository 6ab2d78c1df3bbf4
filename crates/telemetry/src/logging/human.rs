//! Lines for people: `2026-11-20T10:00:00.000000Z  INFO target: message name=value trace_id=… span_id=…`.

use serde_json::Value;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
};

use super::fields::Fields;

pub(super) struct Human {
    pub(super) colours: bool,
}

impl<S, N> FormatEvent<S, N> for Human
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> std::fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        SystemTime.format_time(&mut out)?;
        let level = metadata.level();
        if self.colours {
            write!(out, " \u{1b}[{}m{level:>5}\u{1b}[0m", colour(*level))?;
        } else {
            write!(out, " {level:>5}")?;
        }
        write!(out, " {}: {}", metadata.target(), OneLine(&fields.message))?;
        for (name, value) in &fields.values {
            write!(out, " {name}={}", Shown(value))?;
        }
        if let Some((trace_id, span_id)) = super::ids() {
            write!(out, " trace_id={trace_id} span_id={span_id}")?;
        }
        writeln!(out)
    }
}

fn colour(level: Level) -> u8 {
    match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        Level::TRACE => 35,
    }
}

/// Without the characters that would begin another line or steer a terminal.
struct OneLine<'a>(&'a str);

impl std::fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for character in self.0.chars() {
            if character.is_control() { write!(f, "{}", character.escape_default())? } else { write!(f, "{character}")? }
        }
        Ok(())
    }
}

/// A value, quoted where it has spaces.
struct Shown<'a>(&'a Value);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Value::String(text) if !text.is_empty() && !text.contains([' ', '"', '=']) => write!(f, "{}", OneLine(text)),
            other => write!(f, "{other}"),
        }
    }
}
