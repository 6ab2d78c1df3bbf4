//! Agents, as people see them.

use std::collections::HashSet;

use axum::extract::State;
use brokkr_api::{
    AgentId, KeyId, Labels, Name, Page,
    agents::{Agent, CreateAgent, CreatedAgent, UpdateAgent},
    keys::Role,
    page::PageQuery,
};
use brokkr_telemetry::TraceContext;
use http::StatusCode;
use serde_json::json;

use super::page;
use crate::{
    domain::{
        key,
        targeting::{Candidate, Target, changes_of_agent},
    },
    http::{
        AppState,
        auth::Admin,
        body::{Json, Path, Query},
        error::{Failure, name_taken},
    },
    store::{AgentRow, NewAgent, NewEvent, NewKey, RevisionSource, Tx},
};

/// Makes an agent and its first key.
#[utoipa::path(post, path = brokkr_api::routes::AGENTS, operation_id = "createAgent", tag = "agents", request_body = CreateAgent,
    responses((status = 201, body = CreatedAgent), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn create(
    _: Admin,
    State(state): State<AppState>,
    Json(request): Json<CreateAgent>,
) -> Result<(StatusCode, Json<CreatedAgent>), Failure> {
    let now = state.clock.now();
    let id = AgentId(state.ids.uuid(now));
    let (secret, digest) = key::generate(Role::Agent, &*state.ids);
    let mut tx = state.db.begin().await?;
    let new = NewAgent { id, name: &request.name, cluster: &request.cluster, labels: &request.labels };
    tx.insert_agent(&new, now).await.map_err(name_taken("agent", &request.name))?;
    let change = tx.next_change().await?;
    let first_key = NewKey {
        id: KeyId(state.ids.uuid(now)),
        name: request.name.clone(),
        role: Role::Agent,
        generator: None,
        agent: Some(id),
        digest,
        created_at: now,
    };
    tx.insert_key(&first_key, change).await?;
    retarget(&mut tx, &state, id, &request.name, &request.labels, change).await?;
    record(&mut tx, &state, "agent.created", id, json!({"agent": request.name, "cluster": request.cluster})).await?;
    tx.publish_change(change).await?;
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
        created_at: now,
        last_seen_at: None,
    };
    Ok((StatusCode::CREATED, Json(CreatedAgent { agent: state.agent_to_api(row), secret })))
}

/// A page of agents, by name.
#[utoipa::path(get, path = brokkr_api::routes::AGENTS, operation_id = "listAgents", tag = "agents", params(PageQuery),
    responses((status = 200, body = Page<Agent>), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn list(
    _: Admin,
    State(state): State<AppState>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Agent>>, Failure> {
    let limit = page::limit(&query)?;
    let rows = state.db.list_agents(page::cursor(&query)?, limit + 1).await?;
    let agents = rows.into_iter().map(|row| state.agent_to_api(row)).collect();
    Ok(Json(page::page(agents, limit, |agent: &Agent| agent.name.to_string())))
}

/// One agent.
#[utoipa::path(get, path = brokkr_api::routes::AGENT, operation_id = "getAgent", tag = "agents", params(("agent" = Name, Path)),
    responses((status = 200, body = Agent), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn read(_: Admin, State(state): State<AppState>, Path(name): Path<Name>) -> Result<Json<Agent>, Failure> {
    let row = state.db.find_agent(&name).await?.ok_or_else(|| Failure::not_found("agent", &name))?;
    Ok(Json(state.agent_to_api(row)))
}

/// Changes an agent's labels, and with them the stacks that it is concerned by.
#[utoipa::path(patch, path = brokkr_api::routes::AGENT, operation_id = "updateAgent", tag = "agents", params(("agent" = Name, Path)),
    request_body = UpdateAgent, responses((status = 200, body = Agent), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn update(
    _: Admin,
    State(state): State<AppState>,
    Path(name): Path<Name>,
    Json(request): Json<UpdateAgent>,
) -> Result<Json<Agent>, Failure> {
    if let Some(labels) = request.labels {
        let mut tx = state.db.begin().await?;
        let agent = tx.lock_agent(&name).await?.ok_or_else(|| Failure::not_found("agent", &name))?;
        if agent.labels != labels {
            let change = tx.next_change().await?;
            tx.update_labels(agent.id, &labels, state.clock.now()).await?;
            retarget(&mut tx, &state, agent.id, &name, &labels, change).await?;
            record(&mut tx, &state, "agent.updated", agent.id, json!({"agent": name, "labels": labels})).await?;
            tx.publish_change(change).await?;
            tx.commit().await?;
            state.changed();
        }
    }
    read(Admin, State(state), Path(name)).await
}

/// Begins and ends the agent's deployments as its labels say.
async fn retarget(
    tx: &mut Tx,
    state: &AppState,
    id: AgentId,
    name: &Name,
    labels: &Labels,
    change_seq: u64,
) -> Result<(), Failure> {
    let stacks = tx.all_targets().await?;
    let current: HashSet<_> = tx.stacks_of_agent(id).await?.into_iter().collect();
    let targets: Vec<_> = stacks
        .iter()
        .map(|stack| Target {
            id: stack.id,
            selector: &stack.targets,
            generation: stack.generation,
            digest: stack.digest.as_deref(),
        })
        .collect();
    let changes = changes_of_agent(&Candidate { id, name, labels }, &targets, &current);
    let trace = TraceContext::current();
    let source = RevisionSource { change_seq, now: state.clock.now(), fan_out: 1, trace: trace.as_ref() };
    Ok(tx.change_targets(&changes, &source).await?)
}

async fn record(
    tx: &mut Tx,
    state: &AppState,
    kind: &'static str,
    agent: AgentId,
    data: serde_json::Value,
) -> Result<(), Failure> {
    let now = state.clock.now();
    let trace = TraceContext::current();
    let event = NewEvent {
        id: brokkr_api::EventId(state.ids.uuid(now)),
        kind,
        stack: None,
        agent: Some(agent),
        generation: None,
        data,
        trace: trace.as_ref(),
        now,
    };
    Ok(tx.insert_event(&event).await?)
}
