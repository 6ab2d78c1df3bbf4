//! Agents, as people see them.

use axum::extract::State;
use brokkr_api::{
    AgentId, KeyId, Labels, Name, Page, Timestamp,
    agents::{Agent, AgentsQuery, CreateAgent, CreatedAgent, UpdateAgent},
    keys::Role,
};
use brokkr_telemetry::{TraceContext, spans};
use http::{HeaderMap, StatusCode};
use serde_json::json;

use super::{page, phases};
use crate::{
    domain::{
        key,
        targeting::{Candidate, Target, change},
    },
    http::{
        AppState,
        auth::{AgentsRead, AgentsWrite, Allowed},
        body::{Json, Path, Query},
        conditional::{self, Versioned},
        error::{Failure, name_taken},
        record::{Actor, Change, Resource, record},
    },
    store::{AgentFilter, AgentRow, NewAgent, NewKey, RevisionSource, StackTargets, Tx},
};

/// Makes an agent and its first key.
#[utoipa::path(post, path = brokkr_api::routes::AGENTS, operation_id = "createAgent", tag = "agents", request_body = CreateAgent,
    responses((status = 201, body = CreatedAgent), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn create(
    caller: Allowed<AgentsWrite>,
    State(state): State<AppState>,
    Json(request): Json<CreateAgent>,
) -> Result<(StatusCode, Json<CreatedAgent>), Failure> {
    let now = state.clock.now();
    let id = AgentId(state.ids.uuid(now));
    let (secret, digest) = key::generate(Role::Agent, &*state.ids);
    let mut tx = state.db.begin().await?;
    let new = NewAgent { id, name: &request.name, cluster: &request.cluster, labels: &request.labels };
    tx.insert_agent(&new, now).await.map_err(name_taken("agent", &request.name))?;
    // Whoever takes the change number sees every stack that was made before it.
    let change = tx.next_change().await?;
    let first_key = NewKey::of_agent(KeyId(state.ids.uuid(now)), id, request.name.clone(), digest, now);
    tx.insert_key(&first_key, change).await?;
    retarget(&mut tx, id, &request.name, &request.labels, change, now).await?;
    leave(&mut tx, &state, &caller, "agent.created", (id, &request.name), json!({"cluster": request.cluster}), now).await?;
    // A new agent waits for nothing yet: its first poll reads everything.
    tx.notify(change).await?;
    tx.commit().await?;
    state.changed();
    let row = AgentRow {
        id,
        name: request.name,
        cluster: request.cluster,
        labels: request.labels,
        cluster_uid: None,
        version: None,
        kubernetes_version: None,
        protocol: None,
        capabilities: Vec::new(),
        suspension: None,
        fleet: None,
        deactivated_at: None,
        offline_since: None,
        rotation_wanted: false,
        row_version: 1,
        created_at: now,
        last_seen_at: None,
    };
    Ok((StatusCode::CREATED, Json(CreatedAgent { agent: state.agent_to_api(row), secret })))
}

/// A page of agents, by name.
#[utoipa::path(get, path = brokkr_api::routes::AGENTS, operation_id = "listAgents", tag = "agents", params(AgentsQuery),
    responses((status = 200, body = Page<Agent>), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn list(
    _: Allowed<AgentsRead>,
    State(state): State<AppState>,
    Query(query): Query<AgentsQuery>,
) -> Result<Json<Page<Agent>>, Failure> {
    let limit = page::limit(query.limit)?;
    let filter = AgentFilter {
        label: page::label(query.label.as_deref())?,
        online: query.online.map(|online| (online, state.active_since())),
    };
    let rows = state.db.list_agents(&filter, page::cursor(query.cursor.as_deref())?, limit + 1).await?;
    let agents = rows.into_iter().map(|row| state.agent_to_api(row)).collect();
    Ok(Json(page::page(agents, limit, |agent: &Agent| agent.name.to_string())))
}

/// One agent.
#[utoipa::path(get, path = brokkr_api::routes::AGENT, operation_id = "getAgent", tag = "agents", params(("agent" = Name, Path)),
    responses((status = 200, body = Agent), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn read(
    _: Allowed<AgentsRead>,
    State(state): State<AppState>,
    Path(name): Path<Name>,
) -> Result<Versioned<Agent>, Failure> {
    found(&state, &name).await
}

pub(super) async fn found(state: &AppState, name: &Name) -> Result<Versioned<Agent>, Failure> {
    let row = state.db.find_agent(name).await?.ok_or_else(|| Failure::not_found("agent", name))?;
    Ok(Versioned(StatusCode::OK, row.row_version, state.agent_to_api(row)))
}

/// Changes an agent's labels, and with them the stacks that it is concerned by.
#[utoipa::path(patch, path = brokkr_api::routes::AGENT, operation_id = "updateAgent", tag = "agents",
    params(("agent" = Name, Path), ("if-match" = Option<String>, Header, description = "Only when the agent's ETag is this one.")),
    request_body = UpdateAgent, responses((status = 200, body = Agent), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn update(
    caller: Allowed<AgentsWrite>,
    State(state): State<AppState>,
    Path(name): Path<Name>,
    headers: HeaderMap,
    Json(request): Json<UpdateAgent>,
) -> Result<Versioned<Agent>, Failure> {
    let condition = conditional::if_match(&headers)?;
    let now = state.clock.now();
    let mut tx = state.db.begin().await?;
    let mut agent = tx.lock_agent(&name).await?.ok_or_else(|| Failure::not_found("agent", &name))?;
    conditional::check(condition, agent.row_version)?;
    if let Some(labels) = request.labels.filter(|labels| *labels != agent.labels) {
        let change = tx.next_change().await?;
        tx.update_labels(agent.id, &labels, now).await?;
        retarget(&mut tx, agent.id, &name, &labels, change, now).await?;
        leave(&mut tx, &state, &caller, "agent.updated", (agent.id, &name), json!({"labels": labels}), now).await?;
        // The agent itself, whether its stacks change or not: how it traces may follow its labels.
        tx.mark_agents(&[agent.id], change).await?;
        tx.commit().await?;
        state.changed();
        agent.labels = labels;
        agent.row_version += 1;
    }
    Ok(Versioned(StatusCode::OK, agent.row_version, state.agent_to_api(agent)))
}

/// Begins and ends the agent's deployments as its labels say.
pub(super) async fn retarget(
    tx: &mut Tx,
    id: AgentId,
    name: &Name,
    labels: &Labels,
    change_seq: u64,
    now: Timestamp,
) -> Result<(), Failure> {
    let candidate = Candidate { id, name, labels };
    let stacks = tx.targets_and_agent(id).await?;
    let concerns = |stack: &StackTargets| {
        let (selector, digest) = (&stack.targets, stack.digest.as_deref());
        change(&Target { id: stack.id, selector, generation: stack.generation, digest }, &candidate, stack.current)
    };
    let changes: Vec<_> = spans::target().in_scope(|| stacks.iter().filter_map(concerns).collect());
    let trace = TraceContext::current();
    tx.change_targets(&changes, &RevisionSource { change_seq, now, trace: trace.as_ref() }).await?;
    phases::of_agent(id, name, phases::begun(&changes), "labels_changed");
    Ok(())
}

/// Writes event and audit entry of a change of an agent.
pub(super) async fn leave<'a>(
    tx: &mut Tx,
    state: &AppState,
    actor: impl Into<Actor<'a>>,
    kind: &'static str,
    (id, name): (AgentId, &Name),
    data: serde_json::Value,
    now: Timestamp,
) -> Result<(), Failure> {
    record(tx, state, actor, change_of(kind, (id, name), data, now)).await
}

/// A change of an agent.
pub(super) fn change_of<'a>(
    kind: &'static str,
    (id, name): (AgentId, &'a Name),
    data: serde_json::Value,
    now: Timestamp,
) -> Change<'a> {
    let resource = Resource::new("agent", id, name);
    Change { kind, resource, stack: None, agent: Some(id), generation: None, data: named(data, name), trace: None, now }
}

/// The agent's name belongs to every event about it.
fn named(mut data: serde_json::Value, name: &Name) -> serde_json::Value {
    data["agent"] = json!(name);
    data
}
