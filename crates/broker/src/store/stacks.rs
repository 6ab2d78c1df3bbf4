//! Stacks. Reads start from the caller's scope, so that forgetting whose stacks they are is hard.

use std::collections::BTreeMap;

use brokkr_api::{
    AgentId, DeploymentObjectId, GeneratorId, Labels, Name, StackId, TargetSelector, Timestamp, policy::StackPolicy,
    rollouts::Phase, stacks::Stack, suspension::SuspensionScope,
};

use super::{
    Db, Error, Tx,
    rollouts::current,
    sql::{Row, Value, id_set, json, statements, values},
    suspensions::{StoredSuspension, widest},
};
use crate::domain::targeting::Current;

/// What every reading of a stack selects, with the number of its agents and what suspends the fleet.
macro_rules! stack_columns {
    () => {
        "SELECT s.id, s.name, s.generator_id, s.labels, s.targets, s.generation, s.digest, s.row_version, s.policy, s.suspension, s.created_at,
                s.updated_at, s.deleting_since, (SELECT i.suspension FROM installation i WHERE i.singleton = 1) AS fleet_suspension,
                (SELECT count(*) FROM deployments d WHERE d.stack_id = s.id AND d.phase NOT IN ('deleted', 'orphaned')) AS agents"
    };
}

/// The phases of the deployments that a statement is about to give another one, each with how many are in it: `failed=1 healthy=9`.
macro_rules! phases_of {
    ($stack:literal, $which:literal) => {
        concat!(
            ", (SELECT string_agg(p.phase || '=' || p.n, ' ') FROM (SELECT d.phase, count(*) AS n FROM deployments d
             WHERE d.stack_id = ",
            $stack,
            ".id AND ",
            $which,
            " GROUP BY d.phase) p) AS phases"
        )
    };
}

/// A stack as the caller addresses it, locked, with something else about it.
macro_rules! lock_stack {
    ($more:expr) => {
        concat!(
            "SELECT s.id, s.name, s.generator_id, s.labels, s.targets, s.generation, s.digest, s.row_version, s.policy, s.suspension, s.created_at,
             s.updated_at, s.deleting_since", $more, "
         FROM stacks s WHERE s.deleted_at IS NULL AND ((s.name = $1 AND COALESCE(s.generator_id, '') = $2)
             OR (s.id = $1 AND ($3 = 1 OR COALESCE(s.generator_id, '') = $2))) /*lock*/"
        )
    };
}

pub(super) use {lock_stack, phases_of};

// `name or id in scope` is the same condition everywhere: $1 is a name or an id, $2 the owner's id, and $3 is 1 where everybody's stacks
// may be addressed by their id.
statements! {
    LOCK_STACK = Select stacks lock_stack!("");
    LOCK_STACKS = Select stacks
        "SELECT s.id FROM stacks s WHERE s.id IN
             (SELECT d.stack_id FROM deployments d WHERE d.agent_id = $1 AND d.stack_id IN (SELECT item.value->>'id' FROM each($2)))
         ORDER BY s.id /*lock*/";
    FIND_STACK = Select stacks
        concat!(stack_columns!(), "
         FROM stacks s WHERE s.deleted_at IS NULL AND ((s.name = $1 AND COALESCE(s.generator_id, '') = $2)
             OR (s.id = $1 AND ($3 = 1 OR COALESCE(s.generator_id, '') = $2)))");
    LIST_STACKS = Select stacks
        concat!(stack_columns!(), "
         FROM stacks s WHERE s.deleted_at IS NULL AND ($1 = '*' OR COALESCE(s.generator_id, '') = $1)
           AND ($5 = '' OR s.generator_id IN (SELECT g.id FROM generators g WHERE g.name = $5))
           AND ($6 = '' OR (json(s.labels)->>CAST($6 AS TEXT)) = $7)
           AND (s.name > $2 OR (s.name = $2 AND s.id > $3)) ORDER BY s.name, s.id LIMIT $4");
    INSERT_STACK = Insert stacks
        "INSERT INTO stacks (id, name, generator_id, labels, targets, generation, created_at, updated_at, policy)
         SELECT CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS TEXT), CAST($4 AS TEXT), CAST($5 AS TEXT), 0, CAST($6 AS BIGINT), CAST($6 AS BIGINT),
             CAST($8 AS TEXT)
         WHERE CAST($7 AS BIGINT) IS NULL OR (SELECT count(*) FROM stacks s WHERE s.generator_id = $3 AND s.deleted_at IS NULL) < $7";
    UPDATE_STACK = Update stacks
        "UPDATE stacks SET labels = $2, targets = $3, updated_at = $4, policy = $5, row_version = row_version + 1 WHERE id = $1";
    ACCEPT_GENERATION = Update stacks
        concat!("UPDATE stacks SET generation = next_generation, next_generation = next_generation + 1, digest = $4, updated_at = $5,
             row_version = row_version + 1
         WHERE deleted_at IS NULL AND deleting_since IS NULL AND ((name = $1 AND COALESCE(generator_id, '') = $2)
               OR (id = $1 AND ($3 = 1 OR COALESCE(generator_id, '') = $2)))
           AND COALESCE(digest, '') <> $4 AND (CAST($6 AS BIGINT) IS NULL OR row_version = $6)
           AND (CAST($7 AS TEXT) IS NULL OR NOT EXISTS
               (SELECT 1 FROM deployment_objects o WHERE o.stack_id = stacks.id AND o.idempotency_key = $7))
           AND (CAST($8 AS BIGINT) IS NULL OR $9 + (SELECT COALESCE(SUM(c.bytes), 0) FROM contents c JOIN stacks own ON own.id = c.stack_id
                WHERE own.generator_id = stacks.generator_id) <= $8)
         RETURNING id, name, generator_id, labels, targets, generation, digest, row_version, policy, suspension, created_at, updated_at,
             deleting_since", phases_of!("stacks", "d.action = 'apply'"));
    SET_STACK_SUSPENSION = Update stacks
        "UPDATE stacks SET suspension = $2, updated_at = $3, row_version = row_version + 1 WHERE id = $1";
    OLD_GENERATIONS = Select deployment_objects
        "SELECT o.id FROM deployment_objects o JOIN stacks s ON s.id = o.stack_id
         WHERE o.stack_id IN (SELECT m.stack_id FROM deployment_objects m GROUP BY m.stack_id HAVING count(*) > $1 + 1)
           AND o.generation < s.generation AND o.created_at < $3 AND $1 <
               (SELECT count(*) FROM deployment_objects n WHERE n.stack_id = o.stack_id AND n.generation > o.generation)
         LIMIT $2";
    PRUNE_GENERATIONS = Delete deployment_objects
        "DELETE FROM deployment_objects WHERE id IN (SELECT item.value->>'id' FROM each($1)) RETURNING stack_id";
    PRUNE_CONTENTS = Delete contents
        "DELETE FROM contents WHERE stack_id IN (SELECT item.value->>'id' FROM each($1)) AND NOT EXISTS
             (SELECT 1 FROM deployment_objects o WHERE o.stack_id = contents.stack_id AND o.digest = contents.digest)
           AND NOT EXISTS (SELECT 1 FROM deployments d WHERE d.stack_id = contents.stack_id AND d.digest = contents.digest)";
    TARGETS_AND_AGENT = Select stacks
        "SELECT s.id, s.targets, s.generation, s.digest, d.action, d.phase
         FROM stacks s LEFT JOIN deployments d ON d.stack_id = s.id AND d.agent_id = $1
         WHERE s.deleting_since IS NULL AND s.deleted_at IS NULL";
}

/// Whose stacks a caller may see: who is not a generator addresses its own by name, lists everybody's, and addresses them by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Everybody,
    Generator(GeneratorId),
}

impl Scope {
    pub(crate) fn generator(self) -> Option<GeneratorId> {
        match self {
            Self::Everybody => None,
            Self::Generator(id) => Some(id),
        }
    }

    fn owner(self) -> String {
        self.generator().map(|id| id.to_string()).unwrap_or_default()
    }

    /// The owner's id, or `*` for everybody's.
    pub(super) fn owner_or_all(self) -> String {
        if self == Self::Everybody { "*".to_owned() } else { self.owner() }
    }

    pub(super) fn address(self, name: &Name) -> Vec<Value> {
        values![name.as_str(), self.owner(), i64::from(self == Self::Everybody)]
    }
}

/// A stack.
#[derive(Debug, Clone)]
pub(crate) struct StackRow {
    pub(crate) id: StackId,
    pub(crate) name: Name,
    pub(crate) generator: Option<GeneratorId>,
    pub(crate) labels: Labels,
    pub(crate) targets: TargetSelector,
    pub(crate) policy: StackPolicy,
    pub(crate) generation: u64,
    /// Digest of the newest generation.
    pub(crate) digest: Option<String>,
    /// Counts up with every change of the row: its `ETag`.
    pub(crate) version: u64,
    pub(crate) suspension: Option<StoredSuspension>,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) deleting_since: Option<Timestamp>,
}

/// What targeting needs of a stack.
pub(crate) struct StackTargets {
    pub(crate) id: StackId,
    pub(crate) targets: TargetSelector,
    pub(crate) generation: u64,
    pub(crate) digest: Option<String>,
    /// What the agent that was asked for has of it.
    pub(crate) current: Current,
}

/// How many deployments are in each phase.
pub(crate) type Phases = BTreeMap<Phase, u64>;

/// What a new generation is conditional on.
pub(crate) struct AcceptGeneration<'a> {
    pub(crate) digest: &'a str,
    pub(crate) bytes: u64,
    pub(crate) version: Option<u64>,
    pub(crate) idempotency_key: Option<&'a str>,
    /// Most bytes of the owner's content.
    pub(crate) max_bytes: Option<u64>,
    pub(crate) now: Timestamp,
}

/// Which stacks a list shows.
#[derive(Debug, Default)]
pub(crate) struct StackFilter<'a> {
    pub(crate) label: Option<(&'a str, &'a str)>,
    pub(crate) generator: Option<&'a Name>,
}

impl StackRow {
    pub(crate) fn into_api(self, agents: u64, fleet: Option<StoredSuspension>) -> Stack {
        Stack {
            id: self.id,
            name: self.name,
            generator: self.generator,
            labels: self.labels,
            targets: self.targets,
            policy: self.policy,
            generation: self.generation,
            agents,
            suspended: widest([(SuspensionScope::Fleet, fleet), (SuspensionScope::Stack, self.suspension)]),
            created_at: self.created_at,
            updated_at: self.updated_at,
            deleting_since: self.deleting_since,
        }
    }
}

/// The policy as it is stored: nothing where it is the default.
fn policy(row: &StackRow) -> Result<Option<String>, Error> {
    (!row.policy.is_default()).then(|| json("policy", &row.policy)).transpose()
}

pub(super) fn phases(row: &Row) -> Result<Phases, Error> {
    let text = row.opt_text("phases")?.unwrap_or_default();
    let count = |part: &str| {
        let (phase, count) = part.split_once('=')?;
        Some((Phase::parse(phase)?, count.parse().ok()?))
    };
    let phases: Option<Phases> = text.split_whitespace().map(count).collect();
    phases.ok_or_else(|| Error::Corrupt { column: "phases", source: text.into() })
}

pub(super) fn stack(row: &Row) -> Result<StackRow, Error> {
    Ok(StackRow {
        id: row.parse("id")?,
        name: row.parse("name")?,
        generator: row.opt_parse("generator_id")?,
        labels: row.json("labels")?,
        targets: row.json("targets")?,
        policy: row.opt_json("policy")?.unwrap_or_default(),
        generation: row.count("generation")?,
        digest: row.opt_text("digest")?,
        version: row.count("row_version")?,
        suspension: row.opt_json("suspension")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        deleting_since: row.opt_time("deleting_since")?,
    })
}

/// A stack as it is read: with the number of its agents and what suspends the fleet.
pub(crate) struct FoundStack {
    pub(crate) row: StackRow,
    pub(crate) agents: u64,
    pub(crate) fleet: Option<StoredSuspension>,
}

impl FoundStack {
    pub(crate) fn into_api(self) -> Stack {
        self.row.into_api(self.agents, self.fleet)
    }
}

fn found(row: &Row) -> Result<FoundStack, Error> {
    Ok(FoundStack { row: stack(row)?, agents: row.count("agents")?, fleet: row.opt_json("fleet_suspension")? })
}

impl Tx {
    /// The stack of that name or id in the scope, locked until the transaction ends.
    pub(crate) async fn lock_stack(&mut self, scope: Scope, name: &Name) -> Result<Option<StackRow>, Error> {
        self.optional(&LOCK_STACK, scope.address(name)).await?.as_ref().map(stack).transpose()
    }

    /// Locks those of these stacks that an agent has a deployment of: of two last acknowledgements the second one sees the first.
    pub(crate) async fn lock_stacks_of_agent(&mut self, agent: AgentId, stacks: &[StackId]) -> Result<(), Error> {
        self.all(&LOCK_STACKS, values![agent, id_set(stacks)?]).await.map(drop)
    }

    /// Stores a new stack; false when its owner has `max_stacks` already.
    pub(crate) async fn insert_stack(&mut self, row: &StackRow, max_stacks: Option<u32>) -> Result<bool, Error> {
        let values = values![
            row.id,
            row.name.as_str(),
            row.generator,
            json("labels", &row.labels)?,
            json("targets", &row.targets)?,
            row.created_at,
            max_stacks.map(i64::from),
            policy(row)?
        ];
        Ok(self.execute(&INSERT_STACK, values).await? > 0)
    }

    pub(crate) async fn update_stack(&mut self, row: &StackRow) -> Result<(), Error> {
        let values = values![row.id, json("labels", &row.labels)?, json("targets", &row.targets)?, row.updated_at, policy(row)?];
        self.execute(&UPDATE_STACK, values).await.map(drop)
    }

    /// Takes the next generation, and locks the stack; nothing when a condition does not hold. Tells the phases that its deployments
    /// are in.
    pub(crate) async fn accept_generation(
        &mut self,
        scope: Scope,
        name: &Name,
        accept: &AcceptGeneration<'_>,
    ) -> Result<Option<(StackRow, Phases)>, Error> {
        let number = |number: Option<u64>| number.map(|number| i64::try_from(number).unwrap_or(i64::MAX));
        let mut values = scope.address(name);
        values.extend(values![
            accept.digest,
            accept.now,
            number(accept.version),
            accept.idempotency_key,
            number(accept.max_bytes),
            accept.bytes
        ]);
        let row = self.optional(&ACCEPT_GENERATION, values).await?;
        row.map(|row| Ok((stack(&row)?, phases(&row)?))).transpose()
    }

    pub(crate) async fn suspend_stack(
        &mut self,
        id: StackId,
        suspension: Option<&StoredSuspension>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let suspension = suspension.map(|suspension| json("suspension", suspension)).transpose()?;
        self.execute(&SET_STACK_SUSPENSION, values![id, suspension, now]).await.map(drop)
    }

    /// The selectors of all stacks that are not being deleted, and whether the agent has them now.
    pub(crate) async fn targets_and_agent(&mut self, agent: AgentId) -> Result<Vec<StackTargets>, Error> {
        let rows = self.all(&TARGETS_AND_AGENT, values![agent]).await?;
        rows.iter()
            .map(|row| {
                Ok(StackTargets {
                    id: row.parse("id")?,
                    targets: row.json("targets")?,
                    generation: row.count("generation")?,
                    digest: row.opt_text("digest")?,
                    current: current(row)?,
                })
            })
            .collect()
    }
}

impl Db {
    /// Removes generations of which a stack has `keep` newer ones beside its newest and that were made before this time, at most so
    /// many, and the content that nothing refers to any more. Tells how many generations.
    pub(crate) async fn prune_history(&self, keep: u32, before: Timestamp, limit: u32) -> Result<u64, Error> {
        let old = self.all(&OLD_GENERATIONS, values![keep, limit, before]).await?;
        let old: Vec<DeploymentObjectId> = old.iter().map(|row| row.parse("id")).collect::<Result<_, _>>()?;
        if old.is_empty() {
            return Ok(0);
        }
        let mut tx = self.begin().await?;
        let pruned = tx.all(&PRUNE_GENERATIONS, values![id_set(&old)?]).await?;
        let mut stacks: Vec<StackId> = pruned.iter().map(|row| row.parse("stack_id")).collect::<Result<_, _>>()?;
        stacks.sort_unstable();
        stacks.dedup();
        tx.execute(&PRUNE_CONTENTS, values![id_set(&stacks)?]).await?;
        tx.commit().await?;
        Ok(old.len() as u64)
    }

    pub(crate) async fn find_stack(&self, scope: Scope, name: &Name) -> Result<Option<FoundStack>, Error> {
        self.optional(&FIND_STACK, scope.address(name)).await?.as_ref().map(found).transpose()
    }

    /// A page of stacks by name and id; who is not a generator sees those of everybody.
    pub(crate) async fn list_stacks(
        &self,
        scope: Scope,
        filter: &StackFilter<'_>,
        after: (&str, &str),
        limit: u32,
    ) -> Result<Vec<Stack>, Error> {
        let (key, value) = filter.label.unwrap_or_default();
        let generator = filter.generator.map_or("", Name::as_str);
        let values = values![scope.owner_or_all(), after.0, after.1, limit, generator, key, value];
        self.all(&LIST_STACKS, values).await?.iter().map(|row| Ok(found(row)?.into_api())).collect()
    }
}

#[cfg(test)]
pub(super) fn all_statements() -> &'static [&'static super::sql::Statement] {
    ALL
}
