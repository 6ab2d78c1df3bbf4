//! Suspending and resuming: a stack, an agent, the whole fleet. While it lasts nothing is applied, deleted or repaired.

use axum::extract::State;
use brokkr_api::{
    ErrorCode, Name, Timestamp,
    agents::Agent,
    stacks::Stack,
    suspension::{Fleet, MAX_SUSPENSION_REASON, Suspend, SuspensionScope},
};
use http::StatusCode;
use serde_json::{Value, json};

use super::{agents, stacks};
use crate::{
    http::{
        AppState,
        auth::{AgentsRead, AgentsWrite, Allowed, Caller, FleetWrite, StacksWrite},
        body::{Json, Path},
        conditional::Versioned,
        error::Failure,
        record::{Change, Resource, record},
    },
    store::{StoredSuspension, widest},
};

fn suspension(caller: &Caller, request: &Suspend, now: Timestamp) -> Result<StoredSuspension, Failure> {
    let reason = request.reason.trim();
    let sane = (1..=MAX_SUSPENSION_REASON).contains(&reason.chars().count()) && !reason.chars().any(char::is_control);
    if !sane {
        let detail = format!("say why, in 1 to {MAX_SUSPENSION_REASON} printable characters: everybody who waits reads it");
        return Err(Failure::new(ErrorCode::InvalidField, detail).at("reason"));
    }
    Ok(StoredSuspension { reason: reason.to_owned(), by: caller.name.to_string(), since: now.as_micros() })
}

fn told(suspension: Option<&StoredSuspension>) -> Value {
    suspension.map_or_else(|| json!({}), |suspension| json!({"reason": suspension.reason}))
}

/// Suspends a stack on all its agents. Suspended again it has the new reason.
#[utoipa::path(put, path = brokkr_api::routes::STACK_SUSPENSION, operation_id = "suspendStack", tag = "stacks",
    params(("stack" = Name, Path)), request_body = Suspend,
    responses((status = 200, body = Stack), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn suspend_stack(
    caller: Allowed<StacksWrite>,
    State(state): State<AppState>,
    Path(name): Path<Name>,
    Json(request): Json<Suspend>,
) -> Result<Versioned<Stack>, Failure> {
    let suspension = suspension(&caller, &request, state.clock.now())?;
    set_stack(&caller, &state, &name, Some(suspension)).await
}

/// Resumes a stack. One that is not suspended stays as it is.
#[utoipa::path(delete, path = brokkr_api::routes::STACK_SUSPENSION, operation_id = "resumeStack", tag = "stacks",
    params(("stack" = Name, Path)), responses((status = 200, body = Stack), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn resume_stack(
    caller: Allowed<StacksWrite>,
    State(state): State<AppState>,
    Path(name): Path<Name>,
) -> Result<Versioned<Stack>, Failure> {
    set_stack(&caller, &state, &name, None).await
}

async fn set_stack(
    caller: &Caller,
    state: &AppState,
    name: &Name,
    suspension: Option<StoredSuspension>,
) -> Result<Versioned<Stack>, Failure> {
    let now = state.clock.now();
    let mut tx = state.db.begin().await?;
    let stack = tx.lock_stack(caller.scope, name).await?.ok_or_else(|| Failure::not_found("stack", name))?;
    if suspension.is_some() || stack.suspension.is_some() {
        let change_seq = tx.next_change().await?;
        tx.suspend_stack(stack.id, suspension.as_ref(), now).await?;
        tx.touch_deployments(stack.id, change_seq).await?;
        let change = Change {
            kind: if suspension.is_some() { "stack.suspended" } else { "stack.resumed" },
            resource: Resource::new("stack", stack.id, &stack.name),
            stack: Some(stack.id),
            agent: None,
            generation: Some(stack.generation),
            data: told(suspension.as_ref()),
            trace: None,
            now,
        };
        record(&mut tx, state, caller, change).await?;
        tx.publish_change(change_seq).await?;
        tx.commit().await?;
        state.changed();
    }
    stacks::found(caller, state, name).await
}

/// Suspends everything in one cluster.
#[utoipa::path(put, path = brokkr_api::routes::AGENT_SUSPENSION, operation_id = "suspendAgent", tag = "agents",
    params(("agent" = Name, Path)), request_body = Suspend,
    responses((status = 200, body = Agent), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn suspend_agent(
    caller: Allowed<AgentsWrite>,
    State(state): State<AppState>,
    Path(name): Path<Name>,
    Json(request): Json<Suspend>,
) -> Result<Versioned<Agent>, Failure> {
    let suspension = suspension(&caller, &request, state.clock.now())?;
    set_agent(&caller, &state, &name, Some(suspension)).await
}

/// Resumes an agent. One that is not suspended stays as it is.
#[utoipa::path(delete, path = brokkr_api::routes::AGENT_SUSPENSION, operation_id = "resumeAgent", tag = "agents",
    params(("agent" = Name, Path)), responses((status = 200, body = Agent), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn resume_agent(
    caller: Allowed<AgentsWrite>,
    State(state): State<AppState>,
    Path(name): Path<Name>,
) -> Result<Versioned<Agent>, Failure> {
    set_agent(&caller, &state, &name, None).await
}

async fn set_agent(
    caller: &Caller,
    state: &AppState,
    name: &Name,
    suspension: Option<StoredSuspension>,
) -> Result<Versioned<Agent>, Failure> {
    let now = state.clock.now();
    let mut tx = state.db.begin().await?;
    let agent = tx.lock_agent(name).await?.ok_or_else(|| Failure::not_found("agent", name))?;
    if suspension.is_some() || agent.suspension.is_some() {
        let change_seq = tx.next_change().await?;
        tx.suspend_agent(agent.id, suspension.as_ref(), change_seq, now).await?;
        let change = Change {
            kind: if suspension.is_some() { "agent.suspended" } else { "agent.resumed" },
            resource: Resource::new("agent", agent.id, &agent.name),
            stack: None,
            agent: Some(agent.id),
            generation: None,
            data: told(suspension.as_ref()),
            trace: None,
            now,
        };
        record(&mut tx, state, caller, change).await?;
        tx.commit().await?;
        state.changed();
    }
    agents::found(state, name).await
}

/// The fleet as a whole.
#[utoipa::path(get, path = brokkr_api::routes::FLEET, operation_id = "getFleet", tag = "fleet",
    responses((status = 200, body = Fleet), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn fleet(_: Allowed<AgentsRead>, State(state): State<AppState>) -> Result<Json<Fleet>, Failure> {
    read_fleet(&state).await
}

/// Suspends the whole fleet: nothing is applied or deleted anywhere.
#[utoipa::path(put, path = brokkr_api::routes::FLEET_SUSPENSION, operation_id = "suspendFleet", tag = "fleet", request_body = Suspend,
    responses((status = 200, body = Fleet), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn suspend_fleet(
    caller: Allowed<FleetWrite>,
    State(state): State<AppState>,
    Json(request): Json<Suspend>,
) -> Result<(StatusCode, Json<Fleet>), Failure> {
    let suspension = suspension(&caller, &request, state.clock.now())?;
    set_fleet(&caller, &state, Some(suspension)).await
}

/// Resumes the fleet. Stacks and agents that are suspended themselves stay so.
#[utoipa::path(delete, path = brokkr_api::routes::FLEET_SUSPENSION, operation_id = "resumeFleet", tag = "fleet",
    responses((status = 200, body = Fleet), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn resume_fleet(
    caller: Allowed<FleetWrite>,
    State(state): State<AppState>,
) -> Result<(StatusCode, Json<Fleet>), Failure> {
    set_fleet(&caller, &state, None).await
}

async fn set_fleet(
    caller: &Caller,
    state: &AppState,
    suspension: Option<StoredSuspension>,
) -> Result<(StatusCode, Json<Fleet>), Failure> {
    let now = state.clock.now();
    let mut tx = state.db.begin().await?;
    let before = tx.lock_fleet().await?;
    if suspension.is_some() || before.is_some() {
        let change_seq = tx.next_change().await?;
        tx.suspend_fleet(suspension.as_ref()).await?;
        let change = Change {
            kind: if suspension.is_some() { "fleet.suspended" } else { "fleet.resumed" },
            resource: Resource::only("fleet"),
            stack: None,
            agent: None,
            generation: None,
            data: told(suspension.as_ref()),
            trace: None,
            now,
        };
        record(&mut tx, state, caller, change).await?;
        tx.mark_fleet(change_seq).await?;
        tx.commit().await?;
        state.changed();
    }
    Ok((StatusCode::OK, read_fleet(state).await?))
}

async fn read_fleet(state: &AppState) -> Result<Json<Fleet>, Failure> {
    let row = state.db.count_fleet(state.active_since()).await?;
    let installation = state.feed.installation();
    Ok(Json(Fleet {
        installation: installation.id.clone(),
        epoch: installation.epoch.clone(),
        suspended: widest([(SuspensionScope::Fleet, row.suspension)]),
        agents: row.agents,
        online: row.online,
        stacks: row.stacks,
    }))
}
