//! Stacks.

use std::collections::HashSet;

use axum::extract::State;
use brokkr_api::{
    ErrorCode, Name, Page, StackId,
    page::PageQuery,
    stacks::{PutStack, Stack},
};
use brokkr_telemetry::{
    TraceContext,
    spans::{self, SendDeployment},
};
use http::StatusCode;
use serde_json::json;
use tracing::{Instrument, Span};

use super::page;
use crate::{
    domain::targeting::{Candidate, Target, changes_of_stack},
    http::{
        AppState,
        auth::Owner,
        body::{Json, Path, Query},
        error::{Failure, name_taken},
    },
    store::{NewEvent, RevisionSource, StackRow, Tx},
};

/// Creates a stack or replaces its settings.
#[utoipa::path(put, path = brokkr_api::routes::STACK, operation_id = "putStack", tag = "stacks", params(("stack" = Name, Path)),
    request_body = PutStack,
    responses((status = 200, body = Stack), (status = 201, body = Stack), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn put(
    owner: Owner,
    State(state): State<AppState>,
    Path(name): Path<Name>,
    Json(request): Json<PutStack>,
) -> Result<(StatusCode, Json<Stack>), Failure> {
    request.targets.validate().map_err(|error| Failure::new(ErrorCode::InvalidField, error.to_string()).at("targets"))?;
    match put_once(&owner, &state, &name, request.clone()).await {
        // Somebody made it in the meantime: then this replaces its settings.
        Err(failure) if failure.problem.code == ErrorCode::NameTaken => put_once(&owner, &state, &name, request).await,
        result => result,
    }
}

async fn put_once(owner: &Owner, state: &AppState, name: &Name, request: PutStack) -> Result<(StatusCode, Json<Stack>), Failure> {
    let now = state.clock.now();
    let mut tx = state.db.begin().await?;
    let existing = tx.lock_stack(owner.scope, name).await?;
    let created = existing.is_none();
    let stack = match existing {
        Some(stack) if stack.deleting_since.is_some() => return Err(deleting(name)),
        Some(stack) if stack.labels == request.labels && stack.targets == request.targets => {
            let agents = tx.count_deployments(stack.id).await?;
            return Ok((StatusCode::OK, Json(stack.into_api(agents))));
        }
        Some(stack) => {
            let stack = StackRow { labels: request.labels, targets: request.targets, updated_at: now, ..stack };
            tx.update_stack(&stack).await?;
            stack
        }
        None => {
            let stack = StackRow {
                id: StackId(state.ids.uuid(now)),
                name: name.clone(),
                generator: owner.scope.generator(),
                labels: request.labels,
                targets: request.targets,
                generation: 0,
                created_at: now,
                updated_at: now,
                deleting_since: None,
            };
            // Two may create it at once; the second one is told and can ask again.
            tx.insert_stack(&stack).await.map_err(name_taken("stack", &name))?;
            stack
        }
    };
    let change = tx.next_change().await?;
    retarget(&mut tx, &stack, change).await?;
    let kind = if created { "stack.created" } else { "stack.updated" };
    record(&mut tx, state, kind, &stack).await?;
    let agents = tx.count_deployments(stack.id).await?;
    tx.publish_change(change).await?;
    tx.commit().await?;
    state.changed();
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(stack.into_api(agents))))
}

/// A page of stacks, by name.
#[utoipa::path(get, path = brokkr_api::routes::STACKS, operation_id = "listStacks", tag = "stacks", params(PageQuery),
    responses((status = 200, body = Page<Stack>), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn list(
    owner: Owner,
    State(state): State<AppState>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Stack>>, Failure> {
    let limit = page::limit(&query)?;
    let cursor = page::cursor(&query)?;
    let after = cursor.split_once('.').unwrap_or((cursor, ""));
    let stacks = state.db.list_stacks(owner.scope, after, limit + 1).await?;
    Ok(Json(page::page(stacks, limit, |stack| format!("{}.{}", stack.name, stack.id))))
}

/// One stack.
#[utoipa::path(get, path = brokkr_api::routes::STACK, operation_id = "getStack", tag = "stacks", params(("stack" = Name, Path)),
    responses((status = 200, body = Stack), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn read(owner: Owner, State(state): State<AppState>, Path(name): Path<Name>) -> Result<Json<Stack>, Failure> {
    let stack = state.db.find_stack(owner.scope, &name).await?;
    stack.map(Json).ok_or_else(|| Failure::not_found("stack", &name))
}

/// Asks for the deletion of a stack and of everything that it delivered. It goes when every agent has acknowledged.
#[utoipa::path(delete, path = brokkr_api::routes::STACK, operation_id = "deleteStack", tag = "stacks", params(("stack" = Name, Path)),
    responses((status = 202, body = Stack), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn delete(
    owner: Owner,
    State(state): State<AppState>,
    Path(name): Path<Name>,
) -> Result<(StatusCode, Json<Stack>), Failure> {
    let now = state.clock.now();
    let mut tx = state.db.begin().await?;
    let stack = tx.lock_stack(owner.scope, &name).await?.ok_or_else(|| Failure::not_found("stack", &name))?;
    let agents = tx.count_deployments(stack.id).await?;
    if stack.deleting_since.is_some() {
        return Ok((StatusCode::ACCEPTED, Json(stack.into_api(agents))));
    }
    let stack = StackRow { deleting_since: Some(now), updated_at: now, ..stack };
    tx.mark_deleting(stack.id, now).await?;
    let change = tx.next_change().await?;
    let send = send_span(&stack, stack.generation, agents);
    let trace = TraceContext::of(&send).or_else(TraceContext::current);
    // From here on the tombstones wait to be picked up.
    let source = RevisionSource { change_seq: change, now: state.clock.now(), fan_out: agents, trace: trace.as_ref() };
    let agents = tx.delete_deployments(stack.id, &source).instrument(send).await?;
    record(&mut tx, &state, "stack.deletion_requested", &stack).await?;
    if tx.finish_deletion(stack.id, now).await? {
        record(&mut tx, &state, "stack.deleted", &stack).await?;
    }
    tx.publish_change(change).await?;
    tx.commit().await?;
    state.changed();
    Ok((StatusCode::ACCEPTED, Json(stack.into_api(agents))))
}

/// The PRODUCER span of a change of a stack: one per generation, whatever the number of agents.
pub(super) fn send_span(stack: &StackRow, generation: u64, agents: u64) -> Span {
    spans::send_deployment_object(SendDeployment {
        stack: stack.name.as_str(),
        stack_id: &stack.id.to_string(),
        generation: i64::try_from(generation).unwrap_or(i64::MAX),
        fan_out: usize::try_from(agents).unwrap_or(usize::MAX),
    })
}

pub(super) fn deleting(name: &Name) -> Failure {
    let detail = format!("stack {name} is being deleted: wait until every agent has acknowledged (brokkr rollout status {name})");
    Failure::new(ErrorCode::StackDeleting, detail)
}

/// Begins and ends the stack's deployments as its selector says.
async fn retarget(tx: &mut Tx, stack: &StackRow, change_seq: u64) -> Result<(), Failure> {
    let agents = tx.all_agents().await?;
    let current: HashSet<_> = tx.agents_of_stack(stack.id).await?.into_iter().collect();
    let newest = tx.find_deployment_object(stack.id, stack.generation).await?;
    let target = Target {
        id: stack.id,
        selector: &stack.targets,
        generation: stack.generation,
        digest: newest.as_ref().map(|object| object.digest.as_str()),
    };
    let candidates: Vec<_> =
        agents.iter().map(|agent| Candidate { id: agent.id, name: &agent.name, labels: &agent.labels }).collect();
    let changes = changes_of_stack(&target, &candidates, &current);
    let trace = TraceContext::current();
    let source = RevisionSource { change_seq, now: stack.updated_at, fan_out: changes.len() as u64, trace: trace.as_ref() };
    Ok(tx.change_targets(&changes, &source).await?)
}

async fn record(tx: &mut Tx, state: &AppState, kind: &'static str, stack: &StackRow) -> Result<(), Failure> {
    let trace = TraceContext::current();
    let event = NewEvent {
        id: brokkr_api::EventId(state.ids.uuid(stack.updated_at)),
        kind,
        stack: Some(stack.id),
        agent: None,
        generation: Some(stack.generation),
        data: json!({"stack": stack.name, "generation": stack.generation}),
        trace: trace.as_ref(),
        now: stack.updated_at,
    };
    Ok(tx.insert_event(&event).await?)
}
