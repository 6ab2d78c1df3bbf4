//! `brokkr get`.

use brokkr_api::{
    Page, agents::AgentsQuery, client::ClientError, page::PageQuery, selector::TargetSelector, stacks::StacksQuery,
};
use clap::Subcommand;

use super::Outcome;
use crate::{
    connection::ConnectionArgs,
    output::{self, Format},
};

/// List stacks or agents.
#[derive(Debug, Subcommand)]
pub(crate) enum Get {
    /// Stacks
    #[command(alias = "stack")]
    Stacks,
    /// Agents
    #[command(alias = "agent")]
    Agents,
}

pub(crate) async fn run(connection: &ConnectionArgs, format: Format, get: Get) -> anyhow::Result<Outcome> {
    let client = connection.client()?;
    match get {
        Get::Stacks => {
            let stacks = all(async |page| {
                client.list_stacks(&StacksQuery { limit: page.limit, cursor: page.cursor, ..StacksQuery::default() }).await
            })
            .await?;
            if format == Format::Json {
                output::json(&stacks)?;
            } else {
                let now = output::now();
                let rows = stacks.iter().map(|stack| {
                    let state = if stack.deleting_since.is_some() { "deleting" } else { "active" };
                    vec![
                        stack.name.to_string(),
                        stack.generation.to_string(),
                        stack.agents.to_string(),
                        targets(&stack.targets),
                        state.to_owned(),
                        output::ago(Some(stack.updated_at), now),
                    ]
                });
                let nothing = "no stacks yet: brokkr apply -f FILE --stack NAME makes one";
                output::table(&["name", "generation", "agents", "targets", "state", "changed"], rows.collect(), nothing);
            }
        }
        Get::Agents => {
            let agents = all(async |page| {
                client.list_agents(&AgentsQuery { limit: page.limit, cursor: page.cursor, ..AgentsQuery::default() }).await
            })
            .await?;
            if format == Format::Json {
                output::json(&agents)?;
            } else {
                let now = output::now();
                let rows = agents.iter().map(|agent| {
                    let labels: Vec<_> = agent.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
                    vec![
                        agent.name.to_string(),
                        agent.cluster.to_string(),
                        if agent.online { "online" } else { "offline" }.to_owned(),
                        output::ago(agent.last_seen_at, now),
                        agent.version.clone().unwrap_or_default(),
                        agent.kubernetes_version.clone().unwrap_or_default(),
                        labels.join(","),
                    ]
                });
                let head = ["name", "cluster", "state", "seen", "version", "kubernetes", "labels"];
                output::table(&head, rows.collect(), "no agents yet");
            }
        }
    }
    Ok(Outcome::Done)
}

fn targets(selector: &TargetSelector) -> String {
    let mut parts: Vec<String> = selector.names.iter().map(ToString::to_string).collect();
    if let Some(labels) = &selector.labels {
        let equal: Vec<_> = labels.match_labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let everyone = equal.is_empty() && labels.match_expressions.is_empty();
        parts.push(if everyone { "(all)".to_owned() } else { equal.join(",") });
    }
    parts.join(" ")
}

/// Every page.
async fn all<T>(read: impl AsyncFn(PageQuery) -> Result<Page<T>, ClientError>) -> Result<Vec<T>, ClientError> {
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
