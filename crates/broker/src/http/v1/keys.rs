//! API keys.

use axum::extract::State;
use brokkr_api::{
    ErrorCode, KeyId, Page,
    keys::{CreateKey, CreatedKey, Key, Role},
    page::PageQuery,
};
use http::StatusCode;

use super::page;
use crate::{
    domain::key,
    http::{
        AppState,
        auth::Admin,
        body::{Json, Path, Query},
        error::Failure,
    },
    store::NewKey,
};

/// Makes a key.
#[utoipa::path(post, path = brokkr_api::routes::KEYS, operation_id = "createKey", tag = "keys", request_body = CreateKey,
    responses((status = 201, body = CreatedKey), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn create(
    _: Admin,
    State(state): State<AppState>,
    Json(request): Json<CreateKey>,
) -> Result<(StatusCode, Json<CreatedKey>), Failure> {
    let now = state.clock.now();
    let (secret, digest) = key::generate(request.role, &*state.ids);
    let mut tx = state.db.begin().await?;
    let missing =
        |field: &str| Failure::new(ErrorCode::InvalidField, format!("a key of role {field} names its {field}")).at(field);
    let (generator, agent) = match request.role {
        Role::Admin => (None, None),
        Role::Generator => {
            let name = request.generator.as_ref().ok_or_else(|| missing("generator"))?;
            let found = tx.find_generator(name).await?.ok_or_else(|| Failure::not_found("generator", name))?;
            (Some(found.id), None)
        }
        Role::Agent => {
            let name = request.agent.as_ref().ok_or_else(|| missing("agent"))?;
            let found = tx.lock_agent(name).await?.ok_or_else(|| Failure::not_found("agent", name))?;
            (None, Some(found.id))
        }
    };
    let superfluous = |field: &'static str| {
        Failure::new(ErrorCode::InvalidField, format!("a key of role {} names no {field}", request.role.as_str())).at(field)
    };
    if request.generator.is_some() && generator.is_none() {
        return Err(superfluous("generator"));
    }
    if request.agent.is_some() && agent.is_none() {
        return Err(superfluous("agent"));
    }
    let new = NewKey {
        id: KeyId(state.ids.uuid(now)),
        name: request.name,
        role: request.role,
        generator,
        agent,
        digest,
        created_at: now,
    };
    let change = tx.next_change().await?;
    tx.insert_key(&new, change).await?;
    tx.notify(change).await?;
    tx.commit().await?;
    state.changed();
    let key = Key {
        id: new.id,
        name: new.name,
        role: new.role,
        generator,
        agent: request.agent,
        created_at: now,
        last_used_at: None,
        revoked_at: None,
    };
    Ok((StatusCode::CREATED, Json(CreatedKey { key, secret })))
}

/// A page of keys; never the keys themselves.
#[utoipa::path(get, path = brokkr_api::routes::KEYS, operation_id = "listKeys", tag = "keys", params(PageQuery),
    responses((status = 200, body = Page<Key>), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn list(
    _: Admin,
    State(state): State<AppState>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Key>>, Failure> {
    let limit = page::limit(&query)?;
    let keys = state.db.list_keys(page::cursor(&query)?, limit + 1).await?;
    Ok(Json(page::page(keys, limit, |key| key.id.to_string())))
}

/// Revokes a key: it opens nothing more, and parked polls that came with it end.
#[utoipa::path(delete, path = brokkr_api::routes::KEY, operation_id = "revokeKey", tag = "keys", params(("key" = KeyId, Path)),
    responses((status = 204), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn revoke(_: Admin, State(state): State<AppState>, Path(id): Path<KeyId>) -> Result<StatusCode, Failure> {
    let mut tx = state.db.begin().await?;
    let change = tx.next_change().await?;
    if !tx.revoke_key(id, state.clock.now(), change).await? {
        return Err(Failure::not_found("valid key", id));
    }
    tx.notify(change).await?;
    tx.commit().await?;
    state.changed();
    Ok(StatusCode::NO_CONTENT)
}
