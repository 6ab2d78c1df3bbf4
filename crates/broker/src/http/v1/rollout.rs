//! How far a stack's newest generation has come.

use std::time::Duration;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use brokkr_api::{
    Name, StackId,
    rollouts::{Phase, Rollout, RolloutQuery},
    stacks::Stack,
};
use brokkr_telemetry::{
    http::Parked,
    spans::{self, WaitReason},
};
use tokio::{sync::broadcast::error::RecvError, time::Instant};
use tracing::Instrument;

use crate::{
    domain::rollout::{is_finished, waiting_for},
    http::{
        AppState,
        auth::Owner,
        body::{Json, Path, Query},
        error::Failure,
    },
};

/// Another broker may take the report: so often a waiting rollout is read again whatever happens here.
const REREAD: Duration = Duration::from_secs(1);

/// Sums a rollout up; with `wait`, when it is done or has failed, or after the wait.
#[utoipa::path(get, path = brokkr_api::routes::ROLLOUT, operation_id = "getRollout", tag = "stacks",
    params(("stack" = Name, Path), RolloutQuery), responses((status = 200, body = Rollout), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn read(
    owner: Owner,
    State(state): State<AppState>,
    Path(name): Path<Name>,
    Query(query): Query<RolloutQuery>,
) -> Result<Response, Failure> {
    let mut reports = state.feed.reports();
    let stack = state.db.find_stack(owner.scope, &name).await?.ok_or_else(|| Failure::not_found("stack", &name))?;
    let deadline = Instant::now() + query.wait.unwrap_or_default().duration();
    let mut parked = Duration::ZERO;
    loop {
        let rollout = sum_up(&state, &stack).await?;
        if rollout.done || rollout.failed > 0 || Instant::now() >= deadline || state.stopping.is_cancelled() {
            let mut response = Json(rollout).into_response();
            response.extensions_mut().insert(Parked(parked));
            return Ok(response);
        }
        let started = Instant::now();
        let news = async {
            tokio::select! {
                () = state.stopping.cancelled() => {}
                () = tokio::time::sleep_until(deadline.min(started + REREAD)) => {}
                () = report_on(&mut reports, stack.id) => {}
            }
        };
        news.instrument(spans::wait(WaitReason::Reports)).await;
        parked += started.elapsed();
    }
}

async fn report_on(reports: &mut tokio::sync::broadcast::Receiver<StackId>, stack: StackId) {
    loop {
        match reports.recv().await {
            Ok(reported) if reported != stack => {}
            // A receiver that fell behind cannot tell which stacks it missed.
            Ok(_) | Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

async fn sum_up(state: &AppState, stack: &Stack) -> Result<Rollout, Failure> {
    let deleting = stack.deleting_since.is_some();
    let phases = state.db.sum_up(stack.id).await?;
    let counted = |wanted: &dyn Fn(Phase) -> bool| phases.iter().filter(|(phase, _)| wanted(*phase)).map(|(_, n)| n).sum::<u64>();
    // While the stack lives, tombstones of agents that it left behind are no part of its rollout once they are acknowledged.
    let is_part = |phase: Phase| deleting || !matches!(phase, Phase::Deleted | Phase::Orphaned);
    let total = counted(&is_part);
    let finished = counted(&|phase| is_part(phase) && is_finished(phase));
    let mut deployments = Vec::new();
    for row in state.db.rollout_rows(stack.id, deleting).await? {
        let mut deployment = row.deployment;
        deployment.waiting_for = waiting_for(&deployment, row.last_seen_at, state.is_online(row.last_seen_at), row.attempts);
        deployments.push(deployment);
    }
    let newest = state.db.list_deployment_objects(stack.id, i64::MAX.unsigned_abs(), 1).await?.into_iter().next();
    Ok(Rollout {
        stack_id: stack.id,
        stack: stack.name.clone(),
        generation: stack.generation,
        deleting,
        done: finished == total,
        total,
        finished,
        failed: counted(&|phase| phase == Phase::Failed),
        accepted_at: newest.as_ref().map(|object| object.created_at),
        trace_id: newest.and_then(|object| object.trace_id),
        deployments,
    })
}
