//! `brokkr create`: identities. A secret is shown once, on the standard output and nowhere else.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context;
use brokkr_api::{
    Labels, Name,
    agents::CreateAgent,
    enrolment::CreateRegistrationToken,
    generators::{CreateGenerator, Quota},
    keys::{CreateKey, Permission, Role},
};
use clap::Subcommand;
use serde::{Serialize, de::DeserializeOwned};

use super::{Outcome, pair};
use crate::{
    connection::ConnectionArgs,
    output::{self, Format},
};

/// Make an identity.
#[derive(Debug, Subcommand)]
pub(crate) enum Create {
    /// A registration token: agents get their keys for it, with these labels
    Token {
        /// What it is for
        name: Name,
        /// Label of the agents that enrol with it; may be repeated
        #[arg(short = 'l', long = "label", value_name = "KEY=VALUE", value_parser = pair)]
        labels: Vec<(String, String)>,
        /// How many agents may enrol with it
        #[arg(long, default_value_t = 1, value_name = "COUNT")]
        uses: u32,
        /// How long it is valid
        #[arg(long, default_value = "1h", value_parser = humantime::parse_duration, value_name = "TIME")]
        expires_in: Duration,
    },
    /// A key of a person or a pipeline
    Key {
        /// What it is for
        name: Name,
        /// What its bearer may do: admin, operator, viewer, generator or agent
        #[arg(long, value_parser = word::<Role>)]
        role: Role,
        /// The generator that it speaks for
        #[arg(long, value_name = "NAME")]
        generator: Option<Name>,
        /// The agent that it speaks for
        #[arg(long, value_name = "NAME")]
        agent: Option<Name>,
        /// Only this of what the role may, `stacks:read`; may be repeated
        #[arg(long = "scope", value_name = "PERMISSION", value_parser = word::<Permission>)]
        scopes: Vec<Permission>,
        /// How long it is valid; for ever when absent
        #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME")]
        expires_in: Option<Duration>,
    },
    /// A generator: an identity of a pipeline or a team, with stacks of its own
    Generator {
        /// Its name
        name: Name,
        /// Most stacks that it owns
        #[arg(long, value_name = "COUNT")]
        max_stacks: Option<u32>,
        /// Most bytes of content in all kept generations
        #[arg(long, value_name = "BYTES")]
        max_bytes: Option<u64>,
        /// Most requests in a minute
        #[arg(long, value_name = "COUNT")]
        requests_per_minute: Option<u32>,
    },
    /// An agent, with its first key
    Agent {
        /// Its name
        name: Name,
        /// The name of its cluster [default: its own name]
        #[arg(long, value_name = "NAME")]
        cluster: Option<Name>,
        /// A label; may be repeated
        #[arg(short = 'l', long = "label", value_name = "KEY=VALUE", value_parser = pair)]
        labels: Vec<(String, String)>,
    },
}

/// A word of a closed set, as the API writes it; the error names them all.
fn word<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).map_err(|error| error.to_string())
}

fn labels(pairs: Vec<(String, String)>) -> anyhow::Result<Labels> {
    Labels::try_from(pairs.into_iter().collect::<BTreeMap<_, _>>()).context("--label")
}

pub(crate) async fn run(connection: &ConnectionArgs, format: Format, create: Create) -> anyhow::Result<Outcome> {
    let client = connection.changing_client()?;
    match create {
        Create::Token { name, labels: pairs, uses, expires_in } => {
            let seconds = u32::try_from(expires_in.as_secs()).context("--expires-in")?;
            let request =
                CreateRegistrationToken { name, labels: labels(pairs)?, max_uses: Some(uses), expires_in_seconds: Some(seconds) };
            let created = client.create_registration_token(&request).await?;
            let (token, uses) = (&created.token, created.token.max_uses);
            let what = format!("registration token {} ({}), for {uses} agents until {}", token.name, token.id, token.expires_at);
            show(format, &created, &what, Some(&created.secret))
        }
        Create::Key { name, role, generator, agent, scopes, expires_in } => {
            let request =
                CreateKey { name, role, generator, agent, scopes, expires_at: expires_in.map(|time| output::now().after(time)) };
            let created = client.create_key(&request).await?;
            let what = format!("key {} ({}) of role {}", created.key.name, created.key.id, created.key.role.as_str());
            show(format, &created, &what, Some(&created.secret))
        }
        Create::Generator { name, max_stacks, max_bytes, requests_per_minute } => {
            let request = CreateGenerator { name, quota: Quota { max_stacks, max_bytes, requests_per_minute } };
            let created = client.create_generator(&request).await?;
            let what = format!(
                "generator {0} ({1}); give it a key: brokkr create key NAME --role generator --generator {0}",
                created.name, created.id
            );
            show(format, &created, &what, None)
        }
        Create::Agent { name, cluster, labels: pairs } => {
            let cluster = cluster.unwrap_or_else(|| name.clone());
            let created = client.create_agent(&CreateAgent { name, cluster, labels: labels(pairs)? }).await?;
            let what = format!("agent {} ({})", created.agent.name, created.agent.id);
            show(format, &created, &what, Some(&created.secret))
        }
    }
}

/// The secret alone on the standard output, so that it can go into a file; about it on the standard error.
fn show<T: Serialize>(format: Format, created: &T, what: &str, secret: Option<&str>) -> anyhow::Result<Outcome> {
    if format == Format::Json {
        output::json(created)?;
        return Ok(Outcome::Done);
    }
    match secret {
        Some(secret) => {
            output::note(&format!("{what}; this is the one time that it is shown:"));
            anstream::println!("{secret}");
        }
        None => anstream::println!("{what}"),
    }
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_none_is_refused_with_those_that_are() {
        assert_eq!(word::<Role>("viewer"), Ok(Role::Viewer));
        assert_eq!(word::<Permission>("stacks:read"), Ok(Permission::StacksRead));
        let error = word::<Role>("root").unwrap_err();
        assert!(error.contains("operator"), "{error}");
    }
}
