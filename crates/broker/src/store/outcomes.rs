//! What agents report, stored as a set: the number of statements does not grow with the number of reports.

use brokkr_api::{
    AgentId, Name, StackId, Timestamp,
    desired_state::{Action, Scope},
    policy::HeldPlan,
    reports::{Failure, Health, ObjectReport},
    rollouts::Phase,
};
use brokkr_telemetry::TraceContext;
use serde::Serialize;

use super::{
    Error, Tx,
    deployments::ByStack,
    rollouts::{action, phase, trace},
    sql::{Row, id_set, json, set, statements, values},
};

// A report that names no object tells of health alone: what happened to each object stays as it was told.
// What was reported is materialised, because SQLite would otherwise walk over all of the agent's deployments and read the set for each.
statements! {
    LOCK_DEPLOYMENTS = Select deployments
        "SELECT d.stack_id, d.revision, d.observed_revision, d.generation, d.action, d.phase, d.traceparent, d.tracestate, d.desired_at,
                (SELECT s.name FROM stacks s WHERE s.id = d.stack_id) AS stack
         FROM deployments d WHERE d.agent_id = $1 AND d.stack_id IN (SELECT item.value->>'id' FROM each($2))
         ORDER BY d.stack_id /*lock*/";
    RECORD_OUTCOMES = Update deployments
        "WITH item AS MATERIALIZED (SELECT item.value, d.agent_id, d.stack_id FROM each($2) CROSS JOIN deployments d
             WHERE d.agent_id = $1 AND d.stack_id = item.value->>'stack' AND d.revision = CAST(item.value->>'revision' AS BIGINT))
         UPDATE deployments SET phase = item.value->>'phase', attempts = CAST(item.value->>'attempt' AS BIGINT),
             results = CASE WHEN item.value->>'results' = '[]' AND deployments.observed_revision = deployments.revision THEN deployments.results
                 ELSE item.value->>'results' END, error = item.value->>'error', scope = COALESCE(item.value->>'scope', deployments.scope),
             health = item.value->>'health', reported_at = $3, report_traceparent = $4, picked_up_at = COALESCE(deployments.picked_up_at, $3),
             observed_revision = CASE WHEN item.value->>'acknowledged' = 'yes' THEN deployments.revision ELSE deployments.observed_revision END,
             observed_generation =
                 CASE WHEN item.value->>'acknowledged' = 'yes' THEN deployments.generation ELSE deployments.observed_generation END,
             finished_at = CASE WHEN item.value->>'acknowledged' = 'yes' THEN COALESCE(deployments.finished_at, $3) END,
             healthy_at = CASE WHEN item.value->>'phase' = 'healthy' THEN COALESCE(deployments.healthy_at, $3) END,
             held_plan = item.value->>'held_plan', held_objects = CAST(item.value->>'held_objects' AS BIGINT),
             drifts = deployments.drifts + CAST(item.value->>'drifts' AS BIGINT),
             last_drift_at = CASE WHEN CAST(item.value->>'drifts' AS BIGINT) > 0 THEN $3 ELSE deployments.last_drift_at END
         FROM item
         WHERE deployments.agent_id = item.agent_id AND deployments.stack_id = item.stack_id";
}

/// A deployment as a report finds it.
#[derive(Debug, Clone)]
pub(crate) struct DeploymentRow {
    pub(crate) revision: u64,
    pub(crate) observed_revision: u64,
    pub(crate) generation: u64,
    pub(crate) action: Action,
    pub(crate) phase: Phase,
    pub(crate) stack: Name,
    pub(crate) trace: Option<TraceContext>,
    /// When the change was accepted.
    pub(crate) desired_at: Timestamp,
}

/// What one report writes.
pub(crate) struct Outcome<'a> {
    pub(crate) stack: StackId,
    pub(crate) revision: u64,
    pub(crate) phase: Phase,
    pub(crate) attempt: u32,
    pub(crate) objects: &'a [ObjectReport],
    pub(crate) error: Option<&'a Failure>,
    pub(crate) health: Option<&'a Health>,
    pub(crate) scope: Option<&'a Scope>,
    pub(crate) held: Option<&'a HeldPlan>,
    /// How many changes of others it tells of.
    pub(crate) drifts: u64,
    pub(crate) acknowledged: bool,
}

/// One item of the bound set. What is JSON in its column is a text in the set.
#[derive(Serialize)]
struct Item<'a> {
    stack: StackId,
    revision: u64,
    phase: Phase,
    attempt: u32,
    results: String,
    error: Option<String>,
    health: Option<String>,
    scope: Option<String>,
    acknowledged: &'static str,
    held_plan: Option<&'a str>,
    held_objects: Option<u64>,
    drifts: u64,
}

fn item<'a>(outcome: &Outcome<'a>) -> Result<Item<'a>, Error> {
    Ok(Item {
        stack: outcome.stack,
        revision: outcome.revision,
        phase: outcome.phase,
        attempt: outcome.attempt,
        results: json("results", outcome.objects)?,
        error: outcome.error.map(|error| json("error", error)).transpose()?,
        health: outcome.health.map(|health| json("health", health)).transpose()?,
        scope: outcome.scope.map(|scope| json("scope", scope)).transpose()?,
        acknowledged: if outcome.acknowledged { "yes" } else { "no" },
        held_plan: outcome.held.map(|held| held.plan.as_str()),
        held_objects: outcome.held.map(|held| held.objects),
        drifts: outcome.drifts,
    })
}

impl Tx {
    /// Those of these deployments of an agent that there are, locked until the transaction ends. All of them in one statement and in
    /// the order of their stacks, so that two transactions never wait for each other.
    pub(crate) async fn lock_deployments(&mut self, agent: AgentId, stacks: &[StackId]) -> Result<ByStack<DeploymentRow>, Error> {
        let rows = self.all(&LOCK_DEPLOYMENTS, values![agent, id_set(stacks)?]).await?;
        let deployment = |row: &Row| {
            let deployment = DeploymentRow {
                revision: row.count("revision")?,
                observed_revision: row.count("observed_revision")?,
                generation: row.count("generation")?,
                action: action(row)?,
                phase: phase(row, "phase")?,
                stack: row.parse("stack")?,
                trace: trace(row)?,
                desired_at: row.time("desired_at")?,
            };
            Ok((row.parse("stack_id")?, deployment))
        };
        rows.iter().map(deployment).collect()
    }

    /// Writes the outcomes of one agent; at most one for each stack, and each guarded by its revision.
    pub(crate) async fn record_outcomes(
        &mut self,
        agent: AgentId,
        outcomes: &[Outcome<'_>],
        trace: Option<&TraceContext>,
        now: Timestamp,
    ) -> Result<(), Error> {
        if outcomes.is_empty() {
            return Ok(());
        }
        let items = outcomes.iter().map(item).collect::<Result<Vec<_>, _>>()?;
        let values = values![agent, set(&items)?, now, trace.map(|trace| trace.traceparent.as_str())];
        self.execute(&RECORD_OUTCOMES, values).await.map(drop)
    }
}

#[cfg(test)]
pub(super) fn all_statements() -> &'static [&'static super::sql::Statement] {
    ALL
}
