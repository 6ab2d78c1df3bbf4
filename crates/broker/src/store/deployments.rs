//! Deployments: what each agent has to do with each stack.

use std::collections::HashMap;

use brokkr_api::{
    AgentId, Name, StackId, Timestamp,
    desired_state::{Action, Scope},
    policy::StackPolicy,
    suspension::{Suspension, SuspensionScope},
    tracing::TraceOrder,
};
use brokkr_telemetry::TraceContext;

use super::{
    Db, Error, Tx,
    deployment_objects::StoredContent,
    rollouts::{action, current, trace},
    sql::{Row, set, statements, values},
    suspensions::{StoredSuspension, widest},
    tracing::StoredTracing,
};
use crate::domain::{
    policy,
    targeting::{Current, TargetChange},
    tracing,
};

// A deployment of generation 0 was never handed to its agent: it needs no tombstone, and ends at once.
statements! {
    ROLL_GENERATION = Update deployments
        "UPDATE deployments SET revision = revision + 1, generation = $2, digest = $3,
             fan_out = (SELECT count(*) FROM deployments d WHERE d.stack_id = $1 AND d.action = 'apply'), traceparent = $4, tracestate = $5,
             change_seq = $6, desired_at = $7, phase = 'pending', attempts = 0, results = NULL, error = NULL, finished_at = NULL,
             health = NULL, picked_up_at = NULL, healthy_at = NULL, report_traceparent = NULL, held_plan = NULL, held_objects = NULL, approved_plan = NULL
         WHERE stack_id = $1 AND action = 'apply'";
    DELETE_STACK = Update deployments
        "UPDATE deployments SET revision = revision + 1, action = 'delete', digest = NULL,
             fan_out = (SELECT count(*) FROM deployments d WHERE d.stack_id = $1 AND d.phase NOT IN ('deleted', 'orphaned')),
             traceparent = $2, tracestate = $3, change_seq = $4, desired_at = $5,
             phase = CASE WHEN generation = 0 THEN 'deleted' ELSE 'deleting' END, attempts = 0, results = NULL, error = NULL,
             finished_at = NULL, health = NULL, picked_up_at = NULL, healthy_at = NULL, report_traceparent = NULL,
             held_plan = NULL, held_objects = NULL, approved_plan = NULL
         WHERE stack_id = $1 AND phase NOT IN ('deleted', 'orphaned')";
    CHANGE_TARGETS = Insert deployments
        "INSERT INTO deployments (agent_id, stack_id, revision, action, generation, digest, fan_out, traceparent, tracestate, change_seq,
             desired_at, phase, observed_revision, observed_generation, attempts)
         SELECT item.value->>'agent', item.value->>'stack', 1, item.value->>'action', CAST(item.value->>'generation' AS BIGINT),
             item.value->>'digest', $2, $3, $4, $5, $6, item.value->>'phase', 0, 0, 0 FROM each($1) WHERE TRUE
         ON CONFLICT (agent_id, stack_id) DO UPDATE SET revision = deployments.revision + 1, action = excluded.action,
             generation = excluded.generation, digest = excluded.digest, fan_out = excluded.fan_out, traceparent = excluded.traceparent,
             tracestate = excluded.tracestate, change_seq = excluded.change_seq, desired_at = excluded.desired_at, phase = excluded.phase,
             attempts = 0, results = NULL, error = NULL, finished_at = NULL, health = NULL, picked_up_at = NULL, healthy_at = NULL,
             report_traceparent = NULL, held_plan = NULL, held_objects = NULL, approved_plan = NULL";
    TOUCH_STACK = Update deployments
        "UPDATE deployments SET change_seq = $2 WHERE stack_id = $1 AND phase NOT IN ('deleted', 'orphaned')";
    APPROVE = Update deployments
        "UPDATE deployments SET approved_plan = $4, change_seq = $5
         WHERE stack_id = $1 AND agent_id = $2 AND revision = $3 AND held_plan = $4 AND COALESCE(approved_plan, '') <> $4
           AND phase NOT IN ('deleted', 'orphaned')";
    ORPHAN_AND_REVOKE = Update deployments
        "/*first*/ UPDATE api_keys SET revoked_at = $3, change_seq = $2 WHERE agent_id = $1 AND revoked_at IS NULL
         /*next*/ UPDATE agents SET name = 'abandoned-' || REPLACE(id, '-', '') WHERE id = $1
         /*then*/ UPDATE deployments SET revision = revision + 1, action = 'withdraw', digest = NULL, phase = 'orphaned', change_seq = $2, desired_at = $3,
             finished_at = $3, held_plan = NULL, held_objects = NULL, approved_plan = NULL
         WHERE agent_id = $1 AND phase NOT IN ('deleted', 'orphaned') RETURNING stack_id";
    AGENTS_AND_STACK = Select agents
        "SELECT i.suspension AS fleet_suspension, a.id, a.name, a.labels, d.action, d.phase FROM installation i
         LEFT JOIN agents a ON a.abandoned_at IS NULL
         LEFT JOIN deployments d ON d.agent_id = a.id AND d.stack_id = $1
         WHERE i.singleton = 1 ORDER BY a.name";
    READ_DESIRED = Select deployments
        "SELECT f.seq, a.rotation_wanted_at, a.name AS agent, a.labels AS agent_labels,
                (SELECT i.tracing FROM installation i WHERE i.singleton = 1) AS tracing, d.stack_id, s.name AS stack, d.revision, d.action, d.generation, d.digest, d.fan_out, d.traceparent,
                d.tracestate, d.change_seq, d.desired_at, d.picked_up_at, d.observed_revision, d.attempts, d.scope, d.approved_plan, s.policy, s.labels, a.suspension AS agent_suspension,
                s.suspension AS stack_suspension, (SELECT i.suspension FROM installation i WHERE i.singleton = 1) AS fleet_suspension,
                c.encryption_key, CASE WHEN SUM(COALESCE(c.bytes, 0)) OVER (ORDER BY d.stack_id) <= CAST($3 AS BIGINT) THEN c.body END AS body
         FROM agents a
         LEFT JOIN change_feed f ON f.agent_id = a.id
         LEFT JOIN deployments d ON d.agent_id = a.id AND d.generation > 0 AND d.phase NOT IN ('deleted', 'orphaned')
         LEFT JOIN stacks s ON s.id = d.stack_id
         LEFT JOIN contents c ON c.stack_id = d.stack_id AND c.digest = d.digest AND c.bytes <= $2 AND d.observed_revision < d.revision
         WHERE a.id = $1 ORDER BY d.stack_id";
}

/// What writes new revisions: the change's number, time and trace.
pub(crate) struct RevisionSource<'a> {
    pub(crate) change_seq: u64,
    pub(crate) now: Timestamp,
    pub(crate) trace: Option<&'a TraceContext>,
}

impl RevisionSource<'_> {
    fn traceparent(&self) -> Option<&str> {
        self.trace.map(|trace| trace.traceparent.as_str())
    }

    fn tracestate(&self) -> Option<&str> {
        self.trace.and_then(|trace| trace.tracestate.as_deref())
    }
}

/// An agent as the targeting of one stack sees it.
pub(crate) struct AgentTarget {
    pub(crate) id: AgentId,
    pub(crate) name: Name,
    pub(crate) labels: brokkr_api::Labels,
    pub(crate) current: Current,
}

/// All agents as the targeting of one stack sees them.
pub(crate) struct StackAgents {
    pub(crate) agents: Vec<AgentTarget>,
    pub(crate) fleet: Option<StoredSuspension>,
}

/// Which deletions a person approves.
pub(crate) struct Approval<'a> {
    pub(crate) agent: AgentId,
    pub(crate) revision: u64,
    pub(crate) plan: &'a str,
}

/// An agent's desired state as it is read.
#[derive(Debug, Default)]
pub(crate) struct DesiredRows {
    /// The agent's highest change.
    pub(crate) seq: u64,
    /// Whether the agent should take a new key.
    pub(crate) rotate_key: bool,
    /// How the agent should trace, where something is set.
    pub(crate) tracing: Option<TraceOrder>,
    pub(crate) deployments: Vec<DesiredRow>,
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
    /// Whether this revision was handed to the agent before.
    pub(crate) picked_up: bool,
    pub(crate) observed_revision: u64,
    pub(crate) attempts: u64,
    pub(crate) suspended: Option<Suspension>,
    /// The policy that is in force: that of the stack and its labels.
    pub(crate) policy: StackPolicy,
    pub(crate) approved: Option<String>,
    pub(crate) scope: Option<Scope>,
    pub(crate) content: Option<StoredContent>,
}

/// What is set for this agent.
fn tracing_order(row: &Row) -> Result<Option<TraceOrder>, Error> {
    let Some(stored) = row.opt_json::<StoredTracing>("tracing")? else { return Ok(None) };
    let settings = tracing::of_agent(&stored.agents, &row.parse("agent")?, &row.json("agent_labels")?);
    Ok(Some(TraceOrder { revision: stored.revision, settings: settings.cloned().unwrap_or_default() }))
}

fn desired(row: &Row) -> Result<DesiredRow, Error> {
    let body = row.opt_bytes("body")?;
    let encryption_key = row.opt_text("encryption_key")?;
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
        picked_up: row.opt_int("picked_up_at")?.is_some(),
        observed_revision: row.count("observed_revision")?,
        attempts: row.count("attempts")?,
        suspended: widest([
            (SuspensionScope::Fleet, row.opt_json("fleet_suspension")?),
            (SuspensionScope::Agent, row.opt_json("agent_suspension")?),
            (SuspensionScope::Stack, row.opt_json("stack_suspension")?),
        ]),
        policy: policy::in_force(row.opt_json("policy")?.unwrap_or_default(), &row.json("labels")?),
        approved: row.opt_text("approved_plan")?,
        scope: row.opt_json("scope")?,
        content: body.map(|body| StoredContent { body, encryption_key }),
    })
}

impl Tx {
    /// Writes a new generation to every deployment of a stack, whatever their number, in one statement. Tells how many.
    pub(crate) async fn roll_generation(
        &mut self,
        stack: StackId,
        generation: u64,
        digest: &str,
        source: &RevisionSource<'_>,
    ) -> Result<u64, Error> {
        let values = values![stack, generation, digest, source.traceparent(), source.tracestate(), source.change_seq, source.now];
        self.execute(&ROLL_GENERATION, values).await
    }

    /// Turns every deployment of a stack into a tombstone. Tells how many.
    pub(crate) async fn delete_deployments(&mut self, stack: StackId, source: &RevisionSource<'_>) -> Result<u64, Error> {
        let values = values![stack, source.traceparent(), source.tracestate(), source.change_seq, source.now];
        self.execute(&DELETE_STACK, values).await
    }

    /// Begins and ends deployments as a set. The changes are all of one stack, or all of one agent.
    pub(crate) async fn change_targets(&mut self, changes: &[TargetChange], source: &RevisionSource<'_>) -> Result<(), Error> {
        if changes.is_empty() {
            return Ok(());
        }
        // In the order in which reports lock them.
        let mut changes: Vec<_> = changes.iter().collect();
        changes.sort_by_key(|change| (change.stack, change.agent));
        let fan_out = changes.len() as u64;
        let values = values![set(&changes)?, fan_out, source.traceparent(), source.tracestate(), source.change_seq, source.now];
        self.execute(&CHANGE_TARGETS, values).await.map(drop)
    }

    /// Lets the agents of a stack look again, though no revision is new.
    pub(crate) async fn touch_deployments(&mut self, stack: StackId, change_seq: u64) -> Result<(), Error> {
        self.execute(&TOUCH_STACK, values![stack, change_seq]).await.map(drop)
    }

    /// Orphans everything that an agent has, revokes its keys and gives its name back. Tells of which stacks.
    pub(crate) async fn orphan(&mut self, agent: AgentId, change_seq: u64, now: Timestamp) -> Result<Vec<StackId>, Error> {
        self.all(&ORPHAN_AND_REVOKE, values![agent, change_seq, now]).await?.iter().map(|row| row.parse("stack_id")).collect()
    }

    /// Every agent, by name, and what it has to do with a stack now; and what suspends the fleet.
    pub(crate) async fn agents_and_stack(&mut self, stack: StackId) -> Result<StackAgents, Error> {
        let rows = self.all(&AGENTS_AND_STACK, values![stack]).await?;
        let target = |row: &Row| {
            Ok(AgentTarget {
                id: row.parse("id")?,
                name: row.parse("name")?,
                labels: row.json("labels")?,
                current: current(row)?,
            })
        };
        let mut found = StackAgents { agents: Vec::with_capacity(rows.len()), fleet: None };
        for row in &rows {
            found.fleet = row.opt_json("fleet_suspension")?;
            if row.opt_text("id")?.is_some() {
                found.agents.push(target(row)?);
            }
        }
        Ok(found)
    }

    /// Approves a held plan of exactly this revision; tells whether that is what the deployment holds and nobody had approved it.
    pub(crate) async fn approve(&mut self, stack: StackId, approval: &Approval<'_>, change_seq: u64) -> Result<bool, Error> {
        let values = values![stack, approval.agent, approval.revision, approval.plan, change_seq];
        Ok(self.execute(&APPROVE, values).await? > 0)
    }
}

impl Db {
    /// The desired state of one agent, and its highest change number, in one snapshot. Content comes along where the
    /// agent has not acknowledged it, up to `inline` bytes each and `total` bytes together: no more than that is read.
    pub(crate) async fn read_desired(&self, agent: AgentId, inline: u64, total: u64) -> Result<DesiredRows, Error> {
        let rows = self.all(&READ_DESIRED, values![agent, inline, total]).await?;
        let Some(first) = rows.first() else { return Ok(DesiredRows::default()) };
        let seq = u64::try_from(first.opt_int("seq")?.unwrap_or(0)).unwrap_or(0);
        let rotate_key = first.opt_int("rotation_wanted_at")?.is_some();
        let tracing = tracing_order(first)?;
        let mut deployments = Vec::with_capacity(rows.len());
        for row in &rows {
            if row.opt_text("stack_id")?.is_some() {
                deployments.push(desired(row)?);
            }
        }
        Ok(DesiredRows { seq, rotate_key, tracing, deployments })
    }
}

/// Deployments by their stacks.
pub(crate) type ByStack<T> = HashMap<StackId, T>;

#[cfg(test)]
pub(super) fn all_statements() -> &'static [&'static super::sql::Statement] {
    ALL
}
