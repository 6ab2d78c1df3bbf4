//! Where stacks stand on agents: lists, and one of them object by object.

use axum::extract::State;
use brokkr_api::{
    Name, Page,
    rollouts::{Deployment, DeploymentsQuery},
};

use super::page;
use crate::{
    domain::rollout::waiting_for,
    http::{
        AppState,
        auth::{AgentsRead, Allowed, StacksRead},
        body::{Json, Path, Query},
        error::Failure,
    },
    store::{DeploymentView, Scope},
};

/// A page of a stack's deployments, without their objects, in the order in which their agents were made.
#[utoipa::path(get, path = brokkr_api::routes::DEPLOYMENTS, operation_id = "listDeployments", tag = "deployments",
    params(("stack" = Name, Path), DeploymentsQuery),
    responses((status = 200, body = Page<Deployment>), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn of_stack(
    caller: Allowed<StacksRead>,
    State(state): State<AppState>,
    Path(name): Path<Name>,
    Query(query): Query<DeploymentsQuery>,
) -> Result<Json<Page<Deployment>>, Failure> {
    let limit = page::limit(query.limit)?;
    let cursor = page::cursor(query.cursor.as_deref())?;
    let stack = state.db.find_stack(caller.scope, &name).await?.ok_or_else(|| Failure::not_found("stack", &name))?;
    let views = state.db.deployments_of_stack(stack.row.id, cursor, query.phase, limit + 1).await?;
    let page = page::page(views, limit, |view| view.agent_id.to_string());
    Ok(Json(shown(&state, page)))
}

/// A page of what an agent has to do, without the objects, in the order in which the stacks were made.
#[utoipa::path(get, path = brokkr_api::routes::AGENT_DEPLOYMENTS, operation_id = "listAgentDeployments", tag = "deployments",
    params(("agent" = Name, Path), DeploymentsQuery),
    responses((status = 200, body = Page<Deployment>), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn of_agent(
    _: Allowed<AgentsRead>,
    State(state): State<AppState>,
    Path(name): Path<Name>,
    Query(query): Query<DeploymentsQuery>,
) -> Result<Json<Page<Deployment>>, Failure> {
    let limit = page::limit(query.limit)?;
    let cursor = page::cursor(query.cursor.as_deref())?;
    let agent = state.db.find_agent(&name).await?.ok_or_else(|| Failure::not_found("agent", &name))?;
    let views = state.db.deployments_of_agent(agent.id, cursor, query.phase, limit + 1).await?;
    let page = page::page(views, limit, |view| view.deployment.stack_id.to_string());
    Ok(Json(shown(&state, page)))
}

/// Where a stack stands on one agent, object by object.
#[utoipa::path(get, path = brokkr_api::routes::DEPLOYMENT, operation_id = "getDeployment", tag = "deployments",
    params(("stack" = Name, Path), ("agent" = Name, Path)),
    responses((status = 200, body = Deployment), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn read(
    caller: Allowed<StacksRead>,
    State(state): State<AppState>,
    Path((name, agent)): Path<(Name, Name)>,
) -> Result<Json<Deployment>, Failure> {
    let view = find(&state, caller.scope, &name, &agent).await?;
    Ok(Json(complete(&state, view)))
}

pub(super) async fn find(state: &AppState, scope: Scope, name: &Name, agent: &Name) -> Result<DeploymentView, Failure> {
    let stack = state.db.find_stack(scope, name).await?.ok_or_else(|| Failure::not_found("stack", name))?;
    let view = state.db.find_deployment(stack.row.id, agent.as_str()).await?;
    view.ok_or_else(|| Failure::not_found("deployment", format!("of stack {name} on agent {agent}")))
}

fn shown(state: &AppState, page: Page<DeploymentView>) -> Page<Deployment> {
    let items = page.items.into_iter().map(|view| complete(state, view)).collect();
    Page { items, next_cursor: page.next_cursor }
}

/// Says what a deployment waits for.
pub(super) fn complete(state: &AppState, view: DeploymentView) -> Deployment {
    let mut deployment = view.deployment;
    deployment.waiting_for = waiting_for(&deployment, view.last_seen_at, state.is_online(view.last_seen_at));
    deployment
}
