//! Generators.

use axum::extract::State;
use brokkr_api::{
    GeneratorId, Name, Page,
    generators::{CreateGenerator, Generator, UpdateGenerator},
    page::PageQuery,
};
use http::StatusCode;
use serde_json::json;

use super::{keys::leave, page};
use crate::http::{
    AppState,
    auth::{Allowed, IdentitiesWrite},
    body::{Json, Path, Query},
    error::{Failure, name_taken},
    record::Resource,
};

/// Makes a generator.
#[utoipa::path(post, path = brokkr_api::routes::GENERATORS, operation_id = "createGenerator", tag = "generators", request_body = CreateGenerator,
    responses((status = 201, body = Generator), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn create(
    caller: Allowed<IdentitiesWrite>,
    State(state): State<AppState>,
    Json(request): Json<CreateGenerator>,
) -> Result<(StatusCode, Json<Generator>), Failure> {
    let now = state.clock.now();
    let generator = Generator { id: GeneratorId(state.ids.uuid(now)), name: request.name, quota: request.quota, created_at: now };
    let mut tx = state.db.begin().await?;
    tx.insert_generator(&generator).await.map_err(name_taken("generator", &generator.name))?;
    let resource = Resource::new("generator", generator.id, &generator.name);
    leave(&mut tx, &state, &caller, "generator.created", resource, json!({"quota": generator.quota}), now).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(generator)))
}

/// A page of generators.
#[utoipa::path(get, path = brokkr_api::routes::GENERATORS, operation_id = "listGenerators", tag = "generators", params(PageQuery),
    responses((status = 200, body = Page<Generator>), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn list(
    _: Allowed<IdentitiesWrite>,
    State(state): State<AppState>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Generator>>, Failure> {
    let limit = page::limit(query.limit)?;
    let generators = state.db.list_generators(page::cursor(query.cursor.as_deref())?, limit + 1).await?;
    Ok(Json(page::page(generators, limit, |generator| generator.name.to_string())))
}

/// One generator, by its name or its id.
#[utoipa::path(get, path = brokkr_api::routes::GENERATOR, operation_id = "getGenerator", tag = "generators",
    params(("generator" = Name, Path)), responses((status = 200, body = Generator), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn read(
    _: Allowed<IdentitiesWrite>,
    State(state): State<AppState>,
    Path(name): Path<Name>,
) -> Result<Json<Generator>, Failure> {
    let generator = state.db.find_generator(&name).await?;
    generator.map(Json).ok_or_else(|| Failure::not_found("generator", &name))
}

/// Changes what a generator may use. What it uses already stays.
#[utoipa::path(patch, path = brokkr_api::routes::GENERATOR, operation_id = "updateGenerator", tag = "generators",
    params(("generator" = Name, Path)), request_body = UpdateGenerator,
    responses((status = 200, body = Generator), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn update(
    caller: Allowed<IdentitiesWrite>,
    State(state): State<AppState>,
    Path(name): Path<Name>,
    Json(request): Json<UpdateGenerator>,
) -> Result<Json<Generator>, Failure> {
    let now = state.clock.now();
    let mut tx = state.db.begin().await?;
    let mut generator = tx.find_generator(&name).await?.ok_or_else(|| Failure::not_found("generator", &name))?;
    if let Some(quota) = request.quota.filter(|quota| *quota != generator.quota) {
        let change = tx.next_change().await?;
        tx.update_quota(&generator, quota, change).await?;
        let resource = Resource::new("generator", generator.id, &generator.name);
        leave(&mut tx, &state, &caller, "generator.updated", resource, json!({"quota": quota}), now).await?;
        tx.notify(change).await?;
        tx.commit().await?;
        state.changed();
        generator.quota = quota;
    }
    Ok(Json(generator))
}
