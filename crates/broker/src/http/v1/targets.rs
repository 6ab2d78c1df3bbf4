//! Who a stack is for: trying a selector, and carrying one out.

use axum::extract::State;
use brokkr_api::{
    AgentId, ErrorCode, Name, TargetSelector,
    stacks::{MAX_PREVIEW_NAMES, PreviewTargets, TargetsPreview},
};
use brokkr_telemetry::{TraceContext, spans};
use tracing::Instrument;

use super::{
    phases,
    stacks::{deleting, send_span},
};
use crate::{
    domain::targeting::{Candidate, Target, TargetChange, again, change, needs_preview, preview_token},
    http::{
        AppState,
        auth::{Allowed, StacksWrite},
        body::{Json, Path},
        error::Failure,
    },
    store::{AgentTarget, RevisionSource, StackRow, Tx},
};

/// What a selector does to a stack's agents.
pub(super) struct Consequence {
    changes: Vec<TargetChange>,
    gains: Vec<Name>,
    loses: Vec<Name>,
    lost: Vec<AgentId>,
    kept: u64,
    /// Agents that were told before to remove it, and have not yet.
    leaving: u64,
    /// Whether there is content that agents may have.
    delivered: bool,
}

impl Consequence {
    fn needs_token(&self) -> bool {
        needs_preview(self.kept + self.loses.len() as u64, self.loses.len() as u64)
    }

    /// How many agents the stack is for once this is carried out, those included that have still to remove it.
    pub(super) fn agents(&self) -> u64 {
        let lost = if self.delivered { self.loses.len() as u64 } else { 0 };
        self.kept + self.gains.len() as u64 + lost + self.leaving
    }
}

/// Answers who would gain and lose a stack with another selector. Changes nothing.
#[utoipa::path(post, path = brokkr_api::routes::TARGETS_PREVIEW, operation_id = "previewTargets", tag = "stacks",
    params(("stack" = Name, Path)), request_body = PreviewTargets,
    responses((status = 200, body = TargetsPreview), (status = "4XX", body = brokkr_api::Problem)))]
pub(crate) async fn preview(
    caller: Allowed<StacksWrite>,
    State(state): State<AppState>,
    Path(name): Path<Name>,
    Json(request): Json<PreviewTargets>,
) -> Result<Json<TargetsPreview>, Failure> {
    validate(&request.targets)?;
    let mut tx = state.db.begin().await?;
    let stack = tx.lock_stack(caller.scope, &name).await?.ok_or_else(|| Failure::not_found("stack", &name))?;
    if stack.deleting_since.is_some() {
        return Err(deleting(&name));
    }
    let found = tx.agents_and_stack(stack.id).await?;
    let mut consequence = consequence(&stack, &request.targets, &found.agents, false);
    let token = preview_token(stack.id, stack.version, &request.targets, &mut consequence.lost);
    let shown = |names: &[Name]| names.iter().take(MAX_PREVIEW_NAMES).cloned().collect();
    Ok(Json(TargetsPreview {
        gains: shown(&consequence.gains),
        gained: consequence.gains.len() as u64,
        loses: shown(&consequence.loses),
        lost: consequence.loses.len() as u64,
        kept: consequence.kept,
        needs_token: consequence.needs_token(),
        token,
    }))
}

pub(super) fn validate(targets: &TargetSelector) -> Result<(), Failure> {
    targets.validate().map_err(|error| Failure::new(ErrorCode::InvalidField, error.to_string()).at("targets"))
}

/// What happens when this selector meets all agents. With another policy those who keep the stack, and those who have still to
/// remove it, do so anew: they get a new revision too.
pub(super) fn consequence(
    stack: &StackRow,
    selector: &TargetSelector,
    agents: &[AgentTarget],
    other_policy: bool,
) -> Consequence {
    let span = spans::target();
    let _entered = span.enter();
    spans::record_agents(&span, agents.len() as u64);
    let target = Target { id: stack.id, selector, generation: stack.generation, digest: stack.digest.as_deref() };
    let mut consequence = Consequence {
        changes: Vec::new(),
        gains: Vec::new(),
        loses: Vec::new(),
        lost: Vec::new(),
        kept: 0,
        leaving: 0,
        delivered: stack.generation > 0,
    };
    for agent in agents {
        let has = agent.current.has();
        let candidate = Candidate { id: agent.id, name: &agent.name, labels: &agent.labels };
        let change = change(&target, &candidate, agent.current);
        let changed = change.is_some();
        match change {
            Some(change) => {
                if has {
                    consequence.loses.push(agent.name.clone());
                    consequence.lost.push(agent.id);
                } else {
                    consequence.gains.push(agent.name.clone());
                }
                consequence.changes.push(change);
            }
            None if has => consequence.kept += 1,
            None if agent.current.leaves() => consequence.leaving += 1,
            None => continue,
        }
        if other_policy && !changed {
            consequence.changes.push(again(&target, agent.id, agent.current));
        }
    }
    consequence
}

/// Refuses what takes the stack from many agents, unless it comes with the token of a preview of exactly this.
pub(super) fn check_token(
    stack: &StackRow,
    selector: &TargetSelector,
    consequence: &mut Consequence,
    token: Option<&str>,
) -> Result<(), Failure> {
    let (lost, had) = (consequence.loses.len(), consequence.kept + consequence.loses.len() as u64);
    let expected = preview_token(stack.id, stack.version, selector, &mut consequence.lost);
    match token {
        _ if !consequence.needs_token() => Ok(()),
        Some(token) if token == expected => Ok(()),
        given => {
            let why = if given.is_some() { "; the token is for another change" } else { "" };
            let detail = format!(
                "this takes stack {} from {lost} of {had} agents{why}: look at POST /api/v1/stacks/{}/targets:preview and send its token as preview_token",
                stack.name, stack.name
            );
            Err(Failure::new(ErrorCode::PreviewRequired, detail).at("preview_token"))
        }
    }
}

/// Begins and ends the stack's deployments: one PRODUCER span for the change, whatever the number of agents.
pub(super) async fn carry_out(tx: &mut Tx, stack: &StackRow, consequence: &Consequence, change_seq: u64) -> Result<(), Failure> {
    if consequence.changes.is_empty() {
        return Ok(());
    }
    // Without content nothing is sent to anybody yet.
    let send = (stack.generation > 0).then(|| send_span(stack, stack.generation, Some(consequence.changes.len() as u64)));
    let trace = send.as_ref().and_then(TraceContext::of).or_else(TraceContext::current);
    let source = RevisionSource { change_seq, now: stack.updated_at, trace: trace.as_ref() };
    let plan = send.as_ref().map_or_else(spans::plan_rollout, |send| send.in_scope(spans::plan_rollout));
    spans::record_agents(&plan, consequence.changes.len() as u64);
    let changed = tx.change_targets(&consequence.changes, &source).instrument(plan.clone()).await;
    changed.inspect_err(|error| {
        for span in send.iter().chain([&plan]) {
            spans::record_error(span, error.error_type());
        }
    })?;
    phases::of_stack(stack, phases::begun(&consequence.changes), "targets_changed");
    Ok(())
}
