//! `brokkr approve`.

use anyhow::bail;
use brokkr_api::{
    ErrorCode, Name,
    client::Client,
    policy::Approve,
    reports::ObjectOutcome,
    rollouts::{Deployment, DeploymentsQuery},
};
use clap::Args;

use super::{Outcome, confirm::confirm, get::all};
use crate::{
    connection::ConnectionArgs,
    output::{self, Format},
};

/// Approve deletions that agents hold back.
#[derive(Debug, Args)]
pub(crate) struct ApproveArgs {
    /// The stack
    stack: Name,
    /// Only what this agent holds
    #[arg(short, long, value_name = "NAME")]
    agent: Option<Name>,
    /// Exactly this plan, and do not ask: sha256:…
    #[arg(long, value_name = "PLAN")]
    plan: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

pub(crate) async fn run(connection: &ConnectionArgs, format: Format, args: ApproveArgs) -> anyhow::Result<Outcome> {
    let client = connection.client()?;
    let waiting = waiting(&client, &args).await?;
    if waiting.is_empty() {
        if let Some(plan) = &args.plan {
            bail!("nobody holds plan {plan} of stack {}: brokkr rollout status {} says what is held", args.stack, args.stack);
        }
        return none(format, &args);
    }
    if format == Format::Table {
        show(&waiting);
    }
    let objects: u64 = waiting.iter().filter_map(|deployment| deployment.held.as_ref()).map(|held| held.objects).sum();
    let question = format!("Delete {objects} objects of stack {} on {} agents?", args.stack, waiting.len());
    // Who names the plan has seen it.
    confirm(&question, args.yes || args.plan.is_some())?;
    let changing = connection.changing_client()?;
    let mut approved = Vec::with_capacity(waiting.len());
    let mut outdated = Vec::new();
    for deployment in &waiting {
        let Some(held) = &deployment.held else { continue };
        let request = Approve { agent: deployment.agent.clone(), revision: deployment.revision, plan: held.plan.clone() };
        match changing.approve(&args.stack, &request).await {
            Ok(deployment) => {
                if format == Format::Table {
                    anstream::println!("agent {} deletes {} objects of stack {}", deployment.agent, held.objects, args.stack);
                }
                approved.push(deployment);
            }
            // What one agent holds now is another plan: that is no reason to leave the others waiting.
            Err(error) if error.code() == Some(ErrorCode::ApprovalOutdated) => outdated.push(deployment.agent.to_string()),
            Err(error) => return Err(error.into()),
        }
    }
    if format == Format::Json {
        output::json(&approved)?;
    }
    if !outdated.is_empty() {
        bail!("{} hold something else now: look again and decide again", outdated.join(", "));
    }
    Ok(Outcome::Done)
}

/// The deployments that wait, object by object.
async fn waiting(client: &Client, args: &ApproveArgs) -> anyhow::Result<Vec<Deployment>> {
    if let Some(agent) = &args.agent {
        return Ok(Some(client.deployment(&args.stack, agent).await?)
            .into_iter()
            .filter(|one| is_asked_for(one, args))
            .collect());
    }
    let listed = all(async |page| {
        let query = DeploymentsQuery { limit: page.limit, cursor: page.cursor, phase: None };
        client.deployments_of_stack(&args.stack, &query).await
    })
    .await?;
    let mut waiting = Vec::new();
    for deployment in listed.iter().filter(|deployment| is_asked_for(deployment, args)) {
        // Lists have no objects; what is approved is what is shown here.
        waiting.push(client.deployment(&args.stack, &deployment.agent).await?);
    }
    waiting.retain(|deployment| is_asked_for(deployment, args));
    Ok(waiting)
}

fn is_asked_for(deployment: &Deployment, args: &ApproveArgs) -> bool {
    let held = deployment.held.as_ref().filter(|_| !deployment.approved);
    held.is_some_and(|held| args.plan.as_ref().is_none_or(|plan| *plan == held.plan))
}

fn none(format: Format, args: &ApproveArgs) -> anyhow::Result<Outcome> {
    if format == Format::Json {
        output::json(&Vec::<Deployment>::new())?;
    } else {
        anstream::println!("nothing of stack {} waits for an approval", args.stack);
    }
    Ok(Outcome::Done)
}

fn show(waiting: &[Deployment]) {
    for deployment in waiting {
        let Some(held) = &deployment.held else { continue };
        anstream::println!(
            "agent {} in cluster {} holds {} deletions, plan {}",
            deployment.agent,
            deployment.cluster,
            held.objects,
            held.plan
        );
        let held = deployment.objects.iter().filter(|report| report.outcome == ObjectOutcome::Held);
        let rows = held.map(|report| {
            vec![
                format!("  {}", report.object),
                report.reason.clone().unwrap_or_default(),
                report.message.clone().unwrap_or_default(),
            ]
        });
        output::table(&["  object", "held because", "message"], rows.collect(), "  the agent has not named the objects");
        anstream::println!();
    }
}
