//! Abandoning an agent that is gone for ever, so that stacks can finish without it.

use axum::extract::State;
use brokkr_api::{
    agents::{AbandonAgent, AbandonedAgent},
    rollouts::Phase,
};
use brokkr_telemetry::TraceContext;
use serde_json::json;

use super::{agents::change_of, phases, reports::deleted_event};
use crate::http::{
    AppState,
    auth::{AgentsWrite, Allowed},
    body::Json,
    error::Failure,
    record::record_with,
};

/// Says that an agent is gone for ever: its deployments become orphaned, its keys are revoked and its name is free again.
///
/// Nothing is deleted in its cluster: nobody is there who could.
#[utoipa::path(post, path = brokkr_api::routes::ABANDON_AGENT, operation_id = "abandonAgent", tag = "agents", request_body = AbandonAgent,
    responses((status = 200, body = AbandonedAgent), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn abandon(
    caller: Allowed<AgentsWrite>,
    State(state): State<AppState>,
    Json(request): Json<AbandonAgent>,
) -> Result<Json<AbandonedAgent>, Failure> {
    let now = state.clock.now();
    let mut tx = state.db.begin().await?;
    let agent = tx.abandon_agent(&request.agent, now).await?.ok_or_else(|| Failure::not_found("agent", &request.agent))?;
    let change_seq = tx.next_change().await?;
    // First the stacks, then the deployments, as reports lock them.
    let held = tx.lock_stacks_to_orphan(agent).await?;
    let stacks = tx.orphan(agent, change_seq, now).await?;
    let orphaned = stacks.len() as u64;
    phases::of_agent(agent, &request.agent, phases::all_to(&held.phases, Phase::Orphaned), "agent_abandoned");
    // Those that waited for this agent alone are deleted now.
    let deleted = if held.deleting.is_empty() { Vec::new() } else { tx.finish_deletions(&held.deleting, now).await? };
    let trace = TraceContext::current();
    let events = deleted.iter().map(|stack| deleted_event(&state, stack, trace.as_ref(), now)).collect();
    let change = change_of("agent.abandoned", (agent, &request.agent), json!({"orphaned": orphaned}), now);
    record_with(&mut tx, &state, &caller, change, events).await?;
    tx.notify(change_seq).await?;
    tx.commit().await?;
    state.changed();
    for stack in stacks {
        state.feed.reported(stack);
    }
    Ok(Json(AbandonedAgent { agent_id: agent, orphaned }))
}
