//! Approving deletions that an agent holds back. An approval is for one plan of one revision, and ends with it.

use axum::extract::State;
use brokkr_api::{ErrorCode, Name, policy::Approve, rollouts::Deployment};
use serde_json::json;

use super::deployments::{complete, find};
use crate::{
    http::{
        AppState,
        auth::{Allowed, Caller, StacksWrite},
        body::{Json, Path},
        error::Failure,
        record::{Change, Resource, record},
    },
    store::{Approval, DeploymentView},
};

/// Approves deletions that an agent holds back: exactly the plan that it holds now. Approved again it stays approved.
#[utoipa::path(post, path = brokkr_api::routes::STACK_APPROVALS, operation_id = "approveDeletions", tag = "deployments",
    params(("stack" = Name, Path)), request_body = Approve,
    responses((status = 200, body = Deployment), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn approve(
    caller: Allowed<StacksWrite>,
    State(state): State<AppState>,
    Path(name): Path<Name>,
    Json(request): Json<Approve>,
) -> Result<Json<Deployment>, Failure> {
    let mut view = find(&state, caller.scope, &name, &request.agent).await?;
    if !is_held(&view.deployment, &request) {
        return Err(outdated(&view.deployment));
    }
    if !view.deployment.approved {
        if !store(&caller, &state, &view, &request).await? {
            // Something changed since it was read: approved by another request, or held no more.
            view = find(&state, caller.scope, &name, &request.agent).await?;
            if !is_held(&view.deployment, &request) || !view.deployment.approved {
                return Err(outdated(&view.deployment));
            }
        }
        view.deployment.approved = true;
    }
    Ok(Json(complete(&state, view)))
}

fn is_held(deployment: &Deployment, request: &Approve) -> bool {
    deployment.revision == request.revision && deployment.held.as_ref().is_some_and(|held| held.plan == request.plan)
}

fn outdated(deployment: &Deployment) -> Failure {
    let revision = deployment.revision;
    let now = match &deployment.held {
        Some(held) => format!("revision {revision} holds plan {} with {} objects", held.plan, held.objects),
        None => format!("revision {revision} holds nothing"),
    };
    Failure::new(ErrorCode::ApprovalOutdated, format!("the approval is for another plan: {now} now"))
}

/// Writes the approval and wakes the agent; false where that is not what is held any more, or it is approved already.
async fn store(caller: &Caller, state: &AppState, view: &DeploymentView, request: &Approve) -> Result<bool, Failure> {
    let deployment = &view.deployment;
    let mut tx = state.db.begin().await?;
    let change_seq = tx.next_change().await?;
    let approval = Approval { agent: view.agent_id, revision: request.revision, plan: &request.plan };
    if !tx.approve(deployment.stack_id, &approval, change_seq).await? {
        return Ok(false);
    }
    let objects = deployment.held.as_ref().map(|held| held.objects);
    let change = Change {
        kind: "deployment.approved",
        resource: Resource::new("stack", deployment.stack_id, &deployment.stack),
        stack: Some(deployment.stack_id),
        agent: Some(view.agent_id),
        generation: Some(deployment.generation),
        data: json!({"stack": deployment.stack, "agent": deployment.agent, "revision": request.revision, "plan": request.plan,
            "objects": objects}),
        trace: None,
        now: state.clock.now(),
    };
    record(&mut tx, state, caller, change).await?;
    tx.publish_change(change_seq).await?;
    tx.commit().await?;
    state.changed();
    Ok(true)
}
