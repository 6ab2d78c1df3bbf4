//! How results look: tables for people, JSON for programs, errors with what to do next.

use std::io::IsTerminal;

use anstream::{eprintln, println};
use anstyle::{AnsiColor, Style};
use brokkr_api::{Timestamp, client::ClientError, rollouts::Phase};
use clap::ValueEnum;
use comfy_table::{Table, presets};
use serde::Serialize;

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// For programs
    Json,
}

/// Whether a person is watching.
pub(crate) fn is_watched() -> bool {
    std::io::stdout().is_terminal()
}

/// Writes JSON.
pub(crate) fn json<T: Serialize>(value: &T) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Writes a table; says so when there is nothing in it.
pub(crate) fn table(head: &[&str], rows: Vec<Vec<String>>, nothing: &str) {
    if rows.is_empty() {
        return println!("{nothing}");
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(head.iter().map(|text| text.to_uppercase()));
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    for line in table.lines() {
        println!("{}", line.trim_end());
    }
}

/// A line of what is going on, for people; not part of the result.
pub(crate) fn note(text: &str) {
    eprintln!("{text}");
}

/// An error with its causes.
pub(crate) fn error(error: &anyhow::Error) {
    let red = Style::new().fg_color(Some(AnsiColor::Red.into())).bold();
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    eprintln!("{red}error:{red:#} {text}");
    if let Some(ClientError::Problem(problem)) = error.chain().find_map(|cause| cause.downcast_ref::<ClientError>()) {
        if let Some(place) = &problem.place {
            eprintln!("  where:   {place}");
        }
        if let Some(id) = &problem.request_id {
            eprintln!("  request: {id}");
        }
    }
}

/// A phase in its colour.
pub(crate) fn phase(phase: Phase) -> String {
    let colour = match phase {
        Phase::Applied | Phase::Healthy | Phase::Deleted => AnsiColor::Green,
        Phase::Failed | Phase::Degraded => AnsiColor::Red,
        Phase::Orphaned | Phase::Suspended => AnsiColor::BrightBlack,
        Phase::Pending | Phase::Progressing | Phase::Deleting => AnsiColor::Yellow,
    };
    if !std::io::stdout().is_terminal() {
        return phase.as_str().to_owned();
    }
    let style = Style::new().fg_color(Some(colour.into()));
    format!("{style}{}{style:#}", phase.as_str())
}

/// How long ago, in the largest unit that is not zero.
pub(crate) fn ago(at: Option<Timestamp>, now: Timestamp) -> String {
    let Some(at) = at else { return "never".to_owned() };
    let seconds = now.since(at).as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// The time now, for ages.
#[expect(clippy::disallowed_methods, reason = "a table shows ages against the clock of whoever looks at it")]
pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        let now = Timestamp::from_micros(100 * 86_400 * 1_000_000);
        let before = |seconds: i64| Some(Timestamp::from_micros(now.as_micros() - seconds * 1_000_000));
        assert_eq!(ago(before(5), now), "5s");
        assert_eq!(ago(before(125), now), "2m");
        assert_eq!(ago(before(3 * 86_400), now), "3d");
        assert_eq!(ago(None, now), "never");
    }
}
