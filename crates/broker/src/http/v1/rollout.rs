//! How far a stack's newest generation has come.

use std::time::Duration;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use brokkr_api::{
    Name, StackId,
    reports::{ObjectOutcome, ObjectReport},
    rollouts::{Deployment, Phase, Rollout, RolloutQuery, Slowest},
};
use brokkr_telemetry::{
    http::Parked,
    spans::{self, WaitReason},
};
use tokio::{sync::broadcast::error::RecvError, time::Instant};
use tracing::Instrument;

use super::deployments::complete;
use crate::{
    domain::rollout::is_finished,
    http::{
        AppState,
        auth::{Allowed, StacksRead},
        body::{Json, Path, Query},
        error::Failure,
    },
    store::StackRow,
};

/// Another broker may take the report: so often a waiting rollout is read again whatever happens here.
const REREAD: Duration = Duration::from_secs(1);

/// Sums a rollout up; with `wait`, when it is done or has failed, or after the wait.
#[utoipa::path(get, path = brokkr_api::routes::ROLLOUT, operation_id = "getRollout", tag = "stacks",
    params(("stack" = Name, Path), RolloutQuery), responses((status = 200, body = Rollout), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn read(
    caller: Allowed<StacksRead>,
    State(state): State<AppState>,
    Path(name): Path<Name>,
    Query(query): Query<RolloutQuery>,
) -> Result<Response, Failure> {
    let mut reports = state.feed.reports();
    let stack = state.db.find_stack(caller.scope, &name).await?.ok_or_else(|| Failure::not_found("stack", &name))?.row;
    let ending = state.ending();
    let deadline = Instant::now() + query.wait.unwrap_or_default().duration();
    let mut parked = Duration::ZERO;
    let mut stack = stack;
    loop {
        let rollout = sum_up(&state, &stack).await?;
        if rollout.done || rollout.failed > 0 || Instant::now() >= deadline || ending.is_cancelled() {
            let mut response = Json(rollout).into_response();
            response.extensions_mut().insert(Parked(parked));
            return Ok(response);
        }
        let started = Instant::now();
        let news = async {
            tokio::select! {
                () = ending.cancelled() => {}
                () = tokio::time::sleep_until(deadline.min(started + REREAD)) => {}
                () = report_on(&mut reports, stack.id) => {}
            }
        };
        news.instrument(spans::wait(WaitReason::Reports)).await;
        parked += started.elapsed();
        // A newer generation, a deletion, or its end: a rollout is always that of the newest generation.
        match state.db.find_stack(caller.scope, &stack.name).await? {
            Some(found) if found.row.id == stack.id => stack = found.row,
            _ => stack.deleting_since = stack.deleting_since.or(Some(state.clock.now())),
        }
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

/// Most objects of one deployment in the answer.
const MAX_OBJECTS_SHOWN: usize = 20;

async fn sum_up(state: &AppState, stack: &StackRow) -> Result<Rollout, Failure> {
    let deleting = stack.deleting_since.is_some();
    let phases = state.db.sum_up(stack.id).await?;
    let counted = |wanted: &dyn Fn(Phase) -> bool| phases.iter().filter(|(phase, _)| wanted(*phase)).map(|(_, n)| n).sum::<u64>();
    // While the stack lives, tombstones of agents that it left behind are no part of its rollout once they are acknowledged.
    let is_part = |phase: Phase| deleting || !matches!(phase, Phase::Deleted | Phase::Orphaned);
    let total = counted(&is_part);
    let finished = counted(&|phase| is_part(phase) && is_finished(phase));
    let views = state.db.rollout_rows(stack.id, deleting).await?;
    let deployments: Vec<_> = views
        .into_iter()
        .map(|view| {
            let mut deployment = complete(state, view);
            first_those_in_trouble(&mut deployment.objects);
            deployment
        })
        .collect();
    let newest = state.db.find_deployment_object(stack.id, stack.generation).await?;
    Ok(Rollout {
        stack_id: stack.id,
        stack: stack.name.clone(),
        generation: stack.generation,
        deleting,
        done: finished == total,
        total,
        finished,
        failed: counted(&|phase| phase == Phase::Failed),
        suspended: counted(&|phase| phase == Phase::Suspended),
        slowest: slowest(state, &deployments),
        phases: phases.into_iter().filter(|(phase, _)| is_part(*phase)).collect(),
        accepted_at: newest.as_ref().map(|object| object.created_at),
        trace_id: newest.and_then(|object| object.trace_id),
        deployments,
    })
}

fn first_those_in_trouble(objects: &mut Vec<ObjectReport>) {
    objects.sort_by_key(|object| !matches!(object.outcome, ObjectOutcome::Failed | ObjectOutcome::Held));
    objects.truncate(MAX_OBJECTS_SHOWN);
}

/// Of those that are not finished the one that waits longest, else the one that took longest: the query sorts by that.
fn slowest(state: &AppState, deployments: &[Deployment]) -> Option<Slowest> {
    let now = state.clock.now();
    let took = |deployment: &Deployment| deployment.finished_at.unwrap_or(now).since(deployment.desired_at);
    let slowest = deployments.iter().max_by_key(|deployment| (!is_finished(deployment.phase), took(deployment)))?;
    Some(Slowest {
        agent: slowest.agent.clone(),
        milliseconds: u64::try_from(took(slowest).as_millis()).unwrap_or(u64::MAX),
        finished: is_finished(slowest.phase),
    })
}
