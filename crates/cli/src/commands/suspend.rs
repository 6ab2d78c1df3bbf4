//! `brokkr suspend` and `brokkr resume`.

use brokkr_api::{
    Name,
    client::Client,
    suspension::{Suspend, Suspension},
};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::{Outcome, confirm::confirm};
use crate::{
    connection::ConnectionArgs,
    output::{self, Format},
};

/// Hold a stack, an agent or the whole fleet back.
#[derive(Debug, Args)]
pub(crate) struct SuspendArgs {
    #[command(subcommand)]
    what: What,
    /// Why, for everybody who waits
    #[arg(long, global = true, default_value = "suspended by hand", value_name = "TEXT")]
    reason: String,
    /// Do not ask
    #[arg(short, long, global = true)]
    yes: bool,
}

/// End a suspension.
#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    #[command(subcommand)]
    what: What,
}

/// What is held back.
#[derive(Debug, Subcommand)]
enum What {
    /// One stack, on all its agents
    Stack {
        /// The stack
        name: Name,
    },
    /// Everything of one agent
    Agent {
        /// The agent
        name: Name,
    },
    /// Everything everywhere
    Fleet,
}

pub(crate) async fn suspend(connection: &ConnectionArgs, format: Format, args: SuspendArgs) -> anyhow::Result<Outcome> {
    let client = connection.changing_client()?;
    let request = Suspend { reason: args.reason };
    match &args.what {
        What::Stack { name } => {
            let stack = client.suspend_stack(name, &request).await?;
            told(format, &stack, &format!("stack {name}"), stack.suspended.as_ref())
        }
        What::Agent { name } => {
            let agent = client.suspend_agent(name, &request).await?;
            told(format, &agent, &format!("agent {name}"), agent.suspended.as_ref())
        }
        What::Fleet => {
            confirm(&question(&client).await?, args.yes)?;
            let fleet = client.suspend_fleet(&request).await?;
            told(format, &fleet, "the fleet", fleet.suspended.as_ref())
        }
    }
}

async fn question(client: &Client) -> anyhow::Result<String> {
    let fleet = client.fleet().await?;
    Ok(format!("Suspend all {} stacks on all {} agents?", fleet.stacks, fleet.agents))
}

pub(crate) async fn resume(connection: &ConnectionArgs, format: Format, args: ResumeArgs) -> anyhow::Result<Outcome> {
    let client = connection.changing_client()?;
    match &args.what {
        What::Stack { name } => {
            let stack = client.resume_stack(name).await?;
            told(format, &stack, &format!("stack {name}"), stack.suspended.as_ref())
        }
        What::Agent { name } => {
            let agent = client.resume_agent(name).await?;
            told(format, &agent, &format!("agent {name}"), agent.suspended.as_ref())
        }
        What::Fleet => {
            let fleet = client.resume_fleet().await?;
            told(format, &fleet, "the fleet", fleet.suspended.as_ref())
        }
    }
}

/// Says how it stands now: who resumes a stack of a suspended fleet reads that it is still held.
fn told<T: Serialize>(format: Format, value: &T, name: &str, suspended: Option<&Suspension>) -> anyhow::Result<Outcome> {
    if format == Format::Json {
        output::json(value)?;
        return Ok(Outcome::Done);
    }
    match suspended {
        Some(suspension) => anstream::println!("{name} is suspended: {}", output::suspension(suspension)),
        None => anstream::println!("{name} is not suspended"),
    }
    Ok(Outcome::Done)
}
