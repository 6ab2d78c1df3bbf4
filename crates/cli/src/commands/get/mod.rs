//! `brokkr get`: lists.

mod agents;
mod audit;
mod deployments;
mod events;
mod fleet;
mod identities;
mod stacks;

use brokkr_api::{Page, client::ClientError, page::PageQuery};
use clap::Subcommand;

use super::Outcome;
use crate::{connection::ConnectionArgs, output::Format};

/// List what there is.
#[derive(Debug, Subcommand)]
pub(crate) enum Get {
    /// Stacks
    #[command(alias = "stack")]
    Stacks(stacks::StacksArgs),
    /// Agents
    #[command(alias = "agent")]
    Agents(agents::AgentsArgs),
    /// Where a stack stands on its agents, or an agent with its stacks
    #[command(alias = "deployment")]
    Deployments(deployments::DeploymentsArgs),
    /// What happened, the oldest first
    #[command(alias = "event")]
    Events(events::EventsArgs),
    /// Who did what, the newest first
    Audit(audit::AuditArgs),
    /// The fleet as a whole
    Fleet,
    /// Keys
    #[command(alias = "key")]
    Keys,
    /// Generators
    #[command(alias = "generator")]
    Generators,
    /// Registration tokens
    #[command(alias = "token")]
    Tokens,
}

pub(crate) async fn run(connection: &ConnectionArgs, format: Format, get: Get) -> anyhow::Result<Outcome> {
    let client = connection.client()?;
    match get {
        Get::Stacks(args) => stacks::run(&client, format, &args).await?,
        Get::Agents(args) => agents::run(&client, format, &args).await?,
        Get::Deployments(args) => deployments::run(&client, format, &args).await?,
        Get::Events(args) => events::run(&client, format, args).await?,
        Get::Audit(args) => audit::run(&client, format, args).await?,
        Get::Fleet => fleet::run(&client, format).await?,
        Get::Keys => identities::keys(&client, format).await?,
        Get::Generators => identities::generators(&client, format).await?,
        Get::Tokens => identities::tokens(&client, format).await?,
    }
    Ok(Outcome::Done)
}

/// Every page.
pub(crate) async fn all<T>(read: impl AsyncFn(PageQuery) -> Result<Page<T>, ClientError>) -> Result<Vec<T>, ClientError> {
    let mut items = Vec::new();
    let mut cursor = None;
    loop {
        let page = read(PageQuery { limit: Some(500), cursor }).await?;
        items.extend(page.items);
        match page.next_cursor {
            Some(next) => cursor = Some(next),
            None => return Ok(items),
        }
    }
}
