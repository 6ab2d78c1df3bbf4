//! An agent's keys: asking for a new one, making it, its first use; and whether they open anything at all.

use std::time::Duration;

use axum::extract::State;
use brokkr_api::{
    ErrorCode, KeyId, Name,
    agents::{Agent, NewAgentKey},
    keys::Role,
};
use http::StatusCode;
use serde_json::json;

use super::agents::{found, leave};
use crate::{
    domain::key,
    http::{
        AppState,
        auth::{AgentCaller, AgentsWrite, Allowed, Caller},
        body::{Json, Path},
        conditional::Versioned,
        error::Failure,
        record::Resource,
    },
    store::NewKey,
};

/// How long the keys before a new one still open what they opened: requests that are under way, and an agent that was set back to a
/// copy of its old key.
const GRACE: Duration = Duration::from_secs(10 * 60);

/// Asks an agent to take a new key. It does so by itself; nobody else sees the key.
#[utoipa::path(post, path = brokkr_api::routes::AGENT_KEY_ROTATION, operation_id = "rotateAgentKey", tag = "agents",
    params(("agent" = Name, Path)), responses((status = 202, body = Agent), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn want(
    caller: Allowed<AgentsWrite>,
    State(state): State<AppState>,
    Path(name): Path<Name>,
) -> Result<Versioned<Agent>, Failure> {
    let now = state.clock.now();
    let mut tx = state.db.begin().await?;
    let agent = tx.lock_agent(&name).await?.ok_or_else(|| Failure::not_found("agent", &name))?;
    let change = tx.next_change().await?;
    tx.want_rotation(agent.id, now).await?;
    leave(&mut tx, &state, &caller, "agent.key_rotation_requested", (agent.id, &name), json!({}), now).await?;
    tx.mark_agent(agent.id, change).await?;
    tx.commit().await?;
    state.changed();
    let Versioned(_, version, agent) = found(&state, &name).await?;
    Ok(Versioned(StatusCode::ACCEPTED, version, agent))
}

/// An agent takes a new key. It is pending: the one that was used for this request works until the new one was used.
#[utoipa::path(post, path = brokkr_api::routes::AGENT_KEY, operation_id = "takeAgentKey", tag = "agent",
    responses((status = 201, body = NewAgentKey), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn take(caller: AgentCaller, State(state): State<AppState>) -> Result<(StatusCode, Json<NewAgentKey>), Failure> {
    let row = &caller.caller.row;
    if row.replaced {
        let detail = "a newer key of this agent is in use already: use that one, or enrol the agent again";
        return Err(Failure::new(ErrorCode::Forbidden, detail));
    }
    let now = state.clock.now();
    let (secret, digest) = key::generate(Role::Agent, &*state.ids);
    let id = KeyId(state.ids.uuid(now));
    let new = NewKey {
        // The end that a person has set for a key is the end of those that follow it, too.
        expires_at: row.expires_at,
        scopes: row.scopes.clone(),
        pending: true,
        ..NewKey::of_agent(id, caller.agent, caller.caller.name.clone(), digest, now)
    };
    let mut tx = state.db.begin().await?;
    let change = tx.next_change().await?;
    tx.revoke_pending(caller.agent, now, change).await?;
    tx.insert_key(&new, change).await?;
    let resource = Resource::new("key", new.id, &new.name);
    super::keys::leave(&mut tx, &state, &caller.caller, "key.created", resource, json!({"pending": true}), now).await?;
    tx.notify(change).await?;
    tx.commit().await?;
    state.changed();
    Ok((StatusCode::CREATED, Json(NewAgentKey { secret })))
}

/// The first use of a pending key: from here on it is the agent's key, and the keys before it expire.
pub(in crate::http) async fn activate(state: &AppState, caller: &Caller) -> Result<(), Failure> {
    let now = state.clock.now();
    let others_expire = now.after(GRACE);
    let mut tx = state.db.begin().await?;
    let change = tx.next_change().await?;
    if tx.activate_key(caller.key, others_expire, change).await? {
        let resource = Resource::new("key", caller.key, &caller.name);
        let data = json!({"others_expire_at": others_expire});
        super::keys::leave(&mut tx, state, caller, "key.activated", resource, data, now).await?;
        tx.notify(change).await?;
        tx.commit().await?;
    }
    // Another request may have been first; this broker has not read that yet.
    state.feed.refresh_key(&caller.row.digest).await?;
    state.changed();
    Ok(())
}

/// Deactivates an agent: its keys open nothing, on every broker, until it is activated. What is in its cluster stays.
#[utoipa::path(put, path = brokkr_api::routes::AGENT_DEACTIVATION, operation_id = "deactivateAgent", tag = "agents",
    params(("agent" = Name, Path)), responses((status = 200, body = Agent), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn deactivate(
    caller: Allowed<AgentsWrite>,
    State(state): State<AppState>,
    Path(name): Path<Name>,
) -> Result<Versioned<Agent>, Failure> {
    set_deactivated(&caller, &state, &name, true).await
}

/// Activates an agent. One that is active stays as it is.
#[utoipa::path(delete, path = brokkr_api::routes::AGENT_DEACTIVATION, operation_id = "activateAgent", tag = "agents",
    params(("agent" = Name, Path)), responses((status = 200, body = Agent), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn reactivate(
    caller: Allowed<AgentsWrite>,
    State(state): State<AppState>,
    Path(name): Path<Name>,
) -> Result<Versioned<Agent>, Failure> {
    set_deactivated(&caller, &state, &name, false).await
}

async fn set_deactivated(caller: &Caller, state: &AppState, name: &Name, deactivated: bool) -> Result<Versioned<Agent>, Failure> {
    let now = state.clock.now();
    let mut tx = state.db.begin().await?;
    let agent = tx.lock_agent(name).await?.ok_or_else(|| Failure::not_found("agent", name))?;
    if agent.deactivated_at.is_some() == deactivated {
        // It is so already.
        drop(tx);
        return found(state, name).await;
    }
    let change = tx.next_change().await?;
    tx.set_deactivated(agent.id, deactivated.then_some(now), now).await?;
    tx.touch_keys_of_agent(agent.id, change).await?;
    let kind = if deactivated { "agent.deactivated" } else { "agent.activated" };
    leave(&mut tx, state, caller, kind, (agent.id, name), json!({}), now).await?;
    tx.notify(change).await?;
    tx.commit().await?;
    state.changed();
    found(state, name).await
}
