//! A webhook with what is secret about it.

use std::time::Duration;

use brokkr_api::{Name, WebhookId, webhooks::WebhookSettings};
use brokkr_runtime::Ids;
use http::HeaderMap;
use url::Url;

use crate::{
    domain::{
        seal::{Keyring, OpenError},
        webhook::{request, sealed},
    },
    store::WebhookRow,
};

/// Everything that is needed to send.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(super) id: WebhookId,
    pub(super) name: Name,
    pub(super) settings: WebhookSettings,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) sealed: sealed::Sealed,
}

/// What is secret of a webhook cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error(transparent)]
    Sealed(#[from] OpenError),
    #[error("what was sealed is nothing that this program seals")]
    Content,
}

/// Opens what is secret of a webhook.
pub(crate) fn unseal(row: &WebhookRow, keyring: &Keyring) -> Result<sealed::Sealed, Unreadable> {
    let plain = keyring.open_for(row.id.0, sealed::LABEL, &row.sealed)?;
    serde_json::from_slice(&plain).map_err(|_| Unreadable::Content)
}

/// Seals it again, and says with which key; nothing when there is none.
pub(crate) fn seal(id: WebhookId, plain: &sealed::Sealed, keyring: &Keyring, ids: &dyn Ids) -> Option<(String, Vec<u8>)> {
    let text = serde_json::to_vec(plain).ok()?;
    keyring.seal_for(ids, id.0, sealed::LABEL, &text)
}

impl Endpoint {
    pub(super) fn open(row: WebhookRow, keyring: &Keyring) -> Result<Self, Unreadable> {
        let sealed = unseal(&row, keyring)?;
        let url = Url::parse(&sealed.url).map_err(|_| Unreadable::Content)?;
        let headers = request::headers(&sealed.headers).map_err(|_| Unreadable::Content)?;
        Ok(Self { id: row.id, name: row.name, settings: row.settings, url, headers, sealed })
    }

    /// Time for one attempt.
    pub(super) fn timeout(&self) -> Duration {
        Duration::from_secs(self.settings.timeout_seconds.into())
    }
}
