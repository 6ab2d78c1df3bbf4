//! `brokkr rollback`.

use std::time::Duration;

use brokkr_api::{Name, client::Conditions};
use clap::Args;

use super::{Outcome, rollout};
use crate::{
    connection::ConnectionArgs,
    output::{self, Format},
};

/// Bring old content of a stack back, as a new generation.
#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// The stack
    stack: Name,
    /// The generation whose content to bring back [default: the one before the newest]
    #[arg(long, value_name = "GENERATION")]
    to: Option<u64>,
    #[command(flatten)]
    conditions: ConditionArgs,
    /// Wait until the rollout is done or has failed
    #[arg(short, long)]
    wait: bool,
    /// Longest time to wait
    #[arg(long, default_value = "5m", value_parser = humantime::parse_duration, value_name = "TIME")]
    timeout: Duration,
}

/// What a change is conditional on.
#[derive(Debug, Args)]
pub(crate) struct ConditionArgs {
    /// Only while the stack's tag is this one; `brokkr describe stack` shows it
    #[arg(long, value_name = "TAG")]
    if_match: Option<String>,
    /// Names the request: sent again, it does nothing a second time
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

impl ConditionArgs {
    pub(super) fn conditions(&self) -> Conditions {
        // Shells take the quotation marks of a tag away.
        let quoted = |tag: &String| if tag.starts_with('"') || tag == "*" { tag.clone() } else { format!("\"{tag}\"") };
        Conditions { if_match: self.if_match.as_ref().map(quoted), idempotency_key: self.idempotency_key.clone() }
    }
}

pub(crate) async fn run(connection: &ConnectionArgs, format: Format, args: RollbackArgs) -> anyhow::Result<Outcome> {
    let changing = connection.changing_client()?;
    let accepted = changing.rollback(&args.stack, args.to, &args.conditions.conditions()).await?;
    let object = &accepted.deployment_object;
    if format == Format::Json {
        output::json(&accepted)?;
    } else {
        let from = object.rollback_to.map(|generation| format!(" with the content of generation {generation}"));
        let what = if accepted.created { "is" } else { "already is" };
        let (stack, generation, agents) = (&args.stack, object.generation, accepted.agents);
        anstream::println!("stack {stack} {what} generation {generation}{}, for {agents} agents", from.unwrap_or_default());
    }
    if connection.wants_trace() {
        output::note(&format!("trace {}", object.trace_id.as_deref().unwrap_or("none: the broker does not trace")));
    }
    if args.wait {
        return rollout::follow(&connection.client()?, Format::Table, &args.stack, args.timeout).await;
    }
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_without_its_quotation_marks_is_the_same_tag() {
        let tag = |text: &str| ConditionArgs { if_match: Some(text.to_owned()), idempotency_key: None }.conditions().if_match;
        assert_eq!(tag("7"), tag("\"7\""));
        assert_eq!(tag("*").as_deref(), Some("*"));
    }
}
