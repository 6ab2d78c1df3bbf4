//! `brokkr apply`.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use brokkr_api::{
    ErrorCode, LabelSelector, Labels, Name, TargetSelector,
    agents::AgentsQuery,
    client::{Client, ClientError, Conditions},
    policy::StackPolicy,
    stacks::{PutStack, Stack, TargetsPreview},
};
use clap::Args;

use super::{Outcome, confirm::confirm, manifests, pair, policy::PolicyArgs, rollback::ConditionArgs, rollout};
use crate::{
    connection::ConnectionArgs,
    output::{self, Format},
};

/// Most names in one sentence.
const SHOWN: usize = 10;

/// Send manifests to a stack.
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// Manifests: a file, a folder, or - for the standard input; may be repeated
    #[arg(short, long = "file", required = true, value_name = "FILE|DIR|-")]
    files: Vec<PathBuf>,
    /// The stack; created when there is none of that name
    #[arg(short, long)]
    stack: Name,
    /// Target agents with this label, KEY=VALUE; may be repeated
    #[arg(short = 'l', long = "selector", value_name = "KEY=VALUE", value_parser = pair)]
    selector: Vec<(String, String)>,
    /// Target this agent; may be repeated
    #[arg(short, long = "agent", value_name = "NAME")]
    agents: Vec<Name>,
    /// Target every agent
    #[arg(long, conflicts_with_all = ["selector", "agents"])]
    all_agents: bool,
    #[command(flatten)]
    policy: PolicyArgs,
    #[command(flatten)]
    conditions: ConditionArgs,
    /// Do not ask, even when many agents lose the stack
    #[arg(short, long)]
    yes: bool,
    /// Wait until the rollout is done or has failed
    #[arg(short, long)]
    wait: bool,
    /// Longest time to wait
    #[arg(long, default_value = "5m", value_parser = humantime::parse_duration, value_name = "TIME")]
    timeout: Duration,
}

pub(crate) async fn run(connection: &ConnectionArgs, format: Format, args: ApplyArgs) -> anyhow::Result<Outcome> {
    let (client, changing) = (connection.client()?, connection.changing_client()?);
    let manifests = manifests::read(&args.files)?;
    let conditions = ensure_stack(&client, &changing, &args).await?;
    let accepted = changing.put_deployment_objects_if(&args.stack, "application/yaml", manifests, &conditions).await?;
    let object = &accepted.deployment_object;
    if format == Format::Json {
        output::json(&accepted)?;
    } else {
        let what = if accepted.created { "accepted" } else { "unchanged" };
        anstream::println!(
            "stack {} {what}: generation {}, {} objects, for {} agents",
            args.stack,
            object.generation,
            object.objects,
            accepted.agents
        );
    }
    if connection.wants_trace() {
        output::note(&format!("trace {}", object.trace_id.as_deref().unwrap_or("none: the broker does not trace")));
    }
    if args.wait {
        return rollout::follow(&client, Format::Table, &args.stack, args.timeout).await;
    }
    Ok(Outcome::Done)
}

/// Creates the stack, or changes its targets and its policy when the arguments name others. Answers the conditions for the manifests.
async fn ensure_stack(client: &Client, changing: &Client, args: &ApplyArgs) -> anyhow::Result<Conditions> {
    let conditions = args.conditions.conditions();
    let named = targets(args)?;
    let put = match client.stack(&args.stack).await {
        Ok(stack) => {
            let policy = args.policy.on(&stack.policy)?;
            match named.filter(|targets| *targets != stack.targets) {
                Some(targets) => PutStack { policy, ..retarget(changing, args, &stack, targets).await? },
                None if policy == stack.policy => return Ok(conditions),
                None => PutStack { labels: stack.labels, targets: stack.targets, policy, preview_token: None },
            }
        }
        Err(error) if error.code() == Some(ErrorCode::NotFound) => {
            let targets = match named {
                Some(targets) => targets,
                None => only_agent(client, &args.stack).await?,
            };
            PutStack { targets, policy: args.policy.on(&StackPolicy::default())?, ..PutStack::default() }
        }
        Err(error) => return Err(error.into()),
    };
    let only_if = Conditions { if_match: conditions.if_match.clone(), idempotency_key: None };
    let stack = changing.put_stack_if(&args.stack, &put, &only_if).await?;
    // The caller's tag was that of the stack before this change.
    let if_match = if conditions.if_match.is_some() { stack.tag } else { None };
    Ok(Conditions { if_match, ..conditions })
}

/// Shows who gains and loses the stack, and asks when these are many. The token binds the answer to what was shown.
async fn retarget(changing: &Client, args: &ApplyArgs, stack: &Stack, targets: TargetSelector) -> anyhow::Result<PutStack> {
    let preview = changing.preview_targets(&args.stack, &targets).await?;
    if preview.gained + preview.lost > 0 {
        output::note(&format!("other targets: {}", consequence(&preview)));
    }
    if preview.needs_token {
        confirm(
            &format!("Take stack {} from {} of {} agents?", args.stack, preview.lost, preview.lost + preview.kept),
            args.yes,
        )?;
    }
    let preview_token = preview.needs_token.then_some(preview.token);
    Ok(PutStack { labels: stack.labels.clone(), targets, policy: stack.policy.clone(), preview_token })
}

/// Who gains and who loses, with some names.
fn consequence(preview: &TargetsPreview) -> String {
    let part = |verb: &str, count: u64, names: &[Name]| match count {
        0 => format!("nobody {verb}s it"),
        _ => {
            let shown: Vec<_> = names.iter().take(SHOWN).map(Name::as_str).collect();
            let more = count.saturating_sub(shown.len() as u64);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("{count} {verb} it ({}{more})", shown.join(", "))
        }
    };
    let (gains, loses) = (part("gain", preview.gained, &preview.gains), part("lose", preview.lost, &preview.loses));
    format!("{gains}, {loses}, {} keep it", preview.kept)
}

fn targets(args: &ApplyArgs) -> anyhow::Result<Option<TargetSelector>> {
    if args.all_agents {
        return Ok(Some(TargetSelector::everyone()));
    }
    if args.selector.is_empty() && args.agents.is_empty() {
        return Ok(None);
    }
    let labels: BTreeMap<_, _> = args.selector.iter().cloned().collect();
    let match_labels = Labels::try_from(labels).context("--selector")?;
    let selector = LabelSelector { match_labels, match_expressions: Vec::new() };
    let labels = (!args.selector.is_empty()).then_some(selector);
    Ok(Some(TargetSelector { labels, names: args.agents.clone() }))
}

/// A new stack needs to be told for whom it is, unless there is one agent only: nobody delivers to a whole fleet by accident.
async fn only_agent(client: &Client, stack: &Name) -> anyhow::Result<TargetSelector> {
    let agents = match client.list_agents(&AgentsQuery { limit: Some(2), ..AgentsQuery::default() }).await {
        Ok(page) => page.items,
        Err(ClientError::Problem(problem)) if problem.code == ErrorCode::Forbidden => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    match &agents[..] {
        [agent] => {
            output::note(&format!("stack {stack} is new and for agent {}, the only one there is", agent.name));
            Ok(TargetSelector { labels: None, names: vec![agent.name.clone()] })
        }
        _ => bail!("stack {stack} is new: say for whom it is with --agent NAME, --selector KEY=VALUE or --all-agents"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gains_and_loses_is_said_with_names_and_what_is_too_much_is_counted() {
        let names = |range: std::ops::Range<u64>| range.map(|index| format!("a{index}").parse().unwrap()).collect();
        let preview = TargetsPreview {
            gains: Vec::new(),
            gained: 0,
            loses: names(0..12),
            lost: 12,
            kept: 3,
            needs_token: true,
            token: String::new(),
        };
        assert_eq!(
            consequence(&preview),
            "nobody gains it, 12 lose it (a0, a1, a2, a3, a4, a5, a6, a7, a8, a9 and 2 more), 3 keep it"
        );
    }
}
