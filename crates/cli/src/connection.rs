//! Which broker, with which key: flags, then the environment, then what `brokkr dev` left in the folder or one above.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use brokkr_api::client::{Client, ClientBuilder, KeySource};
use clap::Args;
use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

/// Where `brokkr dev` says how to reach it, below the folder that it was started in.
pub(crate) const CONNECTION_FILE: &str = ".brokkr/connection.json";

/// Flags of every command that speaks to a broker.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConnectionArgs {
    /// Address of the broker, for example <http://localhost:3000>
    #[arg(long, global = true, env = "BROKKR_URL", value_name = "URL")]
    broker: Option<String>,
    /// File with your key
    #[arg(long, global = true, env = "BROKKR_KEY_FILE", value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Your key; prefer a file
    #[arg(long, global = true, env = "BROKKR_KEY", hide_env_values = true, hide = true)]
    key: Option<String>,
    /// Trace context that the request continues, as CI systems set it
    #[arg(long, global = true, env = "TRACEPARENT", value_name = "TRACEPARENT", hide = true)]
    traceparent: Option<String>,
    /// Trace the request whatever the broker's sampling rate, and print the trace's id
    #[arg(long, global = true)]
    trace: bool,
}

/// What [`CONNECTION_FILE`] holds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Connection {
    pub(crate) broker: String,
    pub(crate) key_file: PathBuf,
}

impl ConnectionArgs {
    /// The client for questions: looking and waiting are no part of the caller's trace.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        Ok(self.builder()?.build()?)
    }

    /// The client for changes: they continue the caller's trace, or begin one.
    pub(crate) fn changing_client(&self) -> anyhow::Result<Client> {
        let mut builder = self.builder()?;
        if let Some(traceparent) = self.traceparent() {
            let value = HeaderValue::from_str(&traceparent).context("TRACEPARENT is not a trace context")?;
            builder = builder.header(HeaderName::from_static("traceparent"), value);
        }
        Ok(builder.build()?)
    }

    fn builder(&self) -> anyhow::Result<ClientBuilder> {
        let found = if self.broker.is_none() || (self.key.is_none() && self.key_file.is_none()) { find()? } else { None };
        let base = self.broker.clone().or_else(|| found.as_ref().map(|found| found.broker.clone()));
        let base = base.context("which broker? Give --broker URL or set BROKKR_URL; `brokkr dev` starts one here")?;
        let file = self.key_file.clone().or_else(|| found.map(|found| found.key_file));
        let key = match (&self.key, file) {
            (Some(key), _) => KeySource::Text(Arc::from(key.trim())),
            (None, Some(file)) => KeySource::File(file),
            (None, None) => bail!("which key? Give --key-file FILE, or set BROKKR_KEY_FILE or BROKKR_KEY"),
        };
        Ok(ClientBuilder::new(&base, key)?.user_agent(concat!("brokkr-cli/", env!("CARGO_PKG_VERSION"))))
    }

    fn traceparent(&self) -> Option<String> {
        if self.traceparent.is_some() || !self.trace {
            return self.traceparent.clone();
        }
        Some(new_traceparent())
    }

    /// Whether a person asked for the trace's id.
    pub(crate) fn wants_trace(&self) -> bool {
        self.trace
    }
}

/// A sampled context of its own trace.
#[expect(clippy::disallowed_methods, reason = "a command line is not replayed: its randomness comes from the machine")]
fn new_traceparent() -> String {
    use rand::RngCore;
    let mut bytes = [0; 24];
    rand::rng().fill_bytes(&mut bytes);
    let hex = bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    format!("00-{}-{}-01", &hex[..32], &hex[32..])
}

fn find() -> anyhow::Result<Option<Connection>> {
    let here = std::env::current_dir().context("the current folder")?;
    let candidates = here.ancestors().map(|folder| folder.join(CONNECTION_FILE));
    let Some(path) = candidates.into_iter().find(|path| path.exists()) else { return Ok(None) };
    read(&path).map(Some)
}

fn read(path: &Path) -> anyhow::Result<Connection> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is damaged: start `brokkr dev` again", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_context_is_sampled_and_of_the_right_length() {
        let context = new_traceparent();
        assert_eq!(context.len(), 55);
        assert!(context.starts_with("00-") && context.ends_with("-01"));
    }
}
