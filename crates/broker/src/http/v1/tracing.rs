//! Tracing at run time: of this installation's brokers, and through them of agents.

use axum::extract::State;
use brokkr_api::{
    ErrorCode, Page, Problem,
    page::PageQuery,
    tracing::{AgentTracing, MAX_TEXT, MAX_VALUES, ReportTracing, SetTracing, Tracing},
};
use brokkr_runtime::trace_settings;
use http::StatusCode;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::page;
use crate::{
    domain::tracing::{Refusal, understand, with_rule},
    http::{
        AppState,
        auth::{AgentCaller, AgentsRead, Allowed, Caller, FleetWrite},
        body::{Json, Query},
        error::Failure,
        record::{Change, Resource, record},
    },
    store::StoredTracing,
};

fn refused(refusal: &Refusal) -> Failure {
    Failure::from(Problem::new(ErrorCode::InvalidField, refusal.to_string())).at(refusal.place())
}

/// What is set at run time, and how the broker that answers fares.
#[utoipa::path(get, path = brokkr_api::routes::TRACING, operation_id = "getTracing", tag = "tracing",
    responses((status = 200, body = Tracing), (status = "4XX", body = Problem)))]
pub(crate) async fn read(_: Allowed<AgentsRead>, State(state): State<AppState>) -> Result<Json<Tracing>, Failure> {
    let stored = state.db.standing().await?.tracing.unwrap_or_default();
    Ok(Json(told(&state, stored, Vec::new())))
}

/// Sets tracing of the broker, and of all agents or some. What was set before for the same daemons is replaced as a whole.
#[utoipa::path(put, path = brokkr_api::routes::TRACING, operation_id = "setTracing", tag = "tracing", request_body = SetTracing,
    responses((status = 200, body = Tracing), (status = "4XX", body = Problem)))]
pub(crate) async fn set(
    caller: Allowed<FleetWrite>,
    State(state): State<AppState>,
    Json(request): Json<SetTracing>,
) -> Result<Json<Tracing>, Failure> {
    if let Some(agents) = &request.agents {
        agents.validate().map_err(|error| Failure::new(ErrorCode::InvalidField, error.to_string()).at("agents"))?;
    }
    let understood = understand(request.settings).map_err(|refusal| refused(&refusal))?;
    let change = |mut stored: StoredTracing| {
        if request.broker {
            stored.broker = Some(understood.settings.clone());
        }
        stored.agents = with_rule(stored.agents, request.agents, understood.settings)?;
        Ok(stored)
    };
    write(&caller, &state, "tracing.set", change, understood.warnings).await
}

/// Takes everything back that was set: files and environments decide everywhere.
#[utoipa::path(delete, path = brokkr_api::routes::TRACING, operation_id = "resetTracing", tag = "tracing",
    responses((status = 200, body = Tracing), (status = "4XX", body = Problem)))]
pub(crate) async fn reset(caller: Allowed<FleetWrite>, State(state): State<AppState>) -> Result<Json<Tracing>, Failure> {
    let change = |stored: StoredTracing| Ok(StoredTracing { revision: stored.revision, ..StoredTracing::default() });
    write(&caller, &state, "tracing.reset", change, Vec::new()).await
}

async fn write(
    caller: &Caller,
    state: &AppState,
    kind: &'static str,
    change: impl FnOnce(StoredTracing) -> Result<StoredTracing, Refusal>,
    warnings: Vec<String>,
) -> Result<Json<Tracing>, Failure> {
    let now = state.clock.now();
    let mut tx = state.db.begin().await?;
    let mut stored = change(tx.lock_tracing().await?).map_err(|refusal| refused(&refusal))?;
    stored.revision += 1;
    (stored.by, stored.at) = (caller.name.to_string(), now.as_micros());
    let change_seq = tx.next_change().await?;
    tx.set_tracing(&stored).await?;
    let data = json!({"revision": stored.revision, "broker": stored.broker, "agents": stored.agents});
    let resource = Resource::only("tracing");
    let change = Change { kind, resource, stack: None, agent: None, generation: None, data, trace: None, now };
    record(&mut tx, state, caller, change).await?;
    tx.mark_fleet(change_seq).await?;
    tx.commit().await?;
    state.changed();
    // Other replicas follow the feed; the answer tells what is in effect here.
    follow(state, Some(&stored));
    Ok(Json(told(state, stored, warnings)))
}

/// Follows what is set, here or through another broker, until `stopping`.
pub(crate) async fn follow_tracing(state: AppState, stopping: CancellationToken) {
    let mut set = state.feed.tracing();
    loop {
        let stored = set.borrow_and_update().clone();
        follow(&state, stored.as_ref());
        tokio::select! {
            () = stopping.cancelled() => return,
            changed = set.changed() => if changed.is_err() { return },
        }
    }
}

/// Puts what is set for brokers into effect on this one.
fn follow(state: &AppState, stored: Option<&StoredTracing>) {
    let settings = stored.and_then(|stored| stored.broker.as_ref());
    state.tracing.apply(&settings.map(trace_settings::run_time).unwrap_or_default());
}

fn told(state: &AppState, stored: StoredTracing, warnings: Vec<String>) -> Tracing {
    let was_changed = stored.revision > 0;
    Tracing {
        revision: stored.revision,
        changed_by: Some(stored.by).filter(|_| was_changed),
        changed_at: was_changed.then(|| brokkr_api::Timestamp::from_micros(stored.at)),
        broker: stored.broker,
        agents: stored.agents,
        pipeline: trace_settings::pipeline(&state.tracing),
        warnings,
    }
}

/// How tracing fares on each agent, by name, as it told last.
#[utoipa::path(get, path = brokkr_api::routes::TRACING_AGENTS, operation_id = "listAgentTracing", tag = "tracing", params(PageQuery),
    responses((status = 200, body = Page<AgentTracing>), (status = "4XX", body = Problem)))]
pub(crate) async fn agents(
    _: Allowed<AgentsRead>,
    State(state): State<AppState>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<AgentTracing>>, Failure> {
    let limit = page::limit(query.limit)?;
    let agents = state.db.list_agent_tracing(page::cursor(query.cursor.as_deref())?, limit + 1).await?;
    Ok(Json(page::page(agents, limit, |agent: &AgentTracing| agent.agent.to_string())))
}

/// An agent tells how its tracing fares.
#[utoipa::path(put, path = brokkr_api::routes::AGENT_TRACING, operation_id = "putAgentTracing", tag = "agent", request_body = ReportTracing,
    responses((status = 204), (status = "4XX", body = Problem)))]
pub(crate) async fn report(
    caller: AgentCaller,
    State(state): State<AppState>,
    Json(report): Json<ReportTracing>,
) -> Result<StatusCode, Failure> {
    let pipeline = &report.pipeline;
    let texts = pipeline.values.iter().flat_map(|value| [&value.key, &value.value, &value.source]).chain(&pipeline.last_error);
    let is_sane = |text: &String| text.chars().count() <= MAX_TEXT && !text.chars().any(char::is_control);
    let counts = [report.revision, pipeline.exported, pipeline.failed, pipeline.dropped];
    if pipeline.values.len() > MAX_VALUES
        || !texts.into_iter().all(is_sane)
        || counts.iter().any(|count| i64::try_from(*count).is_err())
    {
        let detail = format!("at most {MAX_VALUES} values, texts of at most {MAX_TEXT} printable characters, numbers below 2^63");
        return Err(Failure::new(ErrorCode::InvalidField, detail).at("pipeline"));
    }
    let now = state.clock.now();
    let mut tx = state.db.begin().await?;
    tx.put_agent_tracing(caller.agent, &report, now).await?;
    tx.commit().await?;
    state.presence.agent_seen(caller.agent, now);
    Ok(StatusCode::NO_CONTENT)
}
