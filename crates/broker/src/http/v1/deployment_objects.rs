//! Deployment objects: sending manifests, bringing old ones back, reading what was sent.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use brokkr_api::{
    ErrorCode, IDEMPOTENCY_HEADER, Name, Page,
    deployment_objects::{AcceptedDeploymentObject, DeploymentObject, Rollback},
    desired_state::Content,
    page::PageQuery,
};
use brokkr_telemetry::spans;
use http::{HeaderMap, header};

use super::{
    generation::{self, NewContent, NewGeneration},
    page,
};
use crate::{
    domain::manifests::{self, Canonical, Format},
    http::{
        AppState,
        auth::{Allowed, Caller, ContentRead, StacksRead, StacksWrite},
        body::{Json, Path, Query, Raw},
        conditional::{self, Versioned},
        error::Failure,
    },
};

/// Sends manifests: the next generation of a stack, for all its agents.
///
/// Content that equals the newest generation's is answered with that generation, and nothing rolls out. A request that is sent again
/// with the same `Idempotency-Key` is answered with the generation that the first one made.
#[utoipa::path(put, path = brokkr_api::routes::DEPLOYMENT_OBJECTS, operation_id = "putDeploymentObjects", tag = "deployment objects",
    params(("stack" = Name, Path),
        ("if-match" = Option<String>, Header, description = "Only when the stack's ETag is this one."),
        ("idempotency-key" = Option<String>, Header, description = "1 to 255 printable ASCII characters, unique within the stack.")),
    request_body(content((Content = "application/json"), (String = "application/yaml"))),
    responses((status = 200, body = AcceptedDeploymentObject), (status = 201, body = AcceptedDeploymentObject),
        (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn put(
    caller: Allowed<StacksWrite>,
    State(state): State<AppState>,
    Path(name): Path<Name>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<Versioned<AcceptedDeploymentObject>, Failure> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let format = Format::of_content_type(content_type)?;
    let condition = conditional::if_match(&headers)?;
    let idempotency_key = idempotency_key(&headers)?;
    let canonical = validated(format, &body)?;
    let new = NewGeneration { condition, idempotency_key, content: NewContent::Sent(canonical) };
    generation::accept(&caller, &state, &name, &new).await
}

/// The content in canonical form, checked.
fn validated(format: Format, body: &[u8]) -> Result<Canonical, Failure> {
    let span = spans::validate();
    let checked = span.in_scope(|| manifests::parse(format, body).and_then(manifests::canonicalize)).map_err(Failure::from);
    match &checked {
        Ok(canonical) => spans::record_objects(&span, usize::try_from(canonical.objects).unwrap_or(usize::MAX)),
        Err(failure) => failure.record_on(&span),
    }
    checked
}

/// Brings old content back as a new generation.
#[utoipa::path(post, path = brokkr_api::routes::ROLLBACK, operation_id = "rollbackStack", tag = "deployment objects",
    params(("stack" = Name, Path),
        ("if-match" = Option<String>, Header, description = "Only when the stack's ETag is this one."),
        ("idempotency-key" = Option<String>, Header, description = "1 to 255 printable ASCII characters, unique within the stack.")),
    request_body = Rollback,
    responses((status = 200, body = AcceptedDeploymentObject), (status = 201, body = AcceptedDeploymentObject),
        (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn rollback(
    caller: Allowed<StacksWrite>,
    State(state): State<AppState>,
    Path(name): Path<Name>,
    headers: HeaderMap,
    Json(request): Json<Rollback>,
) -> Result<Versioned<AcceptedDeploymentObject>, Failure> {
    let (condition, idempotency_key) = (conditional::if_match(&headers)?, idempotency_key(&headers)?);
    if request.generation == Some(0) {
        return Err(Failure::new(ErrorCode::InvalidField, "generations are counted from 1").at("generation"));
    }
    let Some(old) = state.db.find_kept(caller.scope, &name, request.generation).await? else {
        return Err(no_generation(&caller, &state, &name, request.generation).await?);
    };
    let new = NewGeneration { condition, idempotency_key, content: NewContent::Kept(old) };
    generation::accept(&caller, &state, &name, &new).await
}

/// Why there is nothing to bring back.
async fn no_generation(caller: &Caller, state: &AppState, name: &Name, generation: Option<u64>) -> Result<Failure, Failure> {
    Ok(match (state.db.find_stack(caller.scope, name).await?, generation) {
        (None, _) => Failure::not_found("stack", name),
        (Some(_), Some(generation)) => Failure::not_found("generation", format!("{generation} in the history of stack {name}")),
        (Some(_), None) => Failure::not_found("generation", format!("before the newest one in the history of stack {name}")),
    })
}

pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let Some(value) = headers.get(IDEMPOTENCY_HEADER) else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| (1..=255).contains(&key.len()) && key.bytes().all(|b| (b' '..=b'~').contains(&b)));
    let key = key.ok_or_else(|| {
        let detail = "an idempotency key has 1 to 255 printable ASCII characters";
        Failure::new(ErrorCode::InvalidHeader, detail).at(format!("header {IDEMPOTENCY_HEADER}"))
    })?;
    Ok(Some(key.to_owned()))
}

/// A page of generations, the newest first. How many are kept is the broker's configuration.
#[utoipa::path(get, path = brokkr_api::routes::DEPLOYMENT_OBJECTS, operation_id = "listDeploymentObjects", tag = "deployment objects",
    params(("stack" = Name, Path), PageQuery),
    responses((status = 200, body = Page<DeploymentObject>), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn list(
    caller: Allowed<StacksRead>,
    State(state): State<AppState>,
    Path(name): Path<Name>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<DeploymentObject>>, Failure> {
    let limit = page::limit(query.limit)?;
    let cursor = page::cursor(query.cursor.as_deref())?;
    let before = if cursor.is_empty() { Ok(i64::MAX.unsigned_abs()) } else { cursor.parse() };
    let before =
        before.map_err(|_| Failure::new(ErrorCode::InvalidQuery, "this is no cursor of this list").at("query cursor"))?;
    let stack = state.db.find_stack(caller.scope, &name).await?.ok_or_else(|| Failure::not_found("stack", &name))?;
    let objects = state.db.list_deployment_objects(stack.row.id, before, limit + 1).await?;
    Ok(Json(page::page(objects, limit, |object| object.generation.to_string())))
}

/// The content of one generation, in canonical form.
#[utoipa::path(get, path = brokkr_api::routes::DEPLOYMENT_OBJECT, operation_id = "getDeploymentObject", tag = "deployment objects",
    params(("stack" = Name, Path), ("generation" = u64, Path)),
    responses((status = 200, body = Content), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn read(
    caller: Allowed<ContentRead>,
    State(state): State<AppState>,
    Path((name, generation)): Path<(Name, u64)>,
) -> Result<Response, Failure> {
    let stack = state.db.find_stack(caller.scope, &name).await?.ok_or_else(|| Failure::not_found("stack", &name))?.row;
    let content = state.db.read_content(stack.id, generation).await?;
    let (digest, content) = content.ok_or_else(|| Failure::not_found("generation", generation))?;
    let body = state.open_content(stack.id, &digest, content)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}
