//! `brokkr rollout`.

use std::time::{Duration, Instant};

use brokkr_api::{ErrorCode, Name, client::Client, rollouts::Rollout};
use clap::Subcommand;

use super::Outcome;
use crate::{
    connection::ConnectionArgs,
    output::{self, Format},
};

/// One request waits so long.
const WAIT: Duration = Duration::from_secs(20);

/// Follow rollouts.
#[derive(Debug, Subcommand)]
pub(crate) enum Rollouts {
    /// How far a stack's newest generation has come, and what each agent waits for
    Status {
        /// The stack
        stack: Name,
        /// Wait until it is done or has failed
        #[arg(short, long)]
        wait: bool,
        /// Longest time to wait
        #[arg(long, default_value = "5m", value_parser = humantime::parse_duration, value_name = "TIME")]
        timeout: Duration,
    },
}

pub(crate) async fn run(connection: &ConnectionArgs, format: Format, rollouts: Rollouts) -> anyhow::Result<Outcome> {
    let Rollouts::Status { stack, wait, timeout } = rollouts;
    let client = connection.client()?;
    if wait {
        return follow(&client, format, &stack, timeout).await;
    }
    let rollout = client.rollout(&stack, None).await?;
    show(&rollout, format)?;
    Ok(outcome(&rollout))
}

/// Waits until the rollout is done or has failed, and says on the way how far it is.
pub(crate) async fn follow(client: &Client, format: Format, stack: &Name, timeout: Duration) -> anyhow::Result<Outcome> {
    let deadline = Instant::now() + timeout;
    let mut last = String::new();
    let mut was_deleting = client.rollout(stack, None).await.is_ok_and(|rollout| rollout.deleting);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let rollout = match client.rollout(stack, Some(WAIT.min(left))).await {
            // A stack whose deletion every agent has acknowledged is gone, and its name is free.
            Err(error) if error.code() == Some(ErrorCode::NotFound) && was_deleting => {
                anstream::println!("stack {stack} is deleted");
                return Ok(Outcome::Done);
            }
            other => other?,
        };
        was_deleting = rollout.deleting;
        let line = progress(&rollout);
        if rollout.done || rollout.failed > 0 || left.is_zero() {
            show(&rollout, format)?;
            return Ok(outcome(&rollout));
        }
        if line != last {
            output::note(&line);
            last = line;
        }
    }
}

fn outcome(rollout: &Rollout) -> Outcome {
    match rollout {
        rollout if rollout.failed > 0 => Outcome::RolloutFailed,
        rollout if rollout.done => Outcome::Done,
        _ => Outcome::NotInTime,
    }
}

fn progress(rollout: &Rollout) -> String {
    let verb = if rollout.deleting { "deleted" } else { "applied" };
    let waiting = rollout.deployments.iter().find_map(|deployment| deployment.waiting_for.as_deref());
    let waiting = waiting.map(|waiting| format!("; waiting for {waiting}")).unwrap_or_default();
    let counts = [(rollout.failed, "failed"), (rollout.suspended, "suspended")];
    let counts = counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!(", {count} {what}"));
    let counts = counts.collect::<String>();
    format!(
        "stack {} generation {}: {verb} on {} of {} agents{counts}{waiting}",
        rollout.stack, rollout.generation, rollout.finished, rollout.total
    )
}

fn show(rollout: &Rollout, format: Format) -> anyhow::Result<()> {
    if format == Format::Json {
        return output::json(rollout);
    }
    anstream::println!("{}", progress(rollout));
    let rows = rollout.deployments.iter().map(|deployment| {
        let took = deployment.finished_at.map(|at| format!("{} ms", at.since(deployment.desired_at).as_millis()));
        vec![
            deployment.agent.to_string(),
            output::phase(deployment.phase),
            format!("{}/{}", deployment.observed_generation, deployment.generation),
            took.unwrap_or_default(),
            output::detail(deployment),
        ]
    });
    output::table(
        &["agent", "phase", "generation", "took", "detail"],
        rows.collect(),
        "no agent is concerned: check the stack's targets",
    );
    for deployment in rollout.deployments.iter().filter(|deployment| deployment.held.is_some() && !deployment.approved) {
        anstream::println!("agent {} holds {}", deployment.agent, output::held(deployment));
    }
    if let Some(slowest) = rollout.slowest.as_ref().filter(|_| rollout.total > 1) {
        anstream::println!("slowest: {}", output::slowest(slowest));
    }
    if let Some(trace) = rollout.trace_id.as_ref().filter(|_| output::is_watched()) {
        anstream::println!("trace {trace}");
    }
    Ok(())
}
