//! Deployment objects: sending manifests, reading what was sent.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use brokkr_api::{
    DeploymentObjectId, EventId, Name, Page,
    deployment_objects::{AcceptedDeploymentObject, DeploymentObject},
    desired_state::Content,
    page::PageQuery,
};
use brokkr_telemetry::{TraceContext, spans};
use http::{HeaderMap, StatusCode, header};
use serde_json::json;
use tracing::Instrument;

use super::{
    page,
    stacks::{deleting, send_span},
};
use crate::{
    domain::manifests::{self, Canonical, Format},
    http::{
        AppState,
        auth::Owner,
        body::{Json, Path, Query, Raw},
        error::Failure,
    },
    store::{NewDeploymentObject, NewEvent, RevisionSource, StackRow, Tx},
};

/// Sends manifests: the next generation of a stack, for all its agents.
///
/// Content that equals the newest generation's is answered with that generation, and nothing rolls out.
#[utoipa::path(put, path = brokkr_api::routes::DEPLOYMENT_OBJECTS, operation_id = "putDeploymentObjects", tag = "deployment objects",
    params(("stack" = Name, Path)), request_body(content((Vec<Object> = "application/json"), (String = "application/yaml"))),
    responses((status = 200, body = AcceptedDeploymentObject), (status = 201, body = AcceptedDeploymentObject),
        (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn put(
    owner: Owner,
    State(state): State<AppState>,
    Path(name): Path<Name>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<(StatusCode, Json<AcceptedDeploymentObject>), Failure> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let format = Format::of_content_type(content_type)?;
    let canonical = spans::validate().in_scope(|| manifests::parse(format, &body).and_then(manifests::canonicalize))?;
    let mut tx = state.db.begin().await?;
    let stack = tx.lock_stack(owner.scope, &name).await?.ok_or_else(|| Failure::not_found("stack", &name))?;
    if stack.deleting_since.is_some() {
        return Err(deleting(&name));
    }
    let agents = tx.count_deployments(stack.id).await?;
    let newest = tx.find_deployment_object(stack.id, stack.generation).await?;
    if let Some(newest) = newest.filter(|newest| newest.digest == canonical.digest) {
        return Ok((StatusCode::OK, Json(AcceptedDeploymentObject { deployment_object: newest, created: false, agents })));
    }
    let deployment_object = store_generation(&mut tx, &state, &owner, &stack, &canonical, agents).await?;
    tx.commit().await?;
    state.changed();
    Ok((StatusCode::CREATED, Json(AcceptedDeploymentObject { deployment_object, created: true, agents })))
}

/// Stores the content and hands it to every agent: one PRODUCER span per generation, whatever the number of agents.
async fn store_generation(
    tx: &mut Tx,
    state: &AppState,
    owner: &Owner,
    stack: &StackRow,
    canonical: &Canonical,
    agents: u64,
) -> Result<DeploymentObject, Failure> {
    let now = state.clock.now();
    let generation = stack.generation + 1;
    let send = send_span(stack, generation, agents);
    let trace = TraceContext::of(&send).or_else(TraceContext::current);
    let work = async {
        let id = DeploymentObjectId(state.ids.uuid(now));
        let new = NewDeploymentObject {
            id,
            stack: stack.id,
            generation,
            digest: &canonical.digest,
            body: &canonical.body,
            objects: canonical.objects,
            trace: trace.as_ref(),
            created_by: owner.key,
            created_at: now,
        };
        tx.insert_deployment_object(&new).await?;
        tx.set_generation(stack.id, generation, now).await?;
        let change_seq = tx.next_change().await?;
        let source = RevisionSource { change_seq, now, fan_out: agents, trace: trace.as_ref() };
        tx.roll_generation(stack.id, generation, &canonical.digest, &source).await?;
        let event = NewEvent {
            id: EventId(state.ids.uuid(now)),
            kind: "deployment_object.created",
            stack: Some(stack.id),
            agent: None,
            generation: Some(generation),
            data: json!({"stack": stack.name, "generation": generation, "digest": canonical.digest, "agents": agents}),
            trace: trace.as_ref(),
            now,
        };
        tx.insert_event(&event).await?;
        tx.publish_change(change_seq).await?;
        Ok::<_, Failure>(id)
    };
    let id = work.instrument(send).await?;
    Ok(DeploymentObject {
        id,
        generation,
        digest: canonical.digest.clone(),
        objects: canonical.objects,
        bytes: canonical.body.len() as u64,
        created_at: now,
        trace_id: trace.as_ref().map(|trace| trace.trace_id().to_string()),
    })
}

/// A page of generations, the newest first.
#[utoipa::path(get, path = brokkr_api::routes::DEPLOYMENT_OBJECTS, operation_id = "listDeploymentObjects", tag = "deployment objects",
    params(("stack" = Name, Path), PageQuery),
    responses((status = 200, body = Page<DeploymentObject>), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn list(
    owner: Owner,
    State(state): State<AppState>,
    Path(name): Path<Name>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<DeploymentObject>>, Failure> {
    let limit = page::limit(&query)?;
    let cursor = page::cursor(&query)?;
    let before = if cursor.is_empty() { Ok(i64::MAX.unsigned_abs()) } else { cursor.parse() };
    let before = before
        .map_err(|_| Failure::new(brokkr_api::ErrorCode::InvalidQuery, "this is no cursor of this list").at("query cursor"))?;
    let stack = state.db.find_stack(owner.scope, &name).await?.ok_or_else(|| Failure::not_found("stack", &name))?;
    let objects = state.db.list_deployment_objects(stack.id, before, limit + 1).await?;
    Ok(Json(page::page(objects, limit, |object| object.generation.to_string())))
}

/// The content of one generation, in canonical form.
#[utoipa::path(get, path = brokkr_api::routes::DEPLOYMENT_OBJECT, operation_id = "getDeploymentObject", tag = "deployment objects",
    params(("stack" = Name, Path), ("generation" = u64, Path)),
    responses((status = 200, body = Content), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn read(
    owner: Owner,
    State(state): State<AppState>,
    Path((name, generation)): Path<(Name, u64)>,
) -> Result<Response, Failure> {
    let stack = state.db.find_stack(owner.scope, &name).await?.ok_or_else(|| Failure::not_found("stack", &name))?;
    let body = state.db.read_content(stack.id, generation).await?;
    let body = body.ok_or_else(|| Failure::not_found("generation", generation))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}
