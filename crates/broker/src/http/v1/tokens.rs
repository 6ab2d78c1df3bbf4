//! Registration tokens: what an agent's first start needs instead of a key.

use std::time::Duration;

use axum::extract::State;
use brokkr_api::{
    ErrorCode, Page, RegistrationTokenId,
    enrolment::{
        CreateRegistrationToken, CreatedRegistrationToken, DEFAULT_TOKEN_SECONDS, MAX_TOKEN_SECONDS, MAX_TOKEN_USES,
        RegistrationToken,
    },
    page::PageQuery,
};
use http::StatusCode;
use serde_json::json;

use super::{keys::leave, page};
use crate::{
    domain::key,
    http::{
        AppState,
        auth::{AgentsWrite, Allowed},
        body::{Json, Path, Query},
        error::Failure,
        record::Resource,
    },
};

/// Makes a registration token; the answer is the one time that it is shown.
#[utoipa::path(post, path = brokkr_api::routes::REGISTRATION_TOKENS, operation_id = "createRegistrationToken", tag = "agents",
    request_body = CreateRegistrationToken,
    responses((status = 201, body = CreatedRegistrationToken), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn create(
    caller: Allowed<AgentsWrite>,
    State(state): State<AppState>,
    Json(request): Json<CreateRegistrationToken>,
) -> Result<(StatusCode, Json<CreatedRegistrationToken>), Failure> {
    let max_uses = within("max_uses", request.max_uses.unwrap_or(1), MAX_TOKEN_USES)?;
    let seconds = within("expires_in_seconds", request.expires_in_seconds.unwrap_or(DEFAULT_TOKEN_SECONDS), MAX_TOKEN_SECONDS)?;
    let now = state.clock.now();
    let (secret, digest) = key::generate_token(&*state.ids);
    let token = RegistrationToken {
        id: RegistrationTokenId(state.ids.uuid(now)),
        name: request.name,
        labels: request.labels,
        max_uses,
        uses: 0,
        created_at: now,
        expires_at: now.after(Duration::from_secs(u64::from(seconds))),
        revoked_at: None,
    };
    let mut tx = state.db.begin().await?;
    tx.insert_token(&token, &digest).await?;
    let data = json!({"labels": token.labels, "max_uses": max_uses, "expires_at": token.expires_at});
    let resource = Resource::new("registration_token", token.id, &token.name);
    leave(&mut tx, &state, &caller, "registration_token.created", resource, data, now).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(CreatedRegistrationToken { token, secret })))
}

fn within(field: &'static str, value: u32, most: u32) -> Result<u32, Failure> {
    if (1..=most).contains(&value) {
        Ok(value)
    } else {
        Err(Failure::new(ErrorCode::InvalidField, format!("{field} is 1 to {most}")).at(field))
    }
}

/// A page of registration tokens; never the tokens themselves.
#[utoipa::path(get, path = brokkr_api::routes::REGISTRATION_TOKENS, operation_id = "listRegistrationTokens", tag = "agents",
    params(PageQuery),
    responses((status = 200, body = Page<RegistrationToken>), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn list(
    _: Allowed<AgentsWrite>,
    State(state): State<AppState>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<RegistrationToken>>, Failure> {
    let limit = page::limit(query.limit)?;
    let tokens = state.db.list_tokens(page::cursor(query.cursor.as_deref())?, limit + 1).await?;
    Ok(Json(page::page(tokens, limit, |token| token.id.to_string())))
}

/// Revokes a registration token: it enrols nobody more. Agents that it enrolled stay.
#[utoipa::path(delete, path = brokkr_api::routes::REGISTRATION_TOKEN, operation_id = "revokeRegistrationToken", tag = "agents",
    params(("token" = RegistrationTokenId, Path)), responses((status = 204), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn revoke(
    caller: Allowed<AgentsWrite>,
    State(state): State<AppState>,
    Path(id): Path<RegistrationTokenId>,
) -> Result<StatusCode, Failure> {
    let now = state.clock.now();
    let mut tx = state.db.begin().await?;
    let name = tx.revoke_token(id, now).await?.ok_or_else(|| Failure::not_found("valid registration token", id))?;
    let resource = Resource::new("registration_token", id, &name);
    leave(&mut tx, &state, &caller, "registration_token.revoked", resource, json!({}), now).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
