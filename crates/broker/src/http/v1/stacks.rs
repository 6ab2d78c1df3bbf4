//! Stacks.

use axum::extract::State;
use brokkr_api::{
    ErrorCode, Name, Page, StackId,
    rollouts::Phase,
    stacks::{MAX_PREVIEW_TOKEN, PutStack, Stack, StacksQuery},
};
use brokkr_telemetry::{
    TraceContext,
    spans::{self, SendDeployment},
};
use http::{HeaderMap, StatusCode};
use serde_json::json;
use tracing::{Instrument, Span};
use uuid::Uuid;

use super::{page, phases, targets};
use crate::{
    domain::policy,
    http::{
        AppState,
        auth::{Allowed, Caller, StacksRead, StacksWrite},
        body::{Json, Path, Query},
        conditional::{self, Versioned},
        error::{Failure, name_taken},
        record::{Change, Resource, record},
    },
    store::{RevisionSource, StackFilter, StackRow, Tx},
};

/// Creates a stack or replaces its settings.
///
/// A change that takes the stack from more than 30 % of its agents, and from at least 3, needs the token of `targets:preview`. With
/// another policy, which is the default where the request has none, every agent delivers the stack anew.
#[utoipa::path(put, path = brokkr_api::routes::STACK, operation_id = "putStack", tag = "stacks",
    params(("stack" = Name, Path), ("if-match" = Option<String>, Header, description = "Only when the stack's ETag is this one.")),
    request_body = PutStack,
    responses((status = 200, body = Stack), (status = 201, body = Stack), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn put(
    caller: Allowed<StacksWrite>,
    State(state): State<AppState>,
    Path(name): Path<Name>,
    headers: HeaderMap,
    Json(request): Json<PutStack>,
) -> Result<Versioned<Stack>, Failure> {
    targets::validate(&request.targets)?;
    let sane = policy::check_labels(&request.labels).and_then(|()| policy::check(&request.policy));
    sane.map_err(|wrong| Failure::new(ErrorCode::InvalidField, wrong.detail).at(wrong.place))?;
    if request.preview_token.as_ref().is_some_and(|token| token.chars().count() > MAX_PREVIEW_TOKEN) {
        let detail = format!("a preview's token has at most {MAX_PREVIEW_TOKEN} characters");
        return Err(Failure::new(ErrorCode::InvalidField, detail).at("preview_token"));
    }
    let condition = conditional::if_match(&headers)?;
    match put_once(&caller, &state, &name, condition, &request).await {
        // Somebody made it in the meantime: then this replaces its settings.
        Err(failure) if failure.problem.code == ErrorCode::NameTaken => {
            put_once(&caller, &state, &name, condition, &request).await
        }
        result => result,
    }
}

async fn put_once(
    caller: &Caller,
    state: &AppState,
    name: &Name,
    condition: Option<u64>,
    request: &PutStack,
) -> Result<Versioned<Stack>, Failure> {
    let now = state.clock.now();
    let mut tx = state.db.begin().await?;
    let existing = tx.lock_stack(caller.scope, name).await?;
    let created = existing.is_none();
    let mut stack = match existing {
        Some(stack) => {
            if stack.deleting_since.is_some() {
                return Err(deleting(name));
            }
            conditional::check(condition, stack.version)?;
            stack
        }
        None if condition.is_some() => return Err(conditional::changed()),
        None => new_stack(caller, state, name)?,
    };
    let changed = if created { Vec::new() } else { differences(&stack, request) };
    if !created && changed.is_empty() {
        drop(tx);
        return found(caller, state, name).await;
    }
    // Whoever takes the change number sees every agent and every stack that was made before it.
    let change = tx.next_change().await?;
    if created {
        stack.labels = request.labels.clone();
        stack.targets = request.targets.clone();
        stack.policy = request.policy.clone();
        // Two may create it at once; the second one is told and can ask again.
        let stored = tx.insert_stack(&stack, caller.row.quota.max_stacks).await.map_err(name_taken("stack", name))?;
        if !stored {
            let detail = "the generator has as many stacks as its quota allows: delete one, or ask an admin for more";
            return Err(Failure::new(ErrorCode::QuotaExceeded, detail));
        }
    }
    let found = tx.agents_and_stack(stack.id).await?;
    let in_force = policy::in_force(request.policy.clone(), &request.labels);
    let other_policy = policy::in_force(stack.policy.clone(), &stack.labels) != in_force;
    let mut consequence = targets::consequence(&stack, &request.targets, &found.agents, other_policy);
    targets::check_token(&stack, &request.targets, &mut consequence, request.preview_token.as_deref())?;
    stack.labels = request.labels.clone();
    stack.targets = request.targets.clone();
    stack.policy = request.policy.clone();
    stack.updated_at = now;
    if !created {
        tx.update_stack(&stack).await?;
        stack.version += 1;
    }
    targets::carry_out(&mut tx, &stack, &consequence, change).await?;
    let kind = if created { "stack.created" } else { "stack.updated" };
    leave(&mut tx, state, caller, kind, &stack, &changed).await?;
    tx.publish_change(change).await?;
    tx.commit().await?;
    state.changed();
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    let version = stack.version;
    Ok(Versioned(status, version, stack.into_api(consequence.agents(), found.fleet)))
}

/// Which settings of a stack a request changes.
fn differences(stack: &StackRow, request: &PutStack) -> Vec<&'static str> {
    let differs = [
        ("labels", stack.labels != request.labels),
        ("targets", stack.targets != request.targets),
        ("policy", stack.policy != request.policy),
    ];
    differs.into_iter().filter_map(|(setting, differs)| differs.then_some(setting)).collect()
}

fn new_stack(caller: &Caller, state: &AppState, name: &Name) -> Result<StackRow, Failure> {
    if Uuid::try_parse(name.as_str()).is_ok() {
        let detail = "a name that is a UUID would be taken for a stack's id: there is no such stack, and none can be called so";
        return Err(Failure::new(ErrorCode::NotFound, detail).at("path"));
    }
    let now = state.clock.now();
    Ok(StackRow {
        id: StackId(state.ids.uuid(now)),
        name: name.clone(),
        generator: caller.scope.generator(),
        labels: brokkr_api::Labels::default(),
        targets: brokkr_api::TargetSelector::default(),
        policy: brokkr_api::policy::StackPolicy::default(),
        generation: 0,
        digest: None,
        version: 1,
        suspension: None,
        created_at: now,
        updated_at: now,
        deleting_since: None,
    })
}

/// A page of stacks, by name.
#[utoipa::path(get, path = brokkr_api::routes::STACKS, operation_id = "listStacks", tag = "stacks", params(StacksQuery),
    responses((status = 200, body = Page<Stack>), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn list(
    caller: Allowed<StacksRead>,
    State(state): State<AppState>,
    Query(query): Query<StacksQuery>,
) -> Result<Json<Page<Stack>>, Failure> {
    let limit = page::limit(query.limit)?;
    let cursor = page::cursor(query.cursor.as_deref())?;
    let after = cursor.split_once('.').unwrap_or((cursor, ""));
    let filter = StackFilter { label: page::label(query.label.as_deref())?, generator: query.generator.as_ref() };
    let stacks = state.db.list_stacks(caller.scope, &filter, after, limit + 1).await?;
    Ok(Json(page::page(stacks, limit, |stack| format!("{}.{}", stack.name, stack.id))))
}

/// One stack. Who is not a generator addresses the stacks of generators by their id.
#[utoipa::path(get, path = brokkr_api::routes::STACK, operation_id = "getStack", tag = "stacks", params(("stack" = Name, Path)),
    responses((status = 200, body = Stack), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn read(
    caller: Allowed<StacksRead>,
    State(state): State<AppState>,
    Path(name): Path<Name>,
) -> Result<Versioned<Stack>, Failure> {
    found(&caller, &state, &name).await
}

pub(super) async fn found(caller: &Caller, state: &AppState, name: &Name) -> Result<Versioned<Stack>, Failure> {
    let found = state.db.find_stack(caller.scope, name).await?.ok_or_else(|| Failure::not_found("stack", name))?;
    Ok(Versioned(StatusCode::OK, found.row.version, found.into_api()))
}

/// Asks for the deletion of a stack and of everything that it delivered. It goes when every agent has acknowledged.
#[utoipa::path(delete, path = brokkr_api::routes::STACK, operation_id = "deleteStack", tag = "stacks",
    params(("stack" = Name, Path), ("if-match" = Option<String>, Header, description = "Only when the stack's ETag is this one.")),
    responses((status = 202, body = Stack), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn delete(
    caller: Allowed<StacksWrite>,
    State(state): State<AppState>,
    Path(name): Path<Name>,
    headers: HeaderMap,
) -> Result<Versioned<Stack>, Failure> {
    let condition = conditional::if_match(&headers)?;
    let now = state.clock.now();
    let mut tx = state.db.begin().await?;
    let locked = tx.lock_stack_to_delete(caller.scope, &name).await?;
    let (mut stack, before) = locked.ok_or_else(|| Failure::not_found("stack", &name))?;
    if stack.deleting_since.is_some() {
        drop(tx);
        let Versioned(_, version, stack) = found(&caller, &state, &name).await?;
        return Ok(Versioned(StatusCode::ACCEPTED, version, stack));
    }
    conditional::check(condition, stack.version)?;
    stack.deleting_since = Some(now);
    stack.updated_at = now;
    stack.version += 1;
    let change = tx.next_change().await?;
    let send = send_span(&stack, stack.generation, None);
    let trace = TraceContext::of(&send).or_else(TraceContext::current);
    // From here on the tombstones wait to be picked up.
    let source = RevisionSource { change_seq: change, now: state.clock.now(), trace: trace.as_ref() };
    let plan = send.in_scope(spans::plan_rollout);
    let deleted = tx.delete_deployments(stack.id, &source).instrument(plan.clone()).await;
    let agents = deleted.inspect_err(|error| {
        for span in [&send, &plan] {
            spans::record_error(span, error.error_type());
        }
    })?;
    spans::record_agents(&plan, agents);
    drop(plan);
    let to = if stack.generation == 0 { Phase::Deleted } else { Phase::Deleting };
    phases::of_stack(&stack, phases::all_to(&before, to), "deletion_requested");
    spans::record_fan_out(&send, agents);
    drop(send);
    // What was never delivered, or is gone everywhere already, is deleted at once.
    let finished = agents == 0 || stack.generation == 0;
    tx.mark_deleting(stack.id, finished, now).await?;
    let kind = if finished { "stack.deleted" } else { "stack.deletion_requested" };
    leave(&mut tx, &state, &caller, kind, &stack, &[]).await?;
    if finished {
        tx.drop_content(&[stack.id]).await?;
    } else {
        tx.publish_change(change).await?;
    }
    tx.commit().await?;
    state.changed();
    let version = stack.version;
    Ok(Versioned(StatusCode::ACCEPTED, version, stack.into_api(if finished { 0 } else { agents }, None)))
}

/// The PRODUCER span of a change of a stack: one per generation, whatever the number of agents.
pub(super) fn send_span(stack: &StackRow, generation: u64, agents: Option<u64>) -> Span {
    spans::send_deployment_object(SendDeployment {
        stack: stack.name.as_str(),
        stack_id: &stack.id.to_string(),
        generation: i64::try_from(generation).unwrap_or(i64::MAX),
        fan_out: agents,
    })
}

pub(super) fn deleting(name: &Name) -> Failure {
    let detail = format!("stack {name} is being deleted: wait until every agent has acknowledged (brokkr rollout status {name})");
    Failure::new(ErrorCode::StackDeleting, detail)
}

/// Writes event and audit entry of a change of a stack, with the settings that are others now.
pub(super) async fn leave(
    tx: &mut Tx,
    state: &AppState,
    caller: &Caller,
    kind: &'static str,
    stack: &StackRow,
    changed: &[&str],
) -> Result<(), Failure> {
    let mut data = json!({"stack": stack.name, "generation": stack.generation});
    if !changed.is_empty() {
        data["changed"] = json!(changed);
    }
    let change = Change {
        kind,
        resource: Resource::new("stack", stack.id, &stack.name),
        stack: Some(stack.id),
        agent: None,
        generation: Some(stack.generation),
        data,
        trace: None,
        now: stack.updated_at,
    };
    record(tx, state, caller, change).await
}
