//! `brokkr get stacks`.

use brokkr_api::{
    client::Client,
    stacks::{Stack, StacksQuery},
};
use clap::Args;

use super::all;
use crate::output::{self, Format};

/// Which stacks.
#[derive(Debug, Args)]
pub(crate) struct StacksArgs {
    /// Only stacks with this label
    #[arg(short = 'l', long, value_name = "KEY=VALUE")]
    label: Option<String>,
}

pub(super) async fn run(client: &Client, format: Format, args: &StacksArgs) -> anyhow::Result<()> {
    let label = &args.label;
    let stacks = all(async |page| {
        let query = StacksQuery { limit: page.limit, cursor: page.cursor, label: label.clone(), generator: None };
        client.list_stacks(&query).await
    })
    .await?;
    if format == Format::Json {
        return output::json(&stacks);
    }
    let now = output::now();
    let rows = stacks.iter().map(|stack| {
        vec![
            stack.name.to_string(),
            stack.generation.to_string(),
            stack.agents.to_string(),
            output::targets(&stack.targets),
            state(stack).to_owned(),
            output::ago(Some(stack.updated_at), now),
        ]
    });
    let nothing = "no stacks yet: brokkr apply -f FILE --stack NAME makes one";
    output::table(&["name", "generation", "agents", "targets", "state", "changed"], rows.collect(), nothing);
    Ok(())
}

fn state(stack: &Stack) -> &'static str {
    match stack {
        stack if stack.suspended.is_some() => "suspended",
        stack if stack.deleting_since.is_some() => "deleting",
        _ => "active",
    }
}
