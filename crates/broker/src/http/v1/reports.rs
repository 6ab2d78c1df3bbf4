//! What agents report.

use std::collections::HashMap;

use axum::extract::State;
use brokkr_api::{
    AgentId, ErrorCode, EventId, StackId,
    deployment_objects::MAX_OBJECTS,
    reports::{MAX_MESSAGE, MAX_REASON, MAX_REPORTS, Report, ReportResult, ReportResults, Reports},
    rollouts::Phase,
};
use serde_json::json;

use crate::{
    domain::rollout,
    http::{AppState, auth::AgentCaller, body::Json, error::Failure},
    store::{DeploymentRow, NewEvent, Outcome, Tx},
};

/// Stores outcomes. A report for an older revision changes nothing and is answered as stale.
#[utoipa::path(post, path = brokkr_api::routes::REPORTS, operation_id = "postReports", tag = "agent", request_body = Reports,
    responses((status = 200, body = ReportResults), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn post(
    caller: AgentCaller,
    State(state): State<AppState>,
    Json(request): Json<Reports>,
) -> Result<Json<ReportResults>, Failure> {
    if request.epoch != state.installation.epoch {
        return Err(
            Failure::new(ErrorCode::EpochChanged, "the broker's epoch is another: read the desired state again").at("epoch")
        );
    }
    if request.reports.len() > MAX_REPORTS {
        return Err(Failure::new(ErrorCode::InvalidField, format!("at most {MAX_REPORTS} reports at once")).at("reports"));
    }
    for (index, report) in request.reports.iter().enumerate() {
        check(report).map_err(|detail| Failure::new(ErrorCode::InvalidField, detail).at(format!("reports[{index}]")))?;
    }
    let mut results = Vec::with_capacity(request.reports.len());
    let mut tx = state.db.begin().await?;
    let mut deployments = lock(&mut tx, caller.agent, &request.reports).await?;
    for (index, report) in request.reports.iter().enumerate() {
        let result = match deployments.get_mut(&report.stack_id) {
            Some(deployment) => store(&mut tx, &state, caller.agent, report, deployment, index).await?,
            None => ReportResult::Unknown,
        };
        results.push(result);
    }
    tx.commit().await?;
    state.presence.agent_seen(caller.agent, state.clock.now());
    for report in &request.reports {
        state.feed.reported(report.stack_id);
    }
    if request.reports.iter().any(|report| report.phase == Phase::Deleted) {
        state.totals_changed.notify_one();
    }
    Ok(Json(ReportResults { results }))
}

/// Most objects of one report: those of the content, and as many that were pruned.
const MAX_REPORTED: usize = 2 * MAX_OBJECTS;
/// Longest part of an object's identity; Kubernetes' own limit is 253.
const MAX_IDENTITY: usize = 320;

fn check(report: &Report) -> Result<(), String> {
    let scope = report.scope.iter().flat_map(|scope| [&scope.group_kinds, &scope.namespaces]);
    if report.objects.len() > MAX_REPORTED || scope.clone().any(|items| items.len() > MAX_REPORTED) {
        return Err(format!("a report names at most {MAX_REPORTED} objects, kinds or namespaces"));
    }
    let objects = report.objects.iter().map(|report| &report.object);
    let objects = objects.chain(report.error.iter().filter_map(|error| error.object.as_ref()));
    let identities = objects
        .flat_map(|object| [Some(&object.api_version), Some(&object.kind), object.namespace.as_ref(), Some(&object.name)])
        .flatten();
    if identities.chain(scope.flatten()).any(|text| text.len() > MAX_IDENTITY) {
        return Err(format!("a kind, a namespace or a name has at most {MAX_IDENTITY} bytes"));
    }
    let too_long = |text: &str, most: usize| text.chars().count() > most;
    let texts = report
        .objects
        .iter()
        .flat_map(|object| [(object.reason.as_deref(), MAX_REASON), (object.message.as_deref(), MAX_MESSAGE)]);
    let error = report
        .error
        .iter()
        .flat_map(|error| [(Some(error.reason.as_str()), MAX_REASON), (Some(error.message.as_str()), MAX_MESSAGE)]);
    if texts.chain(error).any(|(text, most)| text.is_some_and(|text| too_long(text, most))) {
        return Err(format!("a reason has at most {MAX_REASON} characters and a message at most {MAX_MESSAGE}"));
    }
    Ok(())
}

/// Locks what the reports are about: first the stacks whose deletion they may finish, then the deployments, as every other
/// transaction does.
async fn lock(tx: &mut Tx, agent: AgentId, reports: &[Report]) -> Result<HashMap<StackId, DeploymentRow>, Failure> {
    let of = |wanted: fn(&Report) -> bool| reports.iter().filter(|report| wanted(report)).map(|report| report.stack_id).collect();
    let finished: Vec<StackId> = of(|report| report.phase == Phase::Deleted);
    if !finished.is_empty() {
        tx.lock_stacks_of_agent(agent, &finished).await?;
    }
    let all: Vec<StackId> = of(|_| true);
    Ok(tx.lock_deployments(agent, &all).await?)
}

async fn store(
    tx: &mut Tx,
    state: &AppState,
    agent: AgentId,
    report: &Report,
    deployment: &mut DeploymentRow,
    index: usize,
) -> Result<ReportResult, Failure> {
    if deployment.revision != report.revision {
        return Ok(ReportResult::Stale);
    }
    if !rollout::is_reportable(deployment.action, report.phase) {
        let detail = format!("a deployment with action {} cannot be {}", deployment.action.as_str(), report.phase.as_str());
        return Err(Failure::new(ErrorCode::InvalidField, detail).at(format!("reports[{index}].phase")));
    }
    let now = state.clock.now();
    let outcome = Outcome {
        agent,
        stack: report.stack_id,
        revision: report.revision,
        phase: report.phase,
        attempt: report.attempt,
        objects: &report.objects,
        error: report.error.as_ref(),
        scope: report.scope.as_ref(),
        acknowledged: rollout::acknowledges(deployment.action, report.phase),
        now,
    };
    if !tx.record_outcome(&outcome).await? {
        return Ok(ReportResult::Stale);
    }
    if report.phase != deployment.phase {
        record_phase(tx, state, agent, report, deployment).await?;
        deployment.phase = report.phase;
    }
    if report.phase == Phase::Deleted && tx.finish_deletion(report.stack_id, now).await? {
        let event = NewEvent {
            id: EventId(state.ids.uuid(now)),
            kind: "stack.deleted",
            stack: Some(report.stack_id),
            agent: None,
            generation: Some(deployment.generation),
            data: json!({"stack": deployment.stack}),
            trace: deployment.trace.as_ref(),
            now,
        };
        tx.insert_event(&event).await?;
    }
    Ok(ReportResult::Accepted)
}

/// Each change of phase is an event and a log record.
async fn record_phase(
    tx: &mut Tx,
    state: &AppState,
    agent: AgentId,
    report: &Report,
    deployment: &DeploymentRow,
) -> Result<(), Failure> {
    let now = state.clock.now();
    let reason = report.error.as_ref().map(|error| error.reason.as_str());
    tracing::info!(
        agent.id = %agent,
        stack.id = %report.stack_id,
        stack.name = %deployment.stack,
        generation = deployment.generation,
        from = deployment.phase.as_str(),
        to = report.phase.as_str(),
        reason,
        "a deployment changed its phase"
    );
    let trace = brokkr_telemetry::TraceContext::current().or_else(|| deployment.trace.clone());
    let event = NewEvent {
        id: EventId(state.ids.uuid(now)),
        kind: event_kind(report.phase),
        stack: Some(report.stack_id),
        agent: Some(agent),
        generation: Some(deployment.generation),
        data: json!({"stack": deployment.stack, "from": deployment.phase, "to": report.phase, "error": report.error}),
        trace: trace.as_ref(),
        now,
    };
    Ok(tx.insert_event(&event).await?)
}

fn event_kind(phase: Phase) -> &'static str {
    match phase {
        Phase::Pending => "deployment.pending",
        Phase::Progressing => "deployment.progressing",
        Phase::Applied => "deployment.applied",
        Phase::Healthy => "deployment.healthy",
        Phase::Degraded => "deployment.degraded",
        Phase::Failed => "deployment.failed",
        Phase::Suspended => "deployment.suspended",
        Phase::Deleting => "deployment.deleting",
        Phase::Deleted => "deployment.deleted",
        Phase::Orphaned => "deployment.orphaned",
    }
}
