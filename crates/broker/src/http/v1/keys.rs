//! API keys.

use axum::extract::State;
use brokkr_api::{
    ErrorCode, KeyId, Page, Timestamp,
    keys::{CreateKey, CreatedKey, Key, MAX_SCOPES, Permission, Role},
    page::PageQuery,
};
use http::StatusCode;
use serde_json::{Value, json};

use super::page;
use crate::{
    domain::key,
    http::{
        AppState,
        auth::{Allowed, Caller, IdentitiesWrite},
        body::{Json, Path, Query},
        error::Failure,
        record::{Actor, Change, Resource, record},
    },
    store::{NewKey, Tx},
};

/// Makes a key.
#[utoipa::path(post, path = brokkr_api::routes::KEYS, operation_id = "createKey", tag = "keys", request_body = CreateKey,
    responses((status = 201, body = CreatedKey), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn create(
    caller: Allowed<IdentitiesWrite>,
    State(state): State<AppState>,
    Json(request): Json<CreateKey>,
) -> Result<(StatusCode, Json<CreatedKey>), Failure> {
    let now = state.clock.now();
    check(&request, now)?;
    check_giver(&caller, &request)?;
    let (secret, digest) = key::generate(request.role, &*state.ids);
    let mut tx = state.db.begin().await?;
    let missing =
        |field: &str| Failure::new(ErrorCode::InvalidField, format!("a key of role {field} names its {field}")).at(field);
    let (generator, agent) = match request.role {
        Role::Admin | Role::Operator | Role::Viewer => (None, None),
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
        expires_at: request.expires_at,
        scopes: request.scopes,
        pending: false,
    };
    let change = tx.next_change().await?;
    tx.insert_key(&new, change).await?;
    let data = json!({"role": new.role, "scopes": new.scopes, "expires_at": new.expires_at});
    leave(&mut tx, &state, &caller, "key.created", Resource::new("key", new.id, &new.name), data, now).await?;
    tx.notify(change).await?;
    tx.commit().await?;
    state.changed();
    let key = Key {
        id: new.id,
        name: new.name,
        role: new.role,
        generator,
        agent: request.agent,
        scopes: new.scopes,
        pending: false,
        created_at: now,
        expires_at: new.expires_at,
        last_used_at: None,
        revoked_at: None,
    };
    Ok((StatusCode::CREATED, Json(CreatedKey { key, secret })))
}

fn check(request: &CreateKey, now: Timestamp) -> Result<(), Failure> {
    if request.scopes.len() > MAX_SCOPES {
        return Err(Failure::new(ErrorCode::InvalidField, format!("a key names at most {MAX_SCOPES} scopes")).at("scopes"));
    }
    if let Some((index, scope)) = request.scopes.iter().enumerate().find(|(_, scope)| !request.role.allows(**scope)) {
        let scope = serde_json::to_value(scope).unwrap_or_default();
        let detail = format!("a key of role {} never has {scope}", request.role.as_str());
        return Err(Failure::new(ErrorCode::InvalidField, detail).at(format!("scopes[{index}]")));
    }
    if request.expires_at.is_some_and(|at| at <= now) {
        return Err(Failure::new(ErrorCode::InvalidField, "expires_at is in the past").at("expires_at"));
    }
    Ok(())
}

/// Nobody makes a key that may do more than his own.
fn check_giver(caller: &Caller, request: &CreateKey) -> Result<(), Failure> {
    let gives = |permission: &Permission| {
        request.role.allows(*permission) && (request.scopes.is_empty() || request.scopes.contains(permission))
    };
    match Permission::ALL.into_iter().filter(gives).find(|permission| !caller.may_give(*permission)) {
        None => Ok(()),
        Some(permission) => {
            let permission = serde_json::to_value(permission).unwrap_or_default();
            let detail = format!("this key would have {permission}, which the key that makes it has not: name fewer scopes");
            Err(Failure::new(ErrorCode::Forbidden, detail).at("scopes"))
        }
    }
}

/// Writes event and audit entry of a change of an identity.
pub(super) async fn leave<'a>(
    tx: &mut Tx,
    state: &AppState,
    actor: impl Into<Actor<'a>>,
    kind: &'static str,
    resource: Resource<'_>,
    data: Value,
    now: Timestamp,
) -> Result<(), Failure> {
    let change = Change { kind, resource, stack: None, agent: None, generation: None, data, trace: None, now };
    record(tx, state, actor, change).await
}

/// A page of keys; never the keys themselves.
#[utoipa::path(get, path = brokkr_api::routes::KEYS, operation_id = "listKeys", tag = "keys", params(PageQuery),
    responses((status = 200, body = Page<Key>), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn list(
    _: Allowed<IdentitiesWrite>,
    State(state): State<AppState>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Key>>, Failure> {
    let limit = page::limit(query.limit)?;
    let keys = state.db.list_keys(page::cursor(query.cursor.as_deref())?, limit + 1).await?;
    Ok(Json(page::page(keys, limit, |key| key.id.to_string())))
}

/// Revokes a key: it opens nothing more, and parked polls that came with it end.
#[utoipa::path(delete, path = brokkr_api::routes::KEY, operation_id = "revokeKey", tag = "keys", params(("key" = KeyId, Path)),
    responses((status = 204), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn revoke(
    caller: Allowed<IdentitiesWrite>,
    State(state): State<AppState>,
    Path(id): Path<KeyId>,
) -> Result<StatusCode, Failure> {
    let now = state.clock.now();
    let mut tx = state.db.begin().await?;
    let change = tx.next_change().await?;
    let name = tx.revoke_key(id, now, change).await?.ok_or_else(|| Failure::not_found("valid key", id))?;
    leave(&mut tx, &state, &caller, "key.revoked", Resource::new("key", id, &name), json!({}), now).await?;
    tx.notify(change).await?;
    tx.commit().await?;
    state.changed();
    Ok(StatusCode::NO_CONTENT)
}
