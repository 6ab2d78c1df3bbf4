//! `brokkr get agents`.

use brokkr_api::{
    agents::{Agent, AgentsQuery},
    client::Client,
};
use clap::Args;

use super::all;
use crate::output::{self, Format};

/// Which agents.
#[derive(Debug, Args)]
pub(crate) struct AgentsArgs {
    /// Only agents with this label
    #[arg(short = 'l', long, value_name = "KEY=VALUE")]
    label: Option<String>,
}

pub(super) async fn run(client: &Client, format: Format, args: &AgentsArgs) -> anyhow::Result<()> {
    let label = &args.label;
    let agents = all(async |page| {
        let query = AgentsQuery { limit: page.limit, cursor: page.cursor, label: label.clone(), online: None };
        client.list_agents(&query).await
    })
    .await?;
    if format == Format::Json {
        return output::json(&agents);
    }
    let now = output::now();
    let rows = agents.iter().map(|agent| {
        vec![
            agent.name.to_string(),
            agent.cluster.to_string(),
            state(agent),
            output::ago(agent.last_seen_at, now),
            agent.version.clone().unwrap_or_default(),
            agent.kubernetes_version.clone().unwrap_or_default(),
            output::labels(&agent.labels),
        ]
    });
    let head = ["name", "cluster", "state", "seen", "version", "kubernetes", "labels"];
    output::table(&head, rows.collect(), "no agents yet");
    Ok(())
}

fn state(agent: &Agent) -> String {
    let online = if agent.online { "online" } else { "offline" };
    match agent {
        agent if agent.deactivated_at.is_some() => "deactivated".to_owned(),
        agent if agent.suspended.is_some() => format!("{online},suspended"),
        _ => online.to_owned(),
    }
}
