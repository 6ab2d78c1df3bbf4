//! How far deployments are, for people.

use brokkr_api::{
    AgentId, StackId, Timestamp,
    desired_state::Action,
    policy::HeldPlan,
    rollouts::{Deployment, Phase},
    suspension::SuspensionScope,
};
use brokkr_telemetry::TraceContext;

use super::{
    Db, Error,
    sql::{Row, statements, values},
    suspensions::widest,
};
use crate::domain::targeting::Current;

/// What every reading of deployments selects. The phase that is shown is `suspended` where something that is not finished is held back.
macro_rules! deployment_columns {
    () => {
        "SELECT a.id AS agent_id, COALESCE(a.former_name, a.name) AS agent, a.cluster_name, s.id AS stack_id, s.name AS stack, d.action,
            CASE WHEN d.phase IN ('pending', 'progressing', 'failed', 'deleting') AND (s.suspension IS NOT NULL OR a.suspension IS NOT NULL
                OR (SELECT i.suspension FROM installation i WHERE i.singleton = 1) IS NOT NULL) THEN 'suspended' ELSE d.phase END AS phase,
            d.revision, d.observed_revision, d.generation, d.observed_generation, d.attempts, d.error, d.health, d.desired_at, d.picked_up_at,
            d.reported_at, d.finished_at, d.healthy_at, d.traceparent, d.tracestate, d.report_traceparent, p.last_seen_at, d.held_plan,
            d.held_objects, d.approved_plan, d.drifts, d.last_drift_at,
            (SELECT i.suspension FROM installation i WHERE i.singleton = 1) AS fleet_suspension, a.suspension AS agent_suspension,
            s.suspension AS stack_suspension"
    };
}

/// Where they are read from.
macro_rules! deployment_tables {
    () => {
        " FROM deployments d JOIN agents a ON a.id = d.agent_id JOIN stacks s ON s.id = d.stack_id
          LEFT JOIN presence p ON p.agent_id = d.agent_id "
    };
}

/// Those that need attention first, then the slowest. The first hundred of a large rollout are chosen from an index that holds all of this.
macro_rules! attention {
    ($deployment:literal) => {
        concat!(
            "CASE ",
            $deployment,
            ".phase WHEN 'failed' THEN 0 WHEN 'degraded' THEN 1 WHEN 'pending' THEN 2 WHEN 'deleting' THEN 2
             WHEN 'progressing' THEN 3 ELSE 4 END, COALESCE(",
            $deployment,
            ".finished_at, 0) - ",
            $deployment,
            ".desired_at DESC"
        )
    };
}

statements! {
    SUM_UP = Select deployments
        "SELECT shown.phase, count(*) AS n FROM
             (SELECT CASE WHEN d.phase IN ('pending', 'progressing', 'failed', 'deleting')
                  AND ((SELECT s.suspension FROM stacks s WHERE s.id = $1) IS NOT NULL
                  OR (SELECT i.suspension FROM installation i WHERE i.singleton = 1) IS NOT NULL
                  OR d.agent_id IN (SELECT a.id FROM agents a WHERE a.suspension IS NOT NULL))
                  THEN 'suspended' ELSE d.phase END AS phase
              FROM deployments d WHERE d.stack_id = $1) shown
         GROUP BY shown.phase";
    ROLLOUT_ROWS = Select deployments concat!(deployment_columns!(), ", d.results", deployment_tables!(),
        "WHERE d.stack_id = $1 AND d.agent_id IN
             (SELECT first.agent_id FROM deployments first WHERE first.stack_id = $1 AND (first.phase NOT IN ('deleted', 'orphaned') OR $2 = 1)
              ORDER BY ", attention!("first"), ", first.agent_id LIMIT 100)
         ORDER BY ", attention!("d"), ", a.name");
    DEPLOYMENTS_OF_STACK = Select deployments concat!("SELECT * FROM (", deployment_columns!(), deployment_tables!(),
        "WHERE d.stack_id = $1 AND d.agent_id > $2) shown WHERE $3 = '' OR shown.phase = $3 ORDER BY shown.agent_id LIMIT $4");
    DEPLOYMENTS_OF_AGENT = Select deployments concat!("SELECT * FROM (", deployment_columns!(), deployment_tables!(),
        "WHERE d.agent_id = $1 AND d.stack_id > $2) shown WHERE $3 = '' OR shown.phase = $3 ORDER BY shown.stack_id LIMIT $4");
    FIND_DEPLOYMENT = Select deployments concat!(deployment_columns!(), ", d.results", deployment_tables!(),
        "WHERE d.stack_id = $1 AND (a.name = $2 OR a.former_name = $2) ORDER BY CASE WHEN a.abandoned_at IS NULL THEN 0 ELSE 1 END, a.id DESC LIMIT 1");
}

/// A deployment as people see it, but for what it waits for.
pub(crate) struct DeploymentView {
    pub(crate) agent_id: AgentId,
    pub(crate) deployment: Deployment,
    pub(crate) last_seen_at: Option<Timestamp>,
}

pub(super) fn action(row: &Row) -> Result<Action, Error> {
    let text = row.text("action")?;
    let actions = [Action::Apply, Action::Delete, Action::Withdraw];
    actions
        .into_iter()
        .find(|action| action.as_str() == text)
        .ok_or_else(|| Error::Corrupt { column: "action", source: text.into() })
}

pub(super) fn phase(row: &Row, column: &'static str) -> Result<Phase, Error> {
    let text = row.text(column)?;
    Phase::parse(&text).ok_or_else(|| Error::Corrupt { column, source: text.into() })
}

/// What the row says of a deployment that may not be there.
pub(super) fn current(row: &Row) -> Result<Current, Error> {
    if row.opt_text("action")?.is_none() {
        return Ok(Current::default());
    }
    Ok(Current { action: Some(action(row)?), phase: Some(phase(row, "phase")?) })
}

pub(super) fn trace(row: &Row) -> Result<Option<TraceContext>, Error> {
    let (traceparent, tracestate) = (row.opt_text("traceparent")?, row.opt_text("tracestate")?);
    Ok(traceparent.and_then(|traceparent| TraceContext::from_parts(&traceparent, tracestate.as_deref())))
}

/// The traces that left the work of these rows; nothing when there is none to do.
pub(super) fn causes(rows: &[Row]) -> Result<Option<Vec<TraceContext>>, Error> {
    if rows.is_empty() {
        return Ok(None);
    }
    let traces = rows.iter().map(trace).collect::<Result<Vec<_>, _>>()?;
    Ok(Some(traces.into_iter().flatten().collect()))
}

fn held(row: &Row) -> Result<Option<HeldPlan>, Error> {
    let Some(plan) = row.opt_text("held_plan")? else { return Ok(None) };
    Ok(Some(HeldPlan { plan, objects: row.count("held_objects")? }))
}

fn view(row: &Row, with_objects: bool) -> Result<DeploymentView, Error> {
    let report = row.opt_text("report_traceparent")?.and_then(|traceparent| TraceContext::from_parts(&traceparent, None));
    let approved = row.opt_text("approved_plan")?;
    let deployment = Deployment {
        stack_id: row.parse("stack_id")?,
        stack: row.parse("stack")?,
        agent: row.parse("agent")?,
        cluster: row.parse("cluster_name")?,
        phase: phase(row, "phase")?,
        action: action(row)?,
        revision: row.count("revision")?,
        observed_revision: row.count("observed_revision")?,
        generation: row.count("generation")?,
        observed_generation: row.count("observed_generation")?,
        waiting_for: None,
        suspended: widest([
            (SuspensionScope::Fleet, row.opt_json("fleet_suspension")?),
            (SuspensionScope::Agent, row.opt_json("agent_suspension")?),
            (SuspensionScope::Stack, row.opt_json("stack_suspension")?),
        ]),
        held: held(row)?,
        approved: row.opt_text("held_plan")?.is_some_and(|held| approved.as_ref() == Some(&held)),
        drifts: row.count("drifts")?,
        last_drift_at: row.opt_time("last_drift_at")?,
        health: row.opt_json("health")?,
        attempts: row.count("attempts")?,
        error: row.opt_json("error")?,
        objects: if with_objects { row.opt_json("results")?.unwrap_or_default() } else { Vec::new() },
        desired_at: row.time("desired_at")?,
        picked_up_at: row.opt_time("picked_up_at")?,
        reported_at: row.opt_time("reported_at")?,
        finished_at: row.opt_time("finished_at")?,
        healthy_at: row.opt_time("healthy_at")?,
        trace_id: trace(row)?.map(|trace| trace.trace_id().to_string()),
        report_trace_id: report.map(|trace| trace.trace_id().to_string()),
    };
    Ok(DeploymentView { agent_id: row.parse("agent_id")?, deployment, last_seen_at: row.opt_time("last_seen_at")? })
}

impl Db {
    /// How many deployments of a stack are in each phase.
    pub(crate) async fn sum_up(&self, stack: StackId) -> Result<Vec<(Phase, u64)>, Error> {
        self.all(&SUM_UP, values![stack]).await?.iter().map(|row| Ok((phase(row, "phase")?, row.count("n")?))).collect()
    }

    /// The deployments of a rollout, those that need attention first; at most 100.
    pub(crate) async fn rollout_rows(
        &self,
        stack: StackId,
        with_finished_tombstones: bool,
    ) -> Result<Vec<DeploymentView>, Error> {
        let values = values![stack, i64::from(with_finished_tombstones)];
        self.all(&ROLLOUT_ROWS, values).await?.iter().map(|row| view(row, true)).collect()
    }

    /// A page of a stack's deployments, in the order in which their agents were made.
    pub(crate) async fn deployments_of_stack(
        &self,
        stack: StackId,
        after: &str,
        phase: Option<Phase>,
        limit: u32,
    ) -> Result<Vec<DeploymentView>, Error> {
        let values = values![stack, after, phase.map_or("", Phase::as_str), limit];
        self.all(&DEPLOYMENTS_OF_STACK, values).await?.iter().map(|row| view(row, false)).collect()
    }

    /// A page of an agent's deployments, in the order in which their stacks were made.
    pub(crate) async fn deployments_of_agent(
        &self,
        agent: AgentId,
        after: &str,
        phase: Option<Phase>,
        limit: u32,
    ) -> Result<Vec<DeploymentView>, Error> {
        let values = values![agent, after, phase.map_or("", Phase::as_str), limit];
        self.all(&DEPLOYMENTS_OF_AGENT, values).await?.iter().map(|row| view(row, false)).collect()
    }

    /// One deployment, object by object.
    pub(crate) async fn find_deployment(&self, stack: StackId, agent: &str) -> Result<Option<DeploymentView>, Error> {
        let row = self.optional(&FIND_DEPLOYMENT, values![stack, agent]).await?;
        row.as_ref().map(|row| view(row, true)).transpose()
    }
}

#[cfg(test)]
pub(super) fn all_statements() -> &'static [&'static super::sql::Statement] {
    ALL
}
