//! What agents ask about work orders: claiming, renewing.

use axum::extract::State;
use brokkr_api::{
    ErrorCode, Relation, WorkTrace,
    work_orders::{
        ClaimWork, ClaimedOrder, ClaimedWork, MAX_PROGRESS, MAX_RENEWALS, RenewWork, Renewals, Renewed, WorkKind, WorkState,
    },
};
use brokkr_telemetry::{
    metrics::ClaimResult,
    spans::{self, Past, WaitReason},
};

use crate::{
    domain::handoff,
    http::{AppState, auth::AgentCaller, body::Json, error::Failure},
    store::ClaimedRow,
};

/// Gives the agent the next order that it may carry out: the highest priority first, then the oldest. None is an answer too.
#[utoipa::path(post, path = brokkr_api::routes::CLAIM_WORK, operation_id = "claimWork", tag = "agent", request_body = ClaimWork,
    responses((status = 200, body = ClaimedWork), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn claim(
    caller: AgentCaller,
    State(state): State<AppState>,
    Json(request): Json<ClaimWork>,
) -> Result<Json<ClaimedWork>, Failure> {
    if request.kinds.len() > WorkKind::ALL.len() {
        return Err(Failure::new(ErrorCode::InvalidField, "name each kind once").at("kinds"));
    }
    let now = state.clock.now();
    let until = now.after(state.settings.lease);
    let rows = if request.resume {
        state.db.resume_work_orders(caller.agent, until).await?
    } else {
        next(&caller, &state, &request).await?.into_iter().collect()
    };
    state.presence.agent_seen(caller.agent, now);
    let orders = rows.into_iter().map(|row| hand_off(&state, row, request.resume)).collect();
    Ok(Json(ClaimedWork { orders, lease_seconds: state.settings.lease.as_secs() }))
}

async fn next(caller: &AgentCaller, state: &AppState, request: &ClaimWork) -> Result<Option<ClaimedRow>, Failure> {
    let found = state.db.agent_and_queues(caller.agent, state.board.known_until()).await?;
    let Some((claimant, queues)) = found else { return Ok(None) };
    state.board.learn(queues);
    let queues = state.board.queues_of(&claimant, &request.kinds);
    if claimant.suspended || queues.is_empty() {
        state.board.found_nothing(caller.agent, &[]);
        return Ok(None);
    }
    let now = state.clock.now();
    let ids: Vec<_> = queues.iter().map(|queue| queue.id.as_str()).collect();
    let row = state.db.claim_work_order(caller.agent, &ids, now, now.after(state.settings.lease)).await?;
    let metrics = state.db.metrics();
    match &row {
        Some(row) => {
            state.board.claimed(caller.agent, &row.queue);
            state.totals_changed.notify_one();
            metrics.work_order_claimed(row.kind.as_str(), ClaimResult::Claimed);
        }
        None => {
            state.board.found_nothing(caller.agent, &queues);
            metrics.work_order_claimed("none", ClaimResult::Empty);
        }
    }
    Ok(row)
}

/// Gives the order its trace relation. What was claimed just now has waited until now: that is a span of the request's trace.
fn hand_off(state: &AppState, row: ClaimedRow, again: bool) -> ClaimedOrder {
    let now = state.clock.now();
    let first = row.attempt == 1;
    let relation = handoff::relation(state.settings.handoff, first, 1, now.since(row.created_at));
    if let Some(trace) = row.trace.as_ref().filter(|_| first && !again && relation == Relation::Parent) {
        let (start, end) = (row.ready_at.to_system_time(), now.to_system_time());
        spans::record_past_of(trace, None, Past::Wait(WaitReason::Queued), start, end);
    }
    ClaimedOrder {
        id: row.id,
        name: row.name,
        token: row.token,
        attempt: row.attempt,
        started: row.state == WorkState::Running,
        cancel: row.cancel,
        on_agent_loss: row.terms.on_agent_loss,
        work: row.payload.work,
        parameters: row.payload.parameters,
        secrets: row.payload.secrets,
        deadline: row.deadline_at,
        ttl_seconds: row.payload.ttl_seconds,
        queued_at: row.ready_at,
        claimed_at: row.claimed_at,
        trace: row.trace.map(|trace| WorkTrace {
            traceparent: trace.traceparent,
            tracestate: trace.tracestate,
            relation,
            accepted_at: Some(row.created_at),
            sent_at: Some(now),
        }),
    }
}

/// Renews leases, and tells which orders the agent still has and which it should stop.
#[utoipa::path(post, path = brokkr_api::routes::RENEW_WORK, operation_id = "renewWork", tag = "agent", request_body = RenewWork,
    responses((status = 200, body = Renewals), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn renew(
    caller: AgentCaller,
    State(state): State<AppState>,
    Json(request): Json<RenewWork>,
) -> Result<Json<Renewals>, Failure> {
    if request.orders.len() > MAX_RENEWALS {
        return Err(Failure::new(ErrorCode::InvalidField, format!("at most {MAX_RENEWALS} renewals")).at("orders"));
    }
    let is_word = |text: &str| text.chars().count() <= MAX_PROGRESS && !text.chars().any(char::is_control);
    if !request.orders.iter().filter_map(|renewal| renewal.progress.as_deref()).all(is_word) {
        let detail = format!("progress has at most {MAX_PROGRESS} printable characters");
        return Err(Failure::new(ErrorCode::InvalidField, detail).at("orders"));
    }
    if request.orders.iter().any(|renewal| i64::try_from(renewal.token).is_err()) {
        return Err(Failure::new(ErrorCode::InvalidField, "there is no such token").at("orders"));
    }
    let now = state.clock.now();
    let held = if request.orders.is_empty() {
        Vec::new()
    } else {
        state.db.renew_leases(caller.agent, &request.orders, now.after(state.settings.lease)).await?
    };
    state.presence.agent_seen(caller.agent, now);
    let renewed = |id| {
        let found = held.iter().find(|(held, _)| *held == id);
        Renewed { id, held: found.is_some(), cancel: found.is_some_and(|(_, cancel)| *cancel) }
    };
    Ok(Json(Renewals { orders: request.orders.iter().map(|renewal| renewed(renewal.id)).collect() }))
}
