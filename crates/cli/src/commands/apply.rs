//! `brokkr apply`.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use brokkr_api::{
    ErrorCode, LabelSelector, Labels, Name, TargetSelector,
    agents::AgentsQuery,
    client::{Client, ClientError},
    stacks::PutStack,
};
use clap::Args;

use super::{Outcome, manifests, rollout};
use crate::{
    connection::ConnectionArgs,
    output::{self, Format},
};

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
    /// Wait until the rollout is done or has failed
    #[arg(short, long)]
    wait: bool,
    /// Longest time to wait
    #[arg(long, default_value = "5m", value_parser = humantime::parse_duration, value_name = "TIME")]
    timeout: Duration,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

pub(crate) async fn run(connection: &ConnectionArgs, format: Format, args: ApplyArgs) -> anyhow::Result<Outcome> {
    let (client, changing) = (connection.client()?, connection.changing_client()?);
    let manifests = manifests::read(&args.files)?;
    ensure_stack(&client, &changing, &args).await?;
    let accepted = changing.put_deployment_objects(&args.stack, "application/yaml", manifests).await?;
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

/// Creates the stack, or changes its targets when the arguments name any.
async fn ensure_stack(client: &Client, changing: &Client, args: &ApplyArgs) -> anyhow::Result<()> {
    let named = targets(args)?;
    let (labels, targets) = match client.stack(&args.stack).await {
        Ok(stack) => match named {
            Some(targets) => (stack.labels, targets),
            None => return Ok(()),
        },
        Err(error) if error.code() == Some(ErrorCode::NotFound) => match named {
            Some(targets) => (Labels::default(), targets),
            None => (Labels::default(), only_agent(client, &args.stack).await?),
        },
        Err(error) => return Err(error.into()),
    };
    changing.put_stack(&args.stack, &PutStack { labels, targets, preview_token: None }).await?;
    Ok(())
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
