//! Who the agent is: its key, where it is kept, how it got it and how it takes a new one.

mod store;

use std::{path::PathBuf, sync::Arc};

use brokkr_api::{
    ErrorCode, Name,
    client::{Client, ClientError, KeySource},
    enrolment::Enrol,
};
use tracing::{info, warn};

pub(crate) use store::{KeyStore, SecretStore, StoreError};

use crate::trouble::{NO_KEY, Trouble};

/// What the agent says of itself to get its key.
#[derive(Debug, Clone)]
pub(crate) struct Enrolment {
    pub(crate) name: Name,
    pub(crate) cluster: Name,
    pub(crate) token: TokenSource,
}

/// Where the registration token is.
#[derive(Clone)]
pub(crate) enum TokenSource {
    Text(Arc<str>),
    File(PathBuf),
    /// Beside the key, in the Secret.
    Secret,
}

impl std::fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenSource(…)")
    }
}

/// The agent's identity.
pub(crate) struct Identity {
    pub(crate) store: KeyStore,
    pub(crate) enrolment: Option<Enrolment>,
}

/// Why the agent has no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the broker gives no key for the registration token")]
    Enrol(#[source] ClientError),
    #[error("there is no key yet in {0}, and no registration token to get one: set enrolment.token_file and agent.name")]
    NoToken(String),
    #[error("the registration token in {} cannot be read", path.display())]
    TokenFile {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl IdentityError {
    /// What to tell people.
    pub(crate) fn trouble(&self) -> Trouble {
        let Self::Enrol(error) = self else {
            let cause = std::error::Error::source(self).map(|cause| format!(": {cause}")).unwrap_or_default();
            return Trouble { kind: NO_KEY, text: format!("{self}{cause}"), refused: false };
        };
        let trouble = Trouble::of(error);
        let advice = match error.code() {
            Some(ErrorCode::Unauthenticated) => "the registration token is unknown, expired, used up or revoked: make another",
            Some(ErrorCode::NameTaken) => "another agent has this name: set agent.name",
            _ => return trouble,
        };
        Trouble { text: format!("{error} — {advice}"), refused: true, ..trouble }
    }
}

impl Identity {
    /// Makes sure that there is a key: the one that is kept, else a new one for the registration token. Nothing is lost by an end at
    /// any point: until the key was used the same token gives another.
    pub(crate) async fn ensure(&self, client: &Client, cluster_uid: &str) -> Result<(), IdentityError> {
        if self.store.load().await? {
            return Ok(());
        }
        let place = || IdentityError::NoToken(self.store.place());
        let enrolment = self.enrolment.as_ref().ok_or_else(place)?;
        let token = match &enrolment.token {
            TokenSource::Text(token) => Arc::clone(token),
            TokenSource::File(path) => {
                let text = std::fs::read_to_string(path);
                Arc::from(text.map_err(|source| IdentityError::TokenFile { path: path.clone(), source })?.trim())
            }
            TokenSource::Secret => self.store.token().await?.ok_or_else(place)?,
        };
        let request =
            Enrol { name: enrolment.name.clone(), cluster: enrolment.cluster.clone(), cluster_uid: cluster_uid.to_owned() };
        let enrolled = client.with_key(KeySource::Text(token)).enrol(&request).await.map_err(IdentityError::Enrol)?;
        self.store.store(&enrolled.secret).await?;
        info!(agent = %enrolled.agent, id = %enrolled.agent_id, key = self.store.place(), "the agent is enrolled");
        Ok(())
    }

    /// Takes a new key and keeps it; the next request uses it, and that makes it the agent's. Tells whether there is nothing left to
    /// do. An end before the key is kept leaves the old one, which works until the new one is used.
    pub(crate) async fn rotate(&self, client: &Client) -> bool {
        if self.store.is_fixed() {
            warn!(
                "the broker asks the agent to take a new key, and broker.key has no place to keep one: set broker.key_file or broker.key_secret"
            );
            return true;
        }
        let new = match client.take_new_key().await {
            Ok(new) => new,
            Err(error) => {
                warn!(reason = Trouble::of(&error).text, "the agent gets no new key; it keeps the old one and asks again");
                return false;
            }
        };
        match self.store.store(&new.secret).await {
            Ok(()) => {
                info!(key = self.store.place(), "the agent has a new key");
                true
            }
            Err(error) => {
                let cause: &(dyn std::error::Error + 'static) = &error;
                warn!(error = cause, "the new key cannot be kept; the agent uses the old one and asks again");
                false
            }
        }
    }
}
