//! Generators.

use axum::extract::State;
use brokkr_api::{
    GeneratorId, Page,
    generators::{CreateGenerator, Generator},
    page::PageQuery,
};
use http::StatusCode;

use super::page;
use crate::http::{
    AppState,
    auth::Admin,
    body::{Json, Query},
    error::{Failure, name_taken},
};

/// Makes a generator.
#[utoipa::path(post, path = brokkr_api::routes::GENERATORS, operation_id = "createGenerator", tag = "generators", request_body = CreateGenerator,
    responses((status = 201, body = Generator), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn create(
    _: Admin,
    State(state): State<AppState>,
    Json(request): Json<CreateGenerator>,
) -> Result<(StatusCode, Json<Generator>), Failure> {
    let now = state.clock.now();
    let generator = Generator { id: GeneratorId(state.ids.uuid(now)), name: request.name, created_at: now };
    let mut tx = state.db.begin().await?;
    tx.insert_generator(generator.id, &generator.name, now).await.map_err(name_taken("generator", &generator.name))?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(generator)))
}

/// A page of generators.
#[utoipa::path(get, path = brokkr_api::routes::GENERATORS, operation_id = "listGenerators", tag = "generators", params(PageQuery),
    responses((status = 200, body = Page<Generator>), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn list(
    _: Admin,
    State(state): State<AppState>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Generator>>, Failure> {
    let limit = page::limit(&query)?;
    let generators = state.db.list_generators(page::cursor(&query)?, limit + 1).await?;
    Ok(Json(page::page(generators, limit, |generator| generator.name.to_string())))
}
