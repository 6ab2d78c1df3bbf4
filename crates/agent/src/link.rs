//! The agent's way to the broker: its key, the client, and how it gets a key when it has none.

use std::sync::Arc;

use anyhow::{Context, bail};
use brokkr_api::client::{Client, ClientBuilder, KeySource, SharedKey};
use brokkr_telemetry::http::ClientTelemetry;

use crate::{
    cluster::Cluster,
    config::Config,
    identity::{Enrolment, KeyStore, SecretStore, TokenSource},
};

/// Where the key is kept, and where requests have it from.
pub(crate) fn key(config: &Config, cluster: &Cluster) -> anyhow::Result<(KeyStore, KeySource)> {
    let broker = &config.broker;
    match (&broker.key_file, &broker.key_secret, &broker.key) {
        (Some(path), None, None) => Ok((KeyStore::File(path.clone()), KeySource::File(path.clone()))),
        (None, Some(place), None) => {
            let (namespace, name) = place.split_once('/').context("broker.key_secret: write it as namespace/name")?;
            let key = SharedKey::default();
            let (namespace, name) = (namespace.to_owned(), name.to_owned());
            let store = SecretStore { namespace, name, cluster: cluster.unconfined(), key: key.clone() };
            Ok((KeyStore::Secret(store), KeySource::Shared(key)))
        }
        (None, None, Some(key)) => Ok((KeyStore::Fixed, KeySource::Text(Arc::from(key.trim())))),
        (None, None, None) => bail!(
            "the agent needs a key: set broker.key_file or broker.key_secret, and agent.name and enrolment.token_file to get one"
        ),
        _ => bail!("set one of broker.key_file, broker.key_secret and broker.key"),
    }
}

/// The client for the broker.
pub(crate) fn client(config: &Config, key: KeySource) -> anyhow::Result<Client> {
    let broker = &config.broker;
    let mut builder = ClientBuilder::new(&broker.url, key)
        .context("broker.url")?
        .user_agent(concat!("brokkr-agent/", env!("CARGO_PKG_VERSION")))
        .middleware(Arc::new(ClientTelemetry));
    if let Some(path) = &broker.ca_file {
        let pem = std::fs::read(path).with_context(|| format!("broker.ca_file: {}", path.display()))?;
        builder = builder.authorities(&pem).with_context(|| format!("broker.ca_file: {}", path.display()))?;
    }
    if let Some(proxy) = &broker.proxy {
        builder = builder.proxy(proxy).context("broker.proxy")?;
    }
    Ok(builder.build()?)
}

/// How to get a key, when the configuration says so.
pub(crate) fn enrolment(config: &Config) -> anyhow::Result<Option<Enrolment>> {
    let token = match (&config.enrolment.token_file, &config.enrolment.token) {
        (Some(_), Some(_)) => bail!("set enrolment.token_file or enrolment.token, not both"),
        (Some(path), None) => TokenSource::File(path.clone()),
        (None, Some(token)) => TokenSource::Text(Arc::from(token.trim())),
        (None, None) if config.broker.key_secret.is_some() && config.agent.name.is_some() => TokenSource::Secret,
        (None, None) => return Ok(None),
    };
    let name = config.agent.name.clone().context("an agent that enrols needs a name: set agent.name")?;
    let cluster = config.agent.cluster.clone().unwrap_or_else(|| name.clone());
    Ok(Some(Enrolment { name, cluster, token }))
}
