//! What agents report.

use std::collections::HashSet;

use axum::extract::State;
use brokkr_api::{
    AgentId, ErrorCode, EventId, StackId, Timestamp,
    deployment_objects::MAX_OBJECTS,
    desired_state::Action,
    policy::{Drift, MAX_DRIFT, MAX_DRIFT_FIELD, MAX_DRIFT_FIELDS, MAX_DRIFT_MANAGERS, MAX_HELD, MAX_MANAGER},
    reports::{MAX_MESSAGE, MAX_REASON, MAX_REPORTS, Report, ReportResult, ReportResults, Reports},
    rollouts::Phase,
};
use brokkr_telemetry::TraceContext;
use serde_json::{Value, json};

use super::agent::is_digest;
use crate::{
    domain::rollout,
    http::{AppState, auth::AgentCaller, body::Json, error::Failure},
    store::{ByStack, DeletedStack, DeploymentRow, NewEvent, Outcome, Tx},
};

/// Stores outcomes. A report for an older revision changes nothing and is answered as stale.
#[utoipa::path(post, path = brokkr_api::routes::REPORTS, operation_id = "postReports", tag = "agent", request_body = Reports,
    responses((status = 200, body = ReportResults), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn post(
    caller: AgentCaller,
    State(state): State<AppState>,
    Json(request): Json<Reports>,
) -> Result<Json<ReportResults>, Failure> {
    if request.epoch != state.feed.installation().epoch {
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
    let seen: HashSet<_> = request.reports.iter().map(|report| report.stack_id).collect();
    if seen.len() < request.reports.len() {
        return Err(Failure::new(ErrorCode::InvalidField, "two reports are about the same stack").at("reports"));
    }
    let now = state.clock.now();
    let mut tx = state.db.begin().await?;
    let deployments = lock(&mut tx, caller.agent, &request.reports).await?;
    let mut results = Vec::with_capacity(request.reports.len());
    let mut outcomes = Vec::new();
    let mut events = Vec::new();
    let current = TraceContext::current();
    for (index, report) in request.reports.iter().enumerate() {
        let deployment = deployments.get(&report.stack_id);
        results.push(judge(report, deployment, index)?);
        let Some(deployment) = deployment.filter(|deployment| is_news(report, deployment)) else { continue };
        let trace = current.as_ref().or(deployment.trace.as_ref());
        let phase = report.phase.settled(report.health.as_ref());
        outcomes.push(outcome(report, deployment, phase));
        if phase != deployment.phase {
            tell(caller.agent, report, deployment, phase);
        }
        if rollout::is_event(deployment.phase, phase, deployment.observed_revision == deployment.revision)
            && let Some(what) = phase_event(report, deployment, phase)
        {
            events.push(event(&state, caller.agent, report, deployment, what, trace, now));
        }
        if !report.drift.is_empty() {
            events.push(event(&state, caller.agent, report, deployment, drift_event(report, deployment), trace, now));
        }
    }
    tx.record_outcomes(caller.agent, &outcomes, current.as_ref(), now).await?;
    let gone: Vec<_> = outcomes.iter().filter(|outcome| outcome.phase == Phase::Deleted).map(|outcome| outcome.stack).collect();
    let deleted = if gone.is_empty() { Vec::new() } else { tx.finish_deletions(&gone, now).await? };
    for stack in &deleted {
        let trace = current.as_ref().or_else(|| deployments.get(&stack.id).and_then(|deployment| deployment.trace.as_ref()));
        events.push(deleted_event(&state, stack, trace, now));
    }
    tx.insert_events(&events).await?;
    tx.commit().await?;
    state.presence.agent_seen(caller.agent, now);
    for outcome in &outcomes {
        state.feed.reported(outcome.stack);
        let first = deployments.get(&outcome.stack).filter(|deployment| deployment.observed_revision < deployment.revision);
        if let Some(deployment) = first.filter(|deployment| outcome.acknowledged && deployment.action == Action::Apply) {
            state.db.metrics().deployment_applied(now.since(deployment.desired_at));
        }
    }
    if !outcomes.is_empty() {
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
    let objects = objects.chain(report.drift.iter().map(|drift| &drift.object));
    let objects = objects.chain(report.health.iter().filter_map(|health| health.object.as_ref()));
    let identities = objects
        .flat_map(|object| [Some(&object.api_version), Some(&object.kind), object.namespace.as_ref(), Some(&object.name)])
        .flatten();
    if identities.chain(scope.flatten()).any(|text| text.chars().count() > MAX_IDENTITY) {
        return Err(format!("a kind, a namespace or a name has at most {MAX_IDENTITY} characters"));
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
    let health = report
        .health
        .iter()
        .flat_map(|health| [(health.reason.as_deref(), MAX_REASON), (health.message.as_deref(), MAX_MESSAGE)]);
    if texts.chain(error).chain(health).any(|(text, most)| text.is_some_and(|text| too_long(text, most))) {
        return Err(format!("a reason has at most {MAX_REASON} characters and a message at most {MAX_MESSAGE}"));
    }
    if report.held.as_ref().is_some_and(|held| !is_digest(&held.plan) || held.objects > MAX_HELD) {
        return Err(
            "a held plan is sha256: and 64 hexadecimal digits, and holds a number of objects that there can be".to_owned()
        );
    }
    if report.drift.len() > MAX_DRIFT || report.drift.iter().any(|drift| !is_bounded(drift)) {
        return Err(format!(
            "drift names at most {MAX_DRIFT} objects, {MAX_DRIFT_FIELDS} fields of {MAX_DRIFT_FIELD} and {MAX_DRIFT_MANAGERS} managers of \
             {MAX_MANAGER} printable characters each"
        ));
    }
    Ok(())
}

fn is_bounded(drift: &Drift) -> bool {
    let fit = |texts: &[String], most: usize, longest: usize| {
        texts.len() <= most && texts.iter().all(|text| text.chars().count() <= longest && !text.chars().any(char::is_control))
    };
    fit(&drift.fields, MAX_DRIFT_FIELDS, MAX_DRIFT_FIELD) && fit(&drift.managers, MAX_DRIFT_MANAGERS, MAX_MANAGER)
}

/// Locks what the reports are about: first the stacks whose deletion they may finish, then the deployments, as every other
/// transaction does.
async fn lock(tx: &mut Tx, agent: AgentId, reports: &[Report]) -> Result<ByStack<DeploymentRow>, Failure> {
    let of = |wanted: fn(&Report) -> bool| reports.iter().filter(|report| wanted(report)).map(|report| report.stack_id).collect();
    let finished: Vec<StackId> = of(|report| report.phase == Phase::Deleted);
    if !finished.is_empty() {
        tx.lock_stacks_of_agent(agent, &finished).await?;
    }
    let all: Vec<StackId> = of(|_| true);
    Ok(tx.lock_deployments(agent, &all).await?)
}

/// What becomes of a report.
fn judge(report: &Report, deployment: Option<&DeploymentRow>, index: usize) -> Result<ReportResult, Failure> {
    let Some(deployment) = deployment else { return Ok(ReportResult::Unknown) };
    if deployment.revision != report.revision || deployment.phase == Phase::Orphaned {
        return Ok(ReportResult::Stale);
    }
    if !rollout::is_reportable(deployment.action, report.phase) {
        let detail = format!("a deployment with action {} cannot be {}", deployment.action.as_str(), report.phase.as_str());
        return Err(Failure::new(ErrorCode::InvalidField, detail).at(format!("reports[{index}].phase")));
    }
    Ok(ReportResult::Accepted)
}

/// Whether a report is about the deployment as it is now, and tells something.
fn is_news(report: &Report, deployment: &DeploymentRow) -> bool {
    let is_current = deployment.revision == report.revision && deployment.phase != Phase::Orphaned;
    is_current && !rollout::is_late(report.phase, deployment.observed_revision == deployment.revision)
}

fn outcome<'a>(report: &'a Report, deployment: &DeploymentRow, phase: Phase) -> Outcome<'a> {
    Outcome {
        stack: report.stack_id,
        revision: report.revision,
        phase,
        attempt: report.attempt,
        objects: &report.objects,
        error: report.error.as_ref(),
        health: report.health.as_ref(),
        scope: report.scope.as_ref(),
        held: report.held.as_ref(),
        drifts: report.drift.len() as u64,
        acknowledged: rollout::acknowledges(deployment.action, phase),
    }
}

/// Each change of phase is a log record.
fn tell(agent: AgentId, report: &Report, deployment: &DeploymentRow, phase: Phase) {
    let of_health = report.health.as_ref().and_then(|health| health.reason.as_deref());
    let reason = report.error.as_ref().map(|error| error.reason.as_str()).or(of_health);
    tracing::info!(
        agent.id = %agent,
        stack.id = %report.stack_id,
        stack.name = %deployment.stack,
        generation = deployment.generation,
        from = deployment.phase.as_str(),
        to = phase.as_str(),
        reason,
        "a deployment changed its phase"
    );
}

/// Each change of phase is an event.
fn phase_event(report: &Report, deployment: &DeploymentRow, phase: Phase) -> Option<(&'static str, Value)> {
    let data =
        json!({"stack": deployment.stack, "from": deployment.phase, "to": phase, "error": report.error, "health": report.health});
    Some((event_kind(phase)?, data))
}

/// What others changed since the last report, and what the agent did about it: one event, whatever the number of objects.
fn drift_event(report: &Report, deployment: &DeploymentRow) -> (&'static str, Value) {
    ("deployment.drifted", json!({"stack": deployment.stack, "objects": report.drift}))
}

/// An event about a deployment of this agent.
fn event<'a>(
    state: &AppState,
    agent: AgentId,
    report: &Report,
    deployment: &DeploymentRow,
    (kind, data): (&'static str, Value),
    trace: Option<&'a TraceContext>,
    now: Timestamp,
) -> NewEvent<'a> {
    NewEvent {
        id: EventId(state.ids.uuid(now)),
        kind,
        stack: Some(report.stack_id),
        agent: Some(agent),
        generation: Some(deployment.generation),
        data,
        trace,
        now,
    }
}

/// A stack is gone everywhere.
pub(super) fn deleted_event<'a>(
    state: &AppState,
    stack: &DeletedStack,
    trace: Option<&'a TraceContext>,
    now: Timestamp,
) -> NewEvent<'a> {
    NewEvent {
        id: EventId(state.ids.uuid(now)),
        kind: "stack.deleted",
        stack: Some(stack.id),
        agent: None,
        generation: Some(stack.generation),
        data: json!({"stack": stack.name}),
        trace,
        now,
    }
}

/// Nothing for what no agent can report.
fn event_kind(phase: Phase) -> Option<&'static str> {
    match phase {
        Phase::Progressing => Some("deployment.progressing"),
        Phase::Applied => Some("deployment.applied"),
        Phase::Healthy => Some("deployment.healthy"),
        Phase::Degraded => Some("deployment.degraded"),
        Phase::Failed => Some("deployment.failed"),
        Phase::Deleting => Some("deployment.deleting"),
        Phase::Deleted => Some("deployment.deleted"),
        Phase::Pending | Phase::Suspended | Phase::Orphaned => None,
    }
}
