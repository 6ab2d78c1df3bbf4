//! Enrolment: an agent gets its identity and its key for a registration token.

use axum::extract::State;
use brokkr_api::{
    AgentId, ErrorCode, KeyId, Name, RegistrationTokenId,
    enrolment::{Enrol, Enrolled},
    keys::Role,
};
use http::StatusCode;
use serde_json::json;

use super::agents::{leave, retarget};
use crate::{
    domain::key,
    http::{
        AppState,
        auth::{TokenBearer, unknown_token},
        body::Json,
        error::{Failure, name_taken},
        record::Actor,
    },
    store::{EnrolledAgent, NewKey, Tx},
};

/// An agent asks for its identity, with a registration token instead of a key.
///
/// The token's labels are the agent's; its key is bound to its cluster at once. Who lost the answer may ask again until the key was used.
#[utoipa::path(post, path = brokkr_api::routes::ENROLMENTS, operation_id = "enrolAgent", tag = "agent", request_body = Enrol,
    responses((status = 201, body = Enrolled), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn enrol(
    bearer: TokenBearer,
    State(state): State<AppState>,
    Json(request): Json<Enrol>,
) -> Result<(StatusCode, Json<Enrolled>), Failure> {
    let uid = &request.cluster_uid;
    if !(1..=64).contains(&uid.len()) || !uid.bytes().all(|b| b.is_ascii_graphic()) {
        let detail = "cluster_uid has 1 to 64 printable ASCII characters";
        return Err(Failure::new(ErrorCode::InvalidField, detail).at("cluster_uid"));
    }
    let enrolled = match first_time(&bearer, &state, &request).await {
        Err(failure) if matches!(failure.problem.code, ErrorCode::NameTaken | ErrorCode::Unauthenticated) => {
            repeat(&bearer, &state, &request).await?.ok_or(failure)?
        }
        result => result?,
    };
    Ok((StatusCode::CREATED, Json(enrolled)))
}

async fn first_time(bearer: &TokenBearer, state: &AppState, request: &Enrol) -> Result<Enrolled, Failure> {
    let now = state.clock.now();
    let mut tx = state.db.begin().await?;
    let token = tx.use_token(&bearer.digest, now).await?.ok_or_else(unknown_token)?;
    let id = AgentId(state.ids.uuid(now));
    let agent =
        EnrolledAgent { id, name: &request.name, cluster: &request.cluster, cluster_uid: &request.cluster_uid, token: &token };
    tx.insert_enrolled(&agent, now).await.map_err(name_taken("agent", &request.name))?;
    let change = tx.next_change().await?;
    let secret = first_key(&mut tx, state, id, request, change).await?;
    retarget(&mut tx, id, &request.name, &token.labels, change, now).await?;
    let data = json!({"cluster": request.cluster, "registration_token": token.name, "labels": token.labels});
    let actor = bearer.actor(token.id, &token.name);
    leave(&mut tx, state, actor, "agent.enrolled", (id, &request.name), data, now).await?;
    // A new agent waits for nothing yet: its first poll reads everything.
    tx.notify(change).await?;
    tx.commit().await?;
    state.changed();
    Ok(Enrolled { agent_id: id, agent: request.name.clone(), secret })
}

/// A new key for an agent that never used the one before: the answer with it was lost.
async fn repeat(bearer: &TokenBearer, state: &AppState, request: &Enrol) -> Result<Option<Enrolled>, Failure> {
    let now = state.clock.now();
    let mut tx = state.db.begin().await?;
    let found = tx.find_unused(&request.name, &request.cluster_uid, &bearer.digest, now).await?;
    let Some(agent) = found else { return Ok(None) };
    let change = tx.next_change().await?;
    tx.revoke_all(agent.id, now, change).await?;
    let secret = first_key(&mut tx, state, agent.id, request, change).await?;
    let actor = bearer.actor(agent.token, &agent.token_name);
    leave(&mut tx, state, actor, "agent.enrolled", (agent.id, &request.name), json!({"repeated": true}), now).await?;
    tx.notify(change).await?;
    tx.commit().await?;
    state.changed();
    Ok(Some(Enrolled { agent_id: agent.id, agent: request.name.clone(), secret }))
}

impl TokenBearer {
    /// The audit log names the token where it else names a key; what comes with it is an agent.
    fn actor<'a>(&'a self, token: RegistrationTokenId, name: &'a Name) -> Actor<'a> {
        Actor { key: KeyId(token.0), name, role: Role::Agent, generator: None, request_id: self.request_id.as_deref() }
    }
}

async fn first_key(tx: &mut Tx, state: &AppState, agent: AgentId, request: &Enrol, change: u64) -> Result<String, Failure> {
    let now = state.clock.now();
    let (secret, digest) = key::generate(Role::Agent, &*state.ids);
    let new = NewKey::of_agent(KeyId(state.ids.uuid(now)), agent, request.name.clone(), digest, now);
    tx.insert_key(&new, change).await?;
    Ok(secret)
}
