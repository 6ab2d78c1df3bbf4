//! Webhooks, as people and pipelines see them.

use std::time::Duration;

use axum::extract::State;
use brokkr_api::{
    ErrorCode, Name, Page, Problem, Timestamp, WebhookId,
    page::PageQuery,
    webhooks::{
        CreateWebhook, MAX_OVERLAP_SECONDS, RotateWebhook, UpdateWebhook, Webhook, WebhookSettings, WebhookState,
        WebhookWithSecret,
    },
};
use brokkr_webhooks::Guard;
use http::StatusCode;
use serde_json::{Value, json};

use super::{keys::leave, page};
use crate::{
    courier::endpoint::{seal, unseal},
    domain::webhook::{
        request,
        sealed::{Sealed, new_secret},
        senders::{Candidate, no_sender},
    },
    http::{
        AppState,
        auth::{Allowed, Caller, WebhooksRead, WebhooksWrite},
        body::{Json, Path, Query},
        error::{Failure, name_taken},
        record::Resource,
    },
    store::{NewWebhook, SendingAgent, Tx, WebhookRow},
};

impl WebhookRow {
    fn to_api(&self, sealed: &Sealed) -> Webhook {
        Webhook {
            id: self.id,
            name: self.name.clone(),
            generator: self.generator,
            url: sealed.url.clone(),
            headers: sealed.headers.keys().cloned().collect(),
            signature: sealed.signature(),
            public_key: sealed.public_key(),
            former_secret_until: sealed.former.as_ref().map(|(_, until)| *until),
            settings: self.settings.clone(),
            state: self.state,
            disabled_reason: self.disabled_reason.clone(),
            failing_since: self.failing_since,
            no_sender: None,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

impl SendingAgent {
    fn candidate(&self, online: bool) -> Candidate<'_> {
        Candidate { name: &self.name, labels: &self.labels, capabilities: &self.capabilities, online }
    }
}

impl AppState {
    fn open_webhook(&self, row: &WebhookRow) -> Result<Sealed, Failure> {
        unseal(row, &self.keyring).map_err(|cause| {
            let detail = "the webhook is encrypted with a key that this broker does not have; its log says with which";
            Failure::with_cause(Problem::new(ErrorCode::Internal, detail), cause)
        })
    }

    /// Says of webhooks that agents are to send why none of them does.
    async fn with_senders(&self, webhooks: &mut [Webhook]) -> Result<(), Failure> {
        if webhooks.iter().all(|webhook| webhook.settings.deliver_by.is_none()) {
            return Ok(());
        }
        let agents = self.db.sending_agents().await?;
        let candidates = || agents.iter().map(|agent| agent.candidate(self.is_online(agent.last_seen_at)));
        for webhook in webhooks {
            let by = webhook.settings.deliver_by.as_ref();
            webhook.no_sender = by.and_then(|by| no_sender(by, candidates()));
        }
        Ok(())
    }

    /// A webhook as it is shown.
    async fn shown(&self, row: &WebhookRow, plain: &Sealed) -> Result<Webhook, Failure> {
        let mut webhook = row.to_api(plain);
        self.with_senders(std::slice::from_mut(&mut webhook)).await?;
        Ok(webhook)
    }

    /// The guard of whoever sends, where that is the broker.
    fn guard_of(&self, settings: &WebhookSettings) -> Option<&Guard> {
        settings.deliver_by.is_none().then_some(&*self.guard)
    }

    fn seal_webhook(&self, id: WebhookId, sealed: &Sealed) -> Result<(String, Vec<u8>), Failure> {
        seal(id, sealed, &self.keyring, &*self.ids).ok_or_else(|| {
            let detail = "a webhook has secrets, and this broker has no key to encrypt them with: set encryption.keys_file";
            Failure::new(ErrorCode::EncryptionKeyMissing, detail)
        })
    }
}

/// Headers as they are stored: names in lower case.
fn lower(headers: std::collections::BTreeMap<String, String>) -> std::collections::BTreeMap<String, String> {
    headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect()
}

/// What the audit log and other webhooks are told: never where it goes.
fn told(name: &Name, state: WebhookState) -> Value {
    json!({"webhook": name, "state": state})
}

async fn leave_word(
    tx: &mut Tx,
    state: &AppState,
    caller: &Caller,
    kind: &'static str,
    row: &WebhookRow,
    now: Timestamp,
) -> Result<(), Failure> {
    leave(tx, state, caller, kind, Resource::new("webhook", row.id, &row.name), told(&row.name, row.state), now).await
}

fn check(settings: &WebhookSettings) -> Result<(), Failure> {
    Ok(request::settings(settings)?)
}

/// Makes a webhook. Its secret is in the answer, and shown nowhere again.
#[utoipa::path(post, path = brokkr_api::routes::WEBHOOKS, operation_id = "createWebhook", tag = "webhooks", request_body = CreateWebhook,
    responses((status = 201, body = WebhookWithSecret), (status = "4XX", body = Problem)))]
pub(crate) async fn create(
    caller: Allowed<WebhooksWrite>,
    State(state): State<AppState>,
    Json(request): Json<CreateWebhook>,
) -> Result<(StatusCode, Json<WebhookWithSecret>), Failure> {
    let url = request::url(&request.url, state.guard_of(&request.settings))?;
    request::headers(&request.headers)?;
    check(&request.settings)?;
    let now = state.clock.now();
    let id = WebhookId(state.ids.uuid(now));
    let secret = new_secret(request.signature, &*state.ids);
    let plain = Sealed { url: url.to_string(), headers: lower(request.headers), secret: secret.reveal(), former: None };
    let (sealed_key, sealed) = state.seal_webhook(id, &plain)?;
    let row = WebhookRow {
        id,
        name: request.name,
        generator: caller.scope.generator(),
        settings: request.settings,
        sealed: Vec::new(),
        sealed_key,
        state: WebhookState::Enabled,
        disabled_reason: None,
        failing_since: None,
        version: 1,
        created_at: now,
        updated_at: now,
    };
    let mut tx = state.db.begin().await?;
    let new = NewWebhook {
        id,
        name: &row.name,
        generator: row.generator,
        settings: &row.settings,
        sealed,
        sealed_key: &row.sealed_key,
        now,
    };
    tx.insert_webhook(new).await.map_err(name_taken("webhook", &row.name))?;
    leave_word(&mut tx, &state, &caller, "webhook.created", &row, now).await?;
    tx.commit().await?;
    state.webhooks_changed.notify_one();
    let webhook = state.shown(&row, &plain).await?;
    Ok((StatusCode::CREATED, Json(WebhookWithSecret { webhook, secret: secret.for_receiver() })))
}

/// A page of webhooks, the oldest first. A generator sees its own.
#[utoipa::path(get, path = brokkr_api::routes::WEBHOOKS, operation_id = "listWebhooks", tag = "webhooks", params(PageQuery),
    responses((status = 200, body = Page<Webhook>), (status = "4XX", body = Problem)))]
pub(crate) async fn list(
    caller: Allowed<WebhooksRead>,
    State(state): State<AppState>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Webhook>>, Failure> {
    let limit = page::limit(query.limit)?;
    let rows = state.db.list_webhooks(caller.scope, page::cursor(query.cursor.as_deref())?, limit + 1).await?;
    let mut webhooks = rows.iter().map(|row| Ok(row.to_api(&state.open_webhook(row)?))).collect::<Result<Vec<_>, Failure>>()?;
    state.with_senders(&mut webhooks).await?;
    Ok(Json(page::page(webhooks, limit, |webhook| webhook.id.to_string())))
}

pub(super) async fn find(caller: &Caller, state: &AppState, name: &Name) -> Result<WebhookRow, Failure> {
    state.db.find_webhook(caller.scope, name).await?.ok_or_else(|| Failure::not_found("webhook", name))
}

pub(super) async fn lock(tx: &mut Tx, caller: &Caller, name: &Name) -> Result<WebhookRow, Failure> {
    tx.lock_webhook(caller.scope, name).await?.ok_or_else(|| Failure::not_found("webhook", name))
}

/// One webhook, by its name or its id.
#[utoipa::path(get, path = brokkr_api::routes::WEBHOOK, operation_id = "getWebhook", tag = "webhooks",
    params(("webhook" = Name, Path)), responses((status = 200, body = Webhook), (status = "4XX", body = Problem)))]
pub(crate) async fn read(
    caller: Allowed<WebhooksRead>,
    State(state): State<AppState>,
    Path(name): Path<Name>,
) -> Result<Json<Webhook>, Failure> {
    let row = find(&caller, &state, &name).await?;
    Ok(Json(state.shown(&row, &state.open_webhook(&row)?).await?))
}

/// Changes a webhook; what is absent stays.
#[utoipa::path(patch, path = brokkr_api::routes::WEBHOOK, operation_id = "updateWebhook", tag = "webhooks",
    params(("webhook" = Name, Path)), request_body = UpdateWebhook,
    responses((status = 200, body = Webhook), (status = "4XX", body = Problem)))]
pub(crate) async fn update(
    caller: Allowed<WebhooksWrite>,
    State(state): State<AppState>,
    Path(name): Path<Name>,
    Json(request): Json<UpdateWebhook>,
) -> Result<Json<Webhook>, Failure> {
    let url = request.url.as_deref().map(|url| request::url(url, None)).transpose()?;
    if let Some(headers) = &request.headers {
        request::headers(headers)?;
    }
    if let Some(settings) = &request.settings {
        check(settings)?;
    }
    let now = state.clock.now();
    let mut tx = state.db.begin().await?;
    let mut row = lock(&mut tx, &caller, &name).await?;
    let mut plain = state.open_webhook(&row)?;
    if let Some(url) = url {
        plain.url = url.to_string();
    }
    if let Some(headers) = request.headers {
        plain.headers = lower(headers);
    }
    let former = row.settings.clone();
    if let Some(settings) = request.settings {
        row.settings = settings;
    }
    if request.url.is_some() || former.deliver_by.is_some() {
        // It may be the broker from here on who sends.
        request::url(&plain.url, state.guard_of(&row.settings))?;
    }
    match request.state {
        Some(WebhookState::Enabled) => {
            (row.state, row.disabled_reason, row.failing_since) = (WebhookState::Enabled, None, None);
        }
        Some(WebhookState::Disabled) => {
            (row.state, row.disabled_reason) = (WebhookState::Disabled, Some("by_request".to_owned()));
        }
        None => {}
    }
    row.updated_at = now;
    (row.sealed_key, row.sealed) = state.seal_webhook(row.id, &plain)?;
    tx.update_webhook(&row).await?;
    leave_word(&mut tx, &state, &caller, "webhook.updated", &row, now).await?;
    tx.commit().await?;
    state.webhooks_changed.notify_one();
    Ok(Json(state.shown(&row, &plain).await?))
}

/// Deletes a webhook, and everything that waits for it.
#[utoipa::path(delete, path = brokkr_api::routes::WEBHOOK, operation_id = "deleteWebhook", tag = "webhooks",
    params(("webhook" = Name, Path)), responses((status = 204), (status = "4XX", body = Problem)))]
pub(crate) async fn delete(
    caller: Allowed<WebhooksWrite>,
    State(state): State<AppState>,
    Path(name): Path<Name>,
) -> Result<StatusCode, Failure> {
    let now = state.clock.now();
    let mut tx = state.db.begin().await?;
    let row = lock(&mut tx, &caller, &name).await?;
    tx.delete_webhook(row.id, now).await?;
    leave_word(&mut tx, &state, &caller, "webhook.deleted", &row, now).await?;
    tx.commit().await?;
    state.webhooks_changed.notify_one();
    Ok(StatusCode::NO_CONTENT)
}

/// Replaces the secret. For a while both sign, so that the receiver can change when it likes.
#[utoipa::path(post, path = brokkr_api::routes::ROTATE_WEBHOOK, operation_id = "rotateWebhook", tag = "webhooks",
    params(("webhook" = Name, Path)), request_body = RotateWebhook,
    responses((status = 200, body = WebhookWithSecret), (status = "4XX", body = Problem)))]
pub(crate) async fn rotate(
    caller: Allowed<WebhooksWrite>,
    State(state): State<AppState>,
    Path(name): Path<Name>,
    Json(request): Json<RotateWebhook>,
) -> Result<Json<WebhookWithSecret>, Failure> {
    if request.overlap_seconds > MAX_OVERLAP_SECONDS {
        let detail = format!("the old secret signs for at most {MAX_OVERLAP_SECONDS} seconds");
        return Err(Failure::new(ErrorCode::InvalidField, detail).at("overlap_seconds"));
    }
    let now = state.clock.now();
    let mut tx = state.db.begin().await?;
    let mut row = lock(&mut tx, &caller, &name).await?;
    let mut plain = state.open_webhook(&row)?;
    let secret = new_secret(plain.signature(), &*state.ids);
    plain.rotate(&secret, now.after(Duration::from_secs(request.overlap_seconds.into())));
    row.updated_at = now;
    (row.sealed_key, row.sealed) = state.seal_webhook(row.id, &plain)?;
    tx.update_webhook(&row).await?;
    leave_word(&mut tx, &state, &caller, "webhook.secret_rotated", &row, now).await?;
    tx.commit().await?;
    state.webhooks_changed.notify_one();
    let webhook = state.shown(&row, &plain).await?;
    Ok(Json(WebhookWithSecret { webhook, secret: secret.for_receiver() }))
}
