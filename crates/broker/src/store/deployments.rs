//! Deployments: what each agent has to do with each stack, and how far it is.

use std::collections::HashMap;

use brokkr_api::{
    AgentId, Name, StackId, Timestamp,
    desired_state::{Action, Scope},
    reports::{Failure, ObjectReport},
    rollouts::{Deployment, Phase},
};
use brokkr_telemetry::TraceContext;
use serde::Serialize;

use super::{
    Db, Error, Tx,
    sql::{Row, id_set, set, statements, values},
};
use crate::domain::targeting::TargetChange;

statements! {
    ROLL_GENERATION = Update deployments
        "UPDATE deployments SET revision = revision + 1, generation = $2, digest = $3, fan_out = $4, traceparent = $5, tracestate = $6,
             change_seq = $7, desired_at = $8, phase = 'pending', attempts = 0, results = NULL, error = NULL, finished_at = NULL
         WHERE stack_id = $1 AND action = 'apply'";
    DELETE_STACK = Update deployments
        "UPDATE deployments SET revision = revision + 1, action = 'delete', digest = NULL, fan_out = $2, traceparent = $3, tracestate = $4,
             change_seq = $5, desired_at = $6, phase = 'deleting', attempts = 0, results = NULL, error = NULL, finished_at = NULL
         WHERE stack_id = $1 AND phase NOT IN ('deleted', 'orphaned')";
    CHANGE_TARGETS = Insert deployments
        "INSERT INTO deployments (agent_id, stack_id, revision, action, generation, digest, fan_out, traceparent, tracestate, change_seq,
             desired_at, phase, observed_revision, observed_generation, attempts)
         SELECT item.value->>'agent', item.value->>'stack', 1, item.value->>'action', CAST(item.value->>'generation' AS BIGINT),
             item.value->>'digest', $2, $3, $4, $5, $6, item.value->>'phase', 0, 0, 0 FROM each($1) WHERE TRUE
         ON CONFLICT (agent_id, stack_id) DO UPDATE SET revision = deployments.revision + 1, action = excluded.action,
             generation = excluded.generation, digest = excluded.digest, fan_out = excluded.fan_out, traceparent = excluded.traceparent,
             tracestate = excluded.tracestate, change_seq = excluded.change_seq, desired_at = excluded.desired_at, phase = excluded.phase,
             attempts = 0, results = NULL, error = NULL, finished_at = NULL";
    DROP_UNSTARTED = Delete deployments
        "DELETE FROM deployments WHERE stack_id = $1 AND generation = 0 AND action <> 'apply'";
    DROP_UNSTARTED_OF_AGENT = Delete deployments
        "DELETE FROM deployments WHERE agent_id = $1 AND generation = 0 AND action <> 'apply'";
    AGENTS_OF_STACK = Select deployments "SELECT agent_id FROM deployments WHERE stack_id = $1 AND action = 'apply'";
    STACKS_OF_AGENT = Select deployments "SELECT stack_id FROM deployments WHERE agent_id = $1 AND action = 'apply'";
    COUNT_OF_STACK = Select deployments "SELECT count(*) AS n FROM deployments WHERE stack_id = $1 AND phase NOT IN ('deleted', 'orphaned')";
    READ_DESIRED = Select deployments
        "SELECT f.seq, d.stack_id, s.name AS stack, d.revision, d.action, d.generation, d.digest, d.fan_out, d.traceparent, d.tracestate,
                d.change_seq, d.desired_at, d.observed_revision, d.attempts, d.scope,
                CASE WHEN SUM(COALESCE(c.bytes, 0)) OVER (ORDER BY d.stack_id) <= CAST($3 AS BIGINT) THEN c.body END AS body
         FROM agents a
         LEFT JOIN change_feed f ON f.agent_id = a.id
         LEFT JOIN deployments d ON d.agent_id = a.id AND d.generation > 0 AND d.phase NOT IN ('deleted', 'orphaned')
         LEFT JOIN stacks s ON s.id = d.stack_id
         LEFT JOIN contents c ON c.stack_id = d.stack_id AND c.digest = d.digest AND c.bytes <= $2 AND d.observed_revision < d.revision
         WHERE a.id = $1 ORDER BY d.stack_id";
    LOCK_DEPLOYMENTS = Select deployments
        "SELECT d.stack_id, d.revision, d.generation, d.action, d.phase, d.traceparent, d.tracestate,
                (SELECT s.name FROM stacks s WHERE s.id = d.stack_id) AS stack
         FROM deployments d WHERE d.agent_id = $1 AND d.stack_id IN (SELECT item.value->>'id' FROM each($2))
         ORDER BY d.stack_id /*lock*/";
    RECORD_OUTCOME = Update deployments
        "UPDATE deployments SET phase = $4, attempts = $5, results = $6, error = $7, scope = COALESCE($8, scope), reported_at = $9,
             observed_revision = CASE WHEN $10 = 1 THEN revision ELSE observed_revision END,
             observed_generation = CASE WHEN $10 = 1 THEN generation ELSE observed_generation END,
             finished_at = CASE WHEN $10 = 1 THEN COALESCE(finished_at, $9) ELSE NULL END
         WHERE agent_id = $1 AND stack_id = $2 AND revision = $3 RETURNING phase";
    SUM_UP = Select deployments "SELECT phase, count(*) AS n FROM deployments WHERE stack_id = $1 GROUP BY phase";
    ROLLOUT_ROWS = Select deployments
        "SELECT a.name AS agent, a.cluster_name, d.action, d.phase, d.revision, d.observed_revision, d.generation, d.observed_generation,
                d.attempts, d.results, d.error, d.desired_at, d.finished_at, p.last_seen_at
         FROM deployments d JOIN agents a ON a.id = d.agent_id LEFT JOIN presence p ON p.agent_id = d.agent_id
         WHERE d.stack_id = $1 AND (d.phase NOT IN ('deleted', 'orphaned') OR $2 = 1)
         ORDER BY CASE d.phase WHEN 'failed' THEN 0 WHEN 'degraded' THEN 1 WHEN 'pending' THEN 2 WHEN 'deleting' THEN 2
                  WHEN 'progressing' THEN 3 ELSE 4 END, COALESCE(d.finished_at, 0) - d.desired_at DESC, a.name
         LIMIT 100";
}

/// What writes new revisions: the change's number, time and trace, and how many agents it concerns.
pub(crate) struct RevisionSource<'a> {
    pub(crate) change_seq: u64,
    pub(crate) now: Timestamp,
    pub(crate) fan_out: u64,
    pub(crate) trace: Option<&'a TraceContext>,
}

/// One entry of an agent's desired state.
#[derive(Debug, Clone)]
pub(crate) struct DesiredRow {
    pub(crate) stack_id: StackId,
    pub(crate) stack: Name,
    pub(crate) revision: u64,
    pub(crate) action: Action,
    pub(crate) generation: u64,
    pub(crate) digest: Option<String>,
    pub(crate) fan_out: u64,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) change_seq: u64,
    pub(crate) desired_at: Timestamp,
    pub(crate) observed_revision: u64,
    pub(crate) attempts: u64,
    pub(crate) scope: Option<Scope>,
    pub(crate) body: Option<Vec<u8>>,
}

/// A deployment as a report finds it.
#[derive(Debug, Clone)]
pub(crate) struct DeploymentRow {
    pub(crate) revision: u64,
    pub(crate) generation: u64,
    pub(crate) action: Action,
    pub(crate) phase: Phase,
    pub(crate) stack: Name,
    pub(crate) trace: Option<TraceContext>,
}

/// What a report writes.
pub(crate) struct Outcome<'a> {
    pub(crate) agent: AgentId,
    pub(crate) stack: StackId,
    pub(crate) revision: u64,
    pub(crate) phase: Phase,
    pub(crate) attempt: u32,
    pub(crate) objects: &'a [ObjectReport],
    pub(crate) error: Option<&'a Failure>,
    pub(crate) scope: Option<&'a Scope>,
    pub(crate) acknowledged: bool,
    pub(crate) now: Timestamp,
}

/// One deployment of a rollout, and when its agent was last seen.
pub(crate) struct RolloutRow {
    pub(crate) deployment: Deployment,
    pub(crate) attempts: u64,
    pub(crate) last_seen_at: Option<Timestamp>,
}

fn action(row: &Row) -> Result<Action, Error> {
    let text = row.text("action")?;
    let actions = [Action::Apply, Action::Delete, Action::Withdraw];
    actions
        .into_iter()
        .find(|action| action.as_str() == text)
        .ok_or_else(|| Error::Corrupt { column: "action", source: text.into() })
}

fn phase(row: &Row) -> Result<Phase, Error> {
    let text = row.text("phase")?;
    Phase::parse(&text).ok_or_else(|| Error::Corrupt { column: "phase", source: text.into() })
}

fn trace(row: &Row) -> Result<Option<TraceContext>, Error> {
    let (traceparent, tracestate) = (row.opt_text("traceparent")?, row.opt_text("tracestate")?);
    Ok(traceparent.and_then(|traceparent| TraceContext::from_parts(&traceparent, tracestate.as_deref())))
}

fn desired(row: &Row) -> Result<DesiredRow, Error> {
    Ok(DesiredRow {
        stack_id: row.parse("stack_id")?,
        stack: row.parse("stack")?,
        revision: row.count("revision")?,
        action: action(row)?,
        generation: row.count("generation")?,
        digest: row.opt_text("digest")?,
        fan_out: row.count("fan_out")?,
        trace: trace(row)?,
        change_seq: row.count("change_seq")?,
        desired_at: row.time("desired_at")?,
        observed_revision: row.count("observed_revision")?,
        attempts: row.count("attempts")?,
        scope: row.opt_json("scope")?,
        body: row.opt_bytes("body")?,
    })
}

fn rollout_row(row: &Row) -> Result<RolloutRow, Error> {
    let deployment = Deployment {
        agent: row.parse("agent")?,
        cluster: row.parse("cluster_name")?,
        phase: phase(row)?,
        action: action(row)?,
        revision: row.count("revision")?,
        observed_revision: row.count("observed_revision")?,
        generation: row.count("generation")?,
        observed_generation: row.count("observed_generation")?,
        waiting_for: None,
        error: row.opt_json("error")?,
        objects: row.opt_json("results")?.unwrap_or_default(),
        desired_at: row.time("desired_at")?,
        finished_at: row.opt_time("finished_at")?,
    };
    Ok(RolloutRow { deployment, attempts: row.count("attempts")?, last_seen_at: row.opt_time("last_seen_at")? })
}

fn text<T: Serialize + ?Sized>(column: &'static str, value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|source| Error::Corrupt { column, source: source.into() })
}

impl Tx {
    /// Writes a new generation to every deployment of a stack, whatever their number, in one statement.
    pub(crate) async fn roll_generation(
        &mut self,
        stack: StackId,
        generation: u64,
        digest: &str,
        source: &RevisionSource<'_>,
    ) -> Result<u64, Error> {
        let values = values![
            stack,
            generation,
            digest,
            source.fan_out,
            source.trace.map(|trace| trace.traceparent.as_str()),
            source.trace.and_then(|trace| trace.tracestate.as_deref()),
            source.change_seq,
            source.now
        ];
        self.execute(&ROLL_GENERATION, values).await
    }

    /// Turns every deployment of a stack into a tombstone.
    pub(crate) async fn delete_deployments(&mut self, stack: StackId, source: &RevisionSource<'_>) -> Result<u64, Error> {
        let values = values![
            stack,
            source.fan_out,
            source.trace.map(|trace| trace.traceparent.as_str()),
            source.trace.and_then(|trace| trace.tracestate.as_deref()),
            source.change_seq,
            source.now
        ];
        let rows = self.execute(&DELETE_STACK, values).await?;
        // What was never handed to an agent needs no tombstone.
        let unstarted = self.execute(&DROP_UNSTARTED, values![stack]).await?;
        Ok(rows.saturating_sub(unstarted))
    }

    /// Begins and ends deployments as a set. The changes are all of one stack, or all of one agent.
    pub(crate) async fn change_targets(&mut self, changes: &[TargetChange], source: &RevisionSource<'_>) -> Result<(), Error> {
        // In the order in which reports lock them.
        let mut changes: Vec<_> = changes.iter().collect();
        changes.sort_by_key(|change| (change.stack, change.agent));
        let Some(first) = changes.first() else { return Ok(()) };
        let values = values![
            set(&changes)?,
            source.fan_out,
            source.trace.map(|trace| trace.traceparent.as_str()),
            source.trace.and_then(|trace| trace.tracestate.as_deref()),
            source.change_seq,
            source.now
        ];
        self.execute(&CHANGE_TARGETS, values).await?;
        let of_one_stack = changes.iter().all(|change| change.stack == first.stack);
        let unstarted = |change: &&TargetChange| change.action != Action::Apply && change.generation == 0;
        if changes.iter().any(unstarted) {
            if of_one_stack {
                self.execute(&DROP_UNSTARTED, values![first.stack]).await?;
            } else {
                self.execute(&DROP_UNSTARTED_OF_AGENT, values![first.agent]).await?;
            }
        }
        Ok(())
    }

    pub(crate) async fn agents_of_stack(&mut self, stack: StackId) -> Result<Vec<AgentId>, Error> {
        self.all(&AGENTS_OF_STACK, values![stack]).await?.iter().map(|row| row.parse("agent_id")).collect()
    }

    pub(crate) async fn stacks_of_agent(&mut self, agent: AgentId) -> Result<Vec<StackId>, Error> {
        self.all(&STACKS_OF_AGENT, values![agent]).await?.iter().map(|row| row.parse("stack_id")).collect()
    }

    /// How many agents a stack is for now.
    pub(crate) async fn count_deployments(&mut self, stack: StackId) -> Result<u64, Error> {
        self.optional(&COUNT_OF_STACK, values![stack]).await?.map_or(Ok(0), |row| row.count("n"))
    }

    /// Those of these deployments of an agent that there are, locked until the transaction ends. All of them in one statement and in
    /// the order of their stacks, so that two transactions never wait for each other.
    pub(crate) async fn lock_deployments(
        &mut self,
        agent: AgentId,
        stacks: &[StackId],
    ) -> Result<HashMap<StackId, DeploymentRow>, Error> {
        let rows = self.all(&LOCK_DEPLOYMENTS, values![agent, id_set(stacks)?]).await?;
        let deployment = |row: &Row| {
            let deployment = DeploymentRow {
                revision: row.count("revision")?,
                generation: row.count("generation")?,
                action: action(row)?,
                phase: phase(row)?,
                stack: row.parse("stack")?,
                trace: trace(row)?,
            };
            Ok((row.parse("stack_id")?, deployment))
        };
        rows.iter().map(deployment).collect()
    }

    /// Writes the outcome, guarded by the revision: false when the deployment has moved on.
    pub(crate) async fn record_outcome(&mut self, outcome: &Outcome<'_>) -> Result<bool, Error> {
        let values = values![
            outcome.agent,
            outcome.stack,
            outcome.revision,
            outcome.phase.as_str(),
            outcome.attempt,
            text("results", outcome.objects)?,
            outcome.error.map(|error| text("error", error)).transpose()?,
            outcome.scope.map(|scope| text("scope", scope)).transpose()?,
            outcome.now,
            i64::from(outcome.acknowledged)
        ];
        Ok(self.optional(&RECORD_OUTCOME, values).await?.is_some())
    }
}

impl Db {
    /// The desired state of one agent, and its highest change number, in one snapshot. Content comes along where the
    /// agent has not acknowledged it, up to `inline` bytes each and `total` bytes together: no more than that is read.
    pub(crate) async fn read_desired(&self, agent: AgentId, inline: u64, total: u64) -> Result<(u64, Vec<DesiredRow>), Error> {
        let rows = self.all(&READ_DESIRED, values![agent, inline, total]).await?;
        let seq = rows.first().map_or(Ok(None), |row| row.opt_int("seq"))?.unwrap_or(0);
        let seq = u64::try_from(seq).unwrap_or(0);
        let mut deployments = Vec::with_capacity(rows.len());
        for row in &rows {
            if row.opt_text("stack_id")?.is_some() {
                deployments.push(desired(row)?);
            }
        }
        Ok((seq, deployments))
    }

    /// How many deployments of a stack are in each phase.
    pub(crate) async fn sum_up(&self, stack: StackId) -> Result<Vec<(Phase, u64)>, Error> {
        self.all(&SUM_UP, values![stack]).await?.iter().map(|row| Ok((phase(row)?, row.count("n")?))).collect()
    }

    /// The deployments of a rollout, those that need attention first; at most 100.
    pub(crate) async fn rollout_rows(&self, stack: StackId, with_finished_tombstones: bool) -> Result<Vec<RolloutRow>, Error> {
        let values = values![stack, i64::from(with_finished_tombstones)];
        self.all(&ROLLOUT_ROWS, values).await?.iter().map(rollout_row).collect()
    }
}

#[cfg(test)]
pub(super) fn all_statements() -> &'static [&'static super::sql::Statement] {
    ALL
}
