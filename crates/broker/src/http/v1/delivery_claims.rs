//! What agents ask about deliveries of webhooks: something to send, and that it be written down how it went.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use axum::extract::State;
use brokkr_api::{
    AgentId, ErrorCode, Timestamp,
    deliveries::{
        ClaimDeliveries, ClaimedDeliveries, DeliveryReport, MAX_ANSWER, MAX_DELIVERIES, MAX_LATENCY_MS, MAX_RETRY_AFTER_SECONDS,
        ReportDeliveries, ReportedDeliveries, ReportedDelivery,
    },
};
use brokkr_telemetry::metrics::WebhookResult;

use crate::{
    courier::{
        LEASE, parcel,
        settle::{self, Account},
    },
    http::{AppState, auth::AgentCaller, body::Json, error::Failure},
    store::{ClaimedDelivery, DeliveryClaim, Mark},
};

/// Gives the agent deliveries of the webhooks that it may send, which it is to send at once. None is an answer too.
#[utoipa::path(post, path = brokkr_api::routes::CLAIM_DELIVERIES, operation_id = "claimDeliveries", tag = "agent", request_body = ClaimDeliveries,
    responses((status = 200, body = ClaimedDeliveries), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn claim(
    caller: AgentCaller,
    State(state): State<AppState>,
    Json(request): Json<ClaimDeliveries>,
) -> Result<Json<ClaimedDeliveries>, Failure> {
    if !(1..=MAX_DELIVERIES).contains(&request.limit) {
        return Err(Failure::new(ErrorCode::InvalidField, format!("is 1 to {MAX_DELIVERIES}")).at("limit"));
    }
    let (claimed, again_after) = next(&state, caller.agent, request.limit).await?;
    let now = state.clock.now();
    state.presence.agent_seen(caller.agent, now);
    let installation = state.feed.installation();
    let hand_out = |delivery: &ClaimedDelivery| {
        // Who was deleted or moved within this moment is sent nothing: its lease ends.
        let endpoint = state.depot.endpoint(delivery.webhook)?;
        Some(parcel::parcel(delivery, &endpoint, &installation.id, state.settings.handoff, now))
    };
    Ok(Json(ClaimedDeliveries {
        deliveries: claimed.iter().filter_map(hand_out).collect(),
        lease_seconds: LEASE.as_secs(),
        again_after_ms: again_after.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
    }))
}

/// Claims the next deliveries for an agent, and tells after how long there may be more for it.
async fn next(state: &AppState, agent: AgentId, limit: u32) -> Result<(Vec<ClaimedDelivery>, Option<Duration>), Failure> {
    let Some((claimant, changes)) = state.db.claimant_of_deliveries(agent).await? else { return Ok((Vec::new(), None)) };
    if !state.depot.knows(changes) {
        state.depot.learn(state.db.enabled_webhooks().await?, &state.keyring, changes);
    }
    let now = state.clock.now();
    let (webhooks, each) = state.depot.open_to(&claimant, limit, now);
    let due = if webhooks.is_empty() { Vec::new() } else { state.db.due_deliveries(&webhooks, each, now).await? };
    let reserved = state.depot.choose(&webhooks, due, each, limit, now);
    let chosen = reserved.chosen();
    let until = now.after(LEASE);
    let mut claimed = Vec::new();
    if !chosen.is_empty() {
        let mut tx = state.db.begin().await?;
        claimed = tx.claim_chosen_deliveries(agent, &chosen, now, until).await?;
        tx.commit().await?;
        claimed.sort_by_key(|delivery| (delivery.position, delivery.id));
    }
    let again_after = reserved.claimed(agent, &claimed, now, until);
    Ok((claimed, again_after))
}

/// Writes down how attempts went. What somebody else has claimed since stays as it is.
#[utoipa::path(post, path = brokkr_api::routes::REPORT_DELIVERIES, operation_id = "reportDeliveries", tag = "agent", request_body = ReportDeliveries,
    responses((status = 200, body = ReportedDeliveries), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn report(
    caller: AgentCaller,
    State(state): State<AppState>,
    Json(request): Json<ReportDeliveries>,
) -> Result<Json<ReportedDeliveries>, Failure> {
    let reports = check(&request)?;
    let now = state.clock.now();
    let mut results = Vec::with_capacity(reports.len());
    if !reports.is_empty() {
        let held = settle(&state, caller.agent, &reports, now).await?;
        let mut held: HashMap<_, _> = held.into_iter().map(|claim| (claim.id, claim.token)).collect();
        // Of two reports of the same the first counts.
        results.extend(reports.iter().map(|(report, _)| match held.remove(&report.id) {
            Some(token) if token == report.token => ReportedDelivery::Accepted,
            _ => ReportedDelivery::Lost,
        }));
    }
    state.presence.agent_seen(caller.agent, now);
    Ok(Json(ReportedDeliveries { results }))
}

/// Writes down what the agent has still, and tells what that was.
async fn settle(
    state: &AppState,
    agent: AgentId,
    reports: &[(&DeliveryReport, WebhookResult)],
    now: Timestamp,
) -> Result<Vec<DeliveryClaim>, Failure> {
    let mut first: BTreeMap<_, (&DeliveryReport, WebhookResult)> = BTreeMap::new();
    for (report, class) in reports {
        first.entry(report.id).or_insert((*report, *class));
    }
    let claims: Vec<_> = first.values().map(|(report, _)| DeliveryClaim { id: report.id, token: report.token }).collect();
    let mut tx = state.db.begin().await?;
    let held = tx.held_deliveries(agent, &claims).await?;
    if held.is_empty() {
        return Ok(Vec::new());
    }
    let mut verdicts = Vec::with_capacity(held.len());
    for delivery in held {
        let Some((report, class)) = first.get(&delivery.id) else { continue };
        let endpoint = state.depot.endpoint(delivery.webhook);
        let attempt = parcel::attempt(report, *class, endpoint.as_deref(), now);
        verdicts.push(settle::judge(Box::new(delivery), attempt, now, state.ids.fraction()));
    }
    let marks: HashMap<_, Mark> = verdicts.iter().map(|verdict| (verdict.mark.id, verdict.mark)).collect();
    let account =
        Account { settled: verdicts.iter().map(|verdict| &verdict.settled).collect(), marks: marks.into_values().collect() };
    let disabled = account.write(&mut tx, &*state.ids, now).await?;
    tx.commit().await?;
    settle::tell_disabled(&disabled, state.db.metrics());
    for verdict in &verdicts {
        verdict.count(state.db.metrics());
        state.depot.ended(&verdict.settled.delivery, verdict.mark.ok, now, verdict.pause);
    }
    if !disabled.is_empty() {
        state.webhooks_changed.notify_one();
    }
    let claim = |delivery: &ClaimedDelivery| DeliveryClaim { id: delivery.id, token: delivery.token };
    Ok(verdicts.iter().map(|verdict| claim(&verdict.settled.delivery)).collect())
}

/// Checks every report, and reads its result.
fn check(request: &ReportDeliveries) -> Result<Vec<(&DeliveryReport, WebhookResult)>, Failure> {
    if request.deliveries.len() > MAX_DELIVERIES as usize {
        return Err(wrong(format!("at most {MAX_DELIVERIES} reports")));
    }
    request.deliveries.iter().map(|report| Ok((report, class(report)?))).collect()
}

fn wrong(detail: impl Into<String>) -> Failure {
    Failure::new(ErrorCode::InvalidField, detail).at("deliveries")
}

fn class(report: &DeliveryReport) -> Result<WebhookResult, Failure> {
    if i64::try_from(report.token).is_err() {
        return Err(wrong("there is no such token"));
    }
    if report.status.is_some_and(|status| !(100..=999).contains(&status)) {
        return Err(wrong("a status is 100 to 999"));
    }
    if report.latency_ms > MAX_LATENCY_MS {
        return Err(wrong(format!("latency_ms is at most {MAX_LATENCY_MS}")));
    }
    if report.retry_after_seconds.is_some_and(|seconds| seconds > MAX_RETRY_AFTER_SECONDS) {
        return Err(wrong(format!("retry_after_seconds is at most {MAX_RETRY_AFTER_SECONDS}")));
    }
    if report.answer.chars().count() > MAX_ANSWER {
        return Err(wrong(format!("an answer has at most {MAX_ANSWER} characters: send its beginning")));
    }
    WebhookResult::of_word(&report.result).ok_or_else(|| {
        let words = WebhookResult::ALL.iter().map(|result| result.as_str()).collect::<Vec<_>>();
        wrong(format!("a result is one of {}", words.join(", ")))
    })
}
