//! What agents report of work orders. Only who has an order can say anything about it; an older token changes nothing.

use axum::extract::State;
use brokkr_api::{
    AgentId, ErrorCode, EventId, Timestamp,
    reports::{MAX_MESSAGE, MAX_REASON, ObjectRef},
    work_orders::{MAX_LOG, ReportWork, ReportedWork, WorkOutcome},
};
use brokkr_telemetry::TraceContext;

use super::work_orders::refused;
use crate::{
    domain::work_order::{self, Event, Holder, Next, Outcome, Refusal},
    http::{AppState, auth::AgentCaller, body::Json, conditional, error::Failure},
    store::{Saved, Scope},
    work_events,
};

/// How often an order may change between reading and saving it, before the caller is told to try again.
const ATTEMPTS: usize = 3;
/// Longest part of an object's identity; Kubernetes' own limit is 253.
const MAX_IDENTITY: usize = 320;

/// Tells how an order goes. `started` asks for leave: only when it was accepted may the agent touch its cluster.
#[utoipa::path(post, path = brokkr_api::routes::REPORT_WORK, operation_id = "reportWork", tag = "agent", request_body = ReportWork,
    responses((status = 200, body = ReportedWork), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn report(
    caller: AgentCaller,
    State(state): State<AppState>,
    Json(request): Json<ReportWork>,
) -> Result<Json<ReportedWork>, Failure> {
    check(&request).map_err(|(place, detail)| Failure::new(ErrorCode::InvalidField, detail).at(place))?;
    for _ in 0..ATTEMPTS {
        let now = state.clock.now();
        let mut tx = state.db.begin().await?;
        let found = tx.lock_work_order(Scope::Everybody, request.id).await?;
        // That there is such an order is no business of an agent that does not have it.
        let mut order = found.ok_or_else(|| refused(Refusal::NotHolder, request.id))?;
        let event = event(&request, caller.agent, now.after(state.settings.lease));
        let next = work_order::transition(&order.standing, &order.terms, event, now);
        let Next { standing, told } = next.map_err(|refusal| refused(refusal, request.id))?;
        let saved = Saved { id: order.id, version: order.version, standing: &standing, object: request.object.as_ref() };
        if tx.save_work_orders(&[saved]).await? == 0 {
            continue;
        }
        if let Some(log) = &request.log {
            tx.save_work_log(order.id, log).await?;
        }
        order.standing = standing;
        if let Some(told) = told {
            let current = TraceContext::current();
            let id = EventId(state.ids.uuid(now));
            tx.insert_events(&[work_events::event(id, &order, told, current.as_ref(), now)]).await?;
        }
        tx.commit().await?;
        state.presence.agent_seen(caller.agent, now);
        if let Some(told) = told {
            work_events::count(state.db.metrics(), &order, told, now);
            state.work_changed();
        }
        return Ok(Json(ReportedWork { state: order.standing.state }));
    }
    Err(conditional::changed())
}

fn event(request: &ReportWork, agent: AgentId, until: Timestamp) -> Event {
    let holder = Holder { agent, token: request.token };
    match request.outcome {
        WorkOutcome::Started => Event::Start { holder, until },
        WorkOutcome::Succeeded => Event::Succeed { holder },
        WorkOutcome::Cancelled => Event::Stop { holder },
        WorkOutcome::Failed => {
            let reason = request.reason.clone().unwrap_or_else(|| "Failed".to_owned());
            let message = request.message.clone().unwrap_or_default();
            Event::Fail { holder, outcome: Outcome { reason, message }, retry: request.retry }
        }
    }
}

fn check(request: &ReportWork) -> Result<(), (&'static str, String)> {
    let is_text = |text: Option<&String>, most: usize| text.is_none_or(|text| text.chars().count() <= most);
    if i64::try_from(request.token).is_err() {
        return Err(("token", "there is no such token".to_owned()));
    }
    if !is_text(request.reason.as_ref(), MAX_REASON) {
        return Err(("reason", format!("a reason has at most {MAX_REASON} characters")));
    }
    if !is_text(request.message.as_ref(), MAX_MESSAGE) {
        return Err(("message", format!("a message has at most {MAX_MESSAGE} characters")));
    }
    if !is_text(request.log.as_ref(), MAX_LOG) {
        return Err(("log", format!("a log has at most {MAX_LOG} characters: send its end")));
    }
    let parts = |object: &ObjectRef| {
        [Some(object.api_version.clone()), Some(object.kind.clone()), object.namespace.clone(), Some(object.name.clone())]
    };
    if request.object.iter().flat_map(parts).flatten().any(|text| text.chars().count() > MAX_IDENTITY) {
        return Err(("object", format!("a kind, a namespace or a name has at most {MAX_IDENTITY} characters")));
    }
    Ok(())
}
