//! `brokkr describe`: one thing as a page for people.

use brokkr_api::{
    Name,
    client::Client,
    rollouts::{Deployment, DeploymentsQuery},
};
use clap::Subcommand;

use super::{Outcome, policy};
use crate::{
    connection::ConnectionArgs,
    output::{self, Format},
};

/// Look at one thing closely.
#[derive(Debug, Subcommand)]
pub(crate) enum Describe {
    /// A stack: for whom it is, what holds it, what each agent waits for
    Stack {
        /// The stack
        name: Name,
    },
    /// An agent: whether it is there, what it is, what it has to do
    Agent {
        /// The agent
        name: Name,
    },
    /// A stack on one agent, object by object
    Deployment {
        /// The stack
        stack: Name,
        /// The agent
        agent: Name,
    },
}

pub(crate) async fn run(connection: &ConnectionArgs, format: Format, describe: Describe) -> anyhow::Result<Outcome> {
    let client = connection.client()?;
    match describe {
        Describe::Stack { name } => stack(&client, format, &name).await?,
        Describe::Agent { name } => agent(&client, format, &name).await?,
        Describe::Deployment { stack, agent } => deployment(&client, format, &stack, &agent).await?,
    }
    Ok(Outcome::Done)
}

async fn stack(client: &Client, format: Format, name: &Name) -> anyhow::Result<()> {
    let tagged = client.tagged_stack(name).await?;
    let stack = &tagged.value;
    if format == Format::Json {
        return output::json(stack);
    }
    let rollout = client.rollout(name, None).await?;
    let phases: Vec<_> = rollout.phases.iter().map(|(phase, count)| format!("{count} {}", output::phase(*phase))).collect();
    let mut lines = vec![
        ("stack", stack.name.to_string()),
        ("id", stack.id.to_string()),
        ("labels", output::labels(&stack.labels)),
        ("targets", output::targets(&stack.targets)),
        ("policy", policy::in_words(&stack.policy)),
        ("generation", stack.generation.to_string()),
        ("suspended", stack.suspended.as_ref().map_or_else(|| "no".to_owned(), output::suspension)),
        ("agents", format!("{} of {} finished: {}", rollout.finished, rollout.total, phases.join(", "))),
        ("changed", stack.updated_at.to_string()),
        ("tag", tagged.tag.unwrap_or_default()),
    ];
    if let Some(since) = stack.deleting_since {
        lines.push(("deleting since", since.to_string()));
    }
    if let Some(slowest) = &rollout.slowest {
        lines.push(("slowest", output::slowest(slowest)));
    }
    if let Some(trace) = &rollout.trace_id {
        lines.push(("trace", trace.clone()));
    }
    let held: Vec<_> = rollout.deployments.iter().filter(|deployment| deployment.held.is_some()).collect();
    if let Some(first) = held.first() {
        lines.push(("held", format!("{}; on {} agents", output::held(first), held.len())));
    }
    let drifted = rollout.deployments.iter().filter_map(|one| one.last_drift_at.map(|at| (at, one))).max_by_key(|(at, _)| *at);
    if let Some((_, deployment)) = drifted {
        lines.push(("last drift", format!("{} on {}", output::drift(deployment), deployment.agent)));
    }
    output::page(&lines);
    show(&rollout.deployments, |deployment| deployment.agent.to_string(), "agent");
    Ok(())
}

async fn agent(client: &Client, format: Format, name: &Name) -> anyhow::Result<()> {
    let agent = client.agent(name).await?;
    if format == Format::Json {
        return output::json(&agent);
    }
    let now = output::now();
    let state = match (agent.online, agent.last_seen_at) {
        (true, _) => "online".to_owned(),
        (false, None) => "never connected".to_owned(),
        (false, seen) => format!("offline, last seen {} ago", output::ago(seen, now)),
    };
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "not known yet".to_owned());
    let mut lines = vec![
        ("agent", agent.name.to_string()),
        ("id", agent.id.to_string()),
        ("cluster", agent.cluster.to_string()),
        ("cluster uid", text(&agent.cluster_uid)),
        ("labels", output::labels(&agent.labels)),
        ("state", state),
        ("suspended", agent.suspended.as_ref().map_or_else(|| "no".to_owned(), output::suspension)),
        ("version", text(&agent.version)),
        ("kubernetes", text(&agent.kubernetes_version)),
        ("capabilities", agent.capabilities.join(", ")),
    ];
    if let Some(since) = agent.deactivated_at {
        lines.push(("deactivated since", since.to_string()));
    }
    if agent.key_rotation_wanted {
        lines.push(("key", "asked to take a new one".to_owned()));
    }
    output::page(&lines);
    let query = DeploymentsQuery { limit: Some(100), ..DeploymentsQuery::default() };
    let deployments = client.deployments_of_agent(name, &query).await?;
    show(&deployments.items, |deployment| deployment.stack.to_string(), "stack");
    if deployments.next_cursor.is_some() {
        output::note(&format!("these are the first 100: brokkr get deployments --agent {name} has them all"));
    }
    Ok(())
}

fn show(deployments: &[Deployment], name: impl Fn(&Deployment) -> String, column: &str) {
    anstream::println!();
    let rows = deployments.iter().map(|deployment| {
        let generation = format!("{}/{}", deployment.observed_generation, deployment.generation);
        vec![name(deployment), output::phase(deployment.phase), generation, output::detail(deployment)]
    });
    output::table(&[column, "phase", "generation", "detail"], rows.collect(), "no deployments");
}

async fn deployment(client: &Client, format: Format, stack: &Name, agent: &Name) -> anyhow::Result<()> {
    let deployment = client.deployment(stack, agent).await?;
    if format == Format::Json {
        return output::json(&deployment);
    }
    let time = |at: Option<brokkr_api::Timestamp>| at.map_or_else(|| "not yet".to_owned(), |at| at.to_string());
    let mut lines = vec![
        ("stack", deployment.stack.to_string()),
        ("agent", format!("{} in cluster {}", deployment.agent, deployment.cluster)),
        ("phase", output::phase(deployment.phase)),
        ("order", format!("{} generation {}", deployment.action.as_str(), deployment.generation)),
        ("has", format!("generation {}", deployment.observed_generation)),
        ("suspended", deployment.suspended.as_ref().map_or_else(|| "no".to_owned(), output::suspension)),
        ("attempts", deployment.attempts.to_string()),
        ("ordered", deployment.desired_at.to_string()),
        ("picked up", time(deployment.picked_up_at)),
        ("reported", time(deployment.reported_at)),
        ("finished", time(deployment.finished_at)),
    ];
    if let Some(waiting) = &deployment.waiting_for {
        lines.push(("waiting for", waiting.clone()));
    }
    if deployment.held.is_some() {
        lines.push(("held", output::held(&deployment)));
    }
    if deployment.last_drift_at.is_some() {
        lines.push(("last drift", output::drift(&deployment)));
    }
    if let Some(health) = &deployment.health {
        lines.push(("health", output::health(health)));
    }
    if let Some(error) = &deployment.error {
        lines.push(("error", output::failure(error)));
    }
    if let Some(trace) = &deployment.trace_id {
        lines.push(("trace", trace.clone()));
    }
    output::page(&lines);
    anstream::println!();
    let rows = deployment.objects.iter().map(|report| {
        let outcome = serde_json::to_value(report.outcome).ok();
        vec![
            report.object.to_string(),
            outcome.as_ref().and_then(|outcome| outcome.as_str()).unwrap_or_default().to_owned(),
            report.reason.clone().unwrap_or_default(),
            report.message.clone().unwrap_or_default(),
        ]
    });
    output::table(&["object", "outcome", "reason", "message"], rows.collect(), "the agent has not reported on objects yet");
    Ok(())
}
