//! `brokkr agent`: what is done to one agent.

use brokkr_api::{Labels, Name, agents::UpdateAgent};
use clap::Subcommand;

use super::{Outcome, confirm::confirm};
use crate::{
    connection::ConnectionArgs,
    output::{self, Format},
};

/// Change an agent.
#[derive(Debug, Subcommand)]
pub(crate) enum Agents {
    /// Close the broker to it: its keys open nothing until it is activated; its cluster stays as it is
    Deactivate {
        /// The agent
        name: Name,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Open the broker to it again
    Activate {
        /// The agent
        name: Name,
    },
    /// Say that it is gone for ever: its deployments are orphaned, its keys revoked, its name is free
    Abandon {
        /// The agent
        name: Name,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Ask it to take a new key
    RotateKey {
        /// The agent
        name: Name,
    },
    /// Set and remove labels, which stacks select by
    Label {
        /// The agent
        name: Name,
        /// KEY=VALUE sets a label, KEY- removes it
        #[arg(required = true, value_name = "KEY=VALUE|KEY-")]
        changes: Vec<String>,
    },
}

pub(crate) async fn run(connection: &ConnectionArgs, format: Format, agents: Agents) -> anyhow::Result<Outcome> {
    let client = connection.changing_client()?;
    let (agent, said) = match agents {
        Agents::Deactivate { name, yes } => {
            confirm(&format!("Deactivate agent {name}? It gets nothing new and reports nothing."), yes)?;
            (client.deactivate_agent(&name).await?, "is deactivated".to_owned())
        }
        Agents::Activate { name } => (client.activate_agent(&name).await?, "is active".to_owned()),
        Agents::Abandon { name, yes } => {
            confirm(&format!("Abandon agent {name} for ever? What is in its cluster stays there."), yes)?;
            let abandoned = client.abandon_agent(&name).await?;
            match format {
                Format::Json => output::json(&abandoned)?,
                Format::Table => anstream::println!("agent {name} is abandoned, {} deployments are orphaned", abandoned.orphaned),
            }
            return Ok(Outcome::Done);
        }
        Agents::RotateKey { name } => (client.rotate_agent_key(&name).await?, "is asked to take a new key".to_owned()),
        Agents::Label { name, changes } => {
            let labels = changed(&client.agent(&name).await?.labels, &changes)?;
            let agent = client.update_agent(&name, &UpdateAgent { labels: Some(labels) }).await?;
            let said = format!("has the labels {}", output::labels(&agent.labels));
            (agent, said)
        }
    };
    match format {
        Format::Json => output::json(&agent)?,
        Format::Table => anstream::println!("agent {} {said}", agent.name),
    }
    Ok(Outcome::Done)
}

fn changed(labels: &Labels, changes: &[String]) -> anyhow::Result<Labels> {
    let mut map: std::collections::BTreeMap<String, String> =
        labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    for change in changes {
        match (change.split_once('='), change.strip_suffix('-')) {
            (Some((key, value)), _) => drop(map.insert(key.to_owned(), value.to_owned())),
            (None, Some(key)) => drop(map.remove(key)),
            (None, None) => anyhow::bail!("{change:?}: write KEY=VALUE to set a label and KEY- to remove it"),
        }
    }
    Ok(Labels::try_from(map)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_set_replaced_and_removed() {
        let change = |before: &Labels, changes: &[&str]| {
            let changes: Vec<_> = changes.iter().map(|&text| text.to_owned()).collect();
            changed(before, &changes)
        };
        let labels = change(&Labels::default(), &["zone=a", "tier=web"]).unwrap();
        let labels = change(&labels, &["zone=b", "tier-"]).unwrap();
        assert_eq!(output::labels(&labels), "zone=b");
        assert!(change(&labels, &["zone"]).unwrap_err().to_string().contains("KEY="));
    }
}
