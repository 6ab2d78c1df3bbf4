//! How results look: tables for people, JSON for programs, errors with what to do next.

use std::io::IsTerminal;

use anstream::{eprintln, println};
use anstyle::{AnsiColor, Style};
use brokkr_api::{
    Labels, TargetSelector, Timestamp,
    client::ClientError,
    reports::{Failure, Health, HealthStatus},
    rollouts::{Deployment, Phase, Slowest},
    selector::Operator,
    suspension::Suspension,
};
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

/// Names and values of one thing.
pub(crate) fn page(lines: &[(&str, String)]) {
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    for (name, value) in lines {
        let value = if value.is_empty() { "-" } else { value };
        println!("{name:<width$}  {value}");
    }
}

/// Labels as they are written on the command line.
pub(crate) fn labels(labels: &Labels) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// Who is targeted.
pub(crate) fn targets(selector: &TargetSelector) -> String {
    let mut parts: Vec<String> = selector.names.iter().map(ToString::to_string).collect();
    if let Some(labels) = &selector.labels {
        let equal = labels.match_labels.iter().map(|(key, value)| format!("{key}={value}"));
        let others = labels.match_expressions.iter().map(|expression| {
            let values = expression.values.join(",");
            match expression.operator {
                Operator::In => format!("{} in ({values})", expression.key),
                Operator::NotIn => format!("{} notin ({values})", expression.key),
                Operator::Exists => expression.key.clone(),
                Operator::DoesNotExist => format!("!{}", expression.key),
            }
        });
        let all: Vec<_> = equal.chain(others).collect();
        parts.push(if all.is_empty() { "(all)".to_owned() } else { all.join(",") });
    }
    parts.join(" ")
}

/// What was suspended, by whom and why.
pub(crate) fn suspension(suspension: &Suspension) -> String {
    let what = suspension.scope.in_words();
    format!("{what} by {} since {}: {}", suspension.by, suspension.since, suspension.reason)
}

/// Who holds a rollout up.
pub(crate) fn slowest(slowest: &Slowest) -> String {
    let verb = if slowest.finished { "took" } else { "has waited" };
    format!("{} {verb} {} ms", slowest.agent, slowest.milliseconds)
}

/// Why something failed.
pub(crate) fn failure(failure: &Failure) -> String {
    let object = failure.object.as_ref().map(|object| format!("{object}: ")).unwrap_or_default();
    format!("{object}{} ({})", failure.message, failure.reason)
}

/// How objects are, with the worst of them.
pub(crate) fn health(health: &Health) -> String {
    let status = match health.status {
        HealthStatus::Healthy => "healthy",
        HealthStatus::Progressing => "progressing",
        HealthStatus::Degraded => "degraded",
        HealthStatus::Unknown => "unknown",
    };
    let object = health.object.as_ref().map(ToString::to_string);
    let details: Vec<_> = [object, health.message.clone()].into_iter().flatten().collect();
    if details.is_empty() { status.to_owned() } else { format!("{status} ({})", details.join(": ")) }
}

/// What keeps a deployment from being finished, or else how its objects are.
pub(crate) fn detail(deployment: &Deployment) -> String {
    match (&deployment.suspended, &deployment.error, &deployment.waiting_for, &deployment.health) {
        (Some(held), ..) => format!("suspended: {}", suspension(held)),
        (None, Some(error), ..) => failure(error),
        (None, None, Some(waiting), _) => format!("waiting for {waiting}"),
        (None, None, None, Some(state)) => health(state),
        (None, None, None, None) => String::new(),
    }
}

/// What waits for an approval, and how to give it.
pub(crate) fn held(deployment: &Deployment) -> String {
    let Some(held) = &deployment.held else { return String::new() };
    let (objects, stack, agent) = (held.objects, &deployment.stack, &deployment.agent);
    if deployment.approved {
        return format!("the deletion of {objects} objects, which is approved");
    }
    format!("the deletion of {objects} objects: brokkr approve {stack} --agent {agent}")
}

/// When others last changed objects, and how often they did.
pub(crate) fn drift(deployment: &Deployment) -> String {
    deployment.last_drift_at.map_or_else(String::new, |at| format!("{at}, of {}", deployment.drifts))
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
