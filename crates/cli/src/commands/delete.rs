//! `brokkr delete`.

use std::time::Duration;

use brokkr_api::Name;
use clap::Subcommand;

use super::{Outcome, rollout};
use crate::{
    connection::ConnectionArgs,
    output::{self, Format},
};

/// Delete a stack and everything that it delivered.
#[derive(Debug, Subcommand)]
pub(crate) enum Delete {
    /// A stack: its objects are deleted from every cluster, its namespaces and CRDs too
    Stack {
        /// The stack
        name: Name,
        /// Wait until every agent has acknowledged
        #[arg(short, long)]
        wait: bool,
        /// Longest time to wait
        #[arg(long, default_value = "5m", value_parser = humantime::parse_duration, value_name = "TIME")]
        timeout: Duration,
    },
}

pub(crate) async fn run(connection: &ConnectionArgs, format: Format, delete: Delete) -> anyhow::Result<Outcome> {
    let Delete::Stack { name, wait, timeout } = delete;
    let client = connection.client()?;
    let stack = connection.changing_client()?.delete_stack(&name).await?;
    if format == Format::Json {
        output::json(&stack)?;
    } else {
        anstream::println!("stack {name} is being deleted from {} agents", stack.agents);
    }
    if wait {
        return rollout::follow(&client, Format::Table, &name, timeout).await;
    }
    Ok(Outcome::Done)
}
