//! `brokkr get deployments`.

use brokkr_api::{
    Name,
    client::Client,
    rollouts::{Deployment, DeploymentsQuery, Phase},
};
use clap::Args;

use super::all;
use crate::output::{self, Format};

/// Which deployments.
#[derive(Debug, Args)]
pub(crate) struct DeploymentsArgs {
    /// Of this stack
    #[arg(short, long, required_unless_present = "agent", conflicts_with = "agent")]
    stack: Option<Name>,
    /// Of this agent
    #[arg(short, long)]
    agent: Option<Name>,
    /// Only those in this phase
    #[arg(short, long, value_parser = phase)]
    phase: Option<Phase>,
}

fn phase(text: &str) -> Result<Phase, String> {
    let known = || Phase::ALL.map(Phase::as_str).join(", ");
    Phase::parse(text).ok_or_else(|| format!("the phases are {}", known()))
}

pub(super) async fn run(client: &Client, format: Format, args: &DeploymentsArgs) -> anyhow::Result<()> {
    let deployments = all(async |page| {
        let query = DeploymentsQuery { limit: page.limit, cursor: page.cursor, phase: args.phase };
        match (&args.stack, &args.agent) {
            (Some(stack), _) => client.deployments_of_stack(stack, &query).await,
            (None, Some(agent)) => client.deployments_of_agent(agent, &query).await,
            // The arguments allow no other case.
            (None, None) => Ok(brokkr_api::Page { items: Vec::new(), next_cursor: None }),
        }
    })
    .await?;
    if format == Format::Json {
        return output::json(&deployments);
    }
    let rows = deployments.iter().map(|deployment| {
        vec![
            deployment.stack.to_string(),
            deployment.agent.to_string(),
            output::phase(deployment.phase),
            format!("{}/{}", deployment.observed_generation, deployment.generation),
            took(deployment),
            output::detail(deployment),
        ]
    });
    output::table(&["stack", "agent", "phase", "generation", "took", "detail"], rows.collect(), "no deployments");
    Ok(())
}

fn took(deployment: &Deployment) -> String {
    let took = |at: brokkr_api::Timestamp| format!("{} ms", at.since(deployment.desired_at).as_millis());
    deployment.finished_at.map(took).unwrap_or_default()
}
