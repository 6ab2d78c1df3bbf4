//! Stacks. Reads start from the caller's scope, so that forgetting whose stacks they are is hard.

use brokkr_api::{AgentId, GeneratorId, Labels, Name, StackId, TargetSelector, Timestamp, stacks::Stack};
use serde::Serialize;

use super::{
    Db, Error, Tx,
    sql::{Row, id_set, statements, values},
};

statements! {
    LOCK_STACK = Select stacks
        "SELECT id, name, generator_id, labels, targets, generation, created_at, updated_at, deleting_since
         FROM stacks WHERE name = $1 AND COALESCE(generator_id, '') = $2 AND deleted_at IS NULL /*lock*/";
    LOCK_STACKS = Select stacks
        "SELECT s.id FROM stacks s WHERE s.id IN
             (SELECT d.stack_id FROM deployments d WHERE d.agent_id = $1 AND d.stack_id IN (SELECT item.value->>'id' FROM each($2)))
         ORDER BY s.id /*lock*/";
    FIND_STACK = Select stacks
        "SELECT s.id, s.name, s.generator_id, s.labels, s.targets, s.generation, s.created_at, s.updated_at, s.deleting_since,
                (SELECT count(*) FROM deployments d WHERE d.stack_id = s.id AND d.phase NOT IN ('deleted', 'orphaned')) AS agents
         FROM stacks s WHERE s.name = $1 AND COALESCE(s.generator_id, '') = $2 AND s.deleted_at IS NULL";
    LIST_STACKS = Select stacks
        "SELECT s.id, s.name, s.generator_id, s.labels, s.targets, s.generation, s.created_at, s.updated_at, s.deleting_since,
                (SELECT count(*) FROM deployments d WHERE d.stack_id = s.id AND d.phase NOT IN ('deleted', 'orphaned')) AS agents
         FROM stacks s WHERE s.deleted_at IS NULL AND ($1 = '*' OR COALESCE(s.generator_id, '') = $1)
           AND (s.name > $2 OR (s.name = $2 AND s.id > $3)) ORDER BY s.name, s.id LIMIT $4";
    INSERT_STACK = Insert stacks
        "INSERT INTO stacks (id, name, generator_id, labels, targets, generation, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, 0, $6, $6)";
    UPDATE_STACK = Update stacks "UPDATE stacks SET labels = $2, targets = $3, updated_at = $4 WHERE id = $1";
    SET_GENERATION = Update stacks "UPDATE stacks SET generation = $2, updated_at = $3 WHERE id = $1";
    MARK_DELETING = Update stacks "UPDATE stacks SET deleting_since = $2, updated_at = $2 WHERE id = $1 AND deleting_since IS NULL";
    FINISH_DELETION = Update stacks
        "UPDATE stacks SET deleted_at = $2, updated_at = $2
         WHERE id = $1 AND deleting_since IS NOT NULL AND deleted_at IS NULL AND NOT EXISTS
             (SELECT 1 FROM deployments d WHERE d.stack_id = $1 AND d.phase NOT IN ('deleted', 'orphaned'))
         RETURNING name";
    DROP_OBJECTS = Delete deployment_objects "DELETE FROM deployment_objects WHERE stack_id = $1";
    DROP_CONTENTS = Delete contents "DELETE FROM contents WHERE stack_id = $1";
    ALL_TARGETS = Select stacks
        "SELECT s.id, s.targets, s.generation, o.digest FROM stacks s
         LEFT JOIN deployment_objects o ON o.stack_id = s.id AND o.generation = s.generation
         WHERE s.deleting_since IS NULL AND s.deleted_at IS NULL";
}

/// Whose stacks a caller may see: an admin addresses its own by name and lists everybody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Admin,
    Generator(GeneratorId),
}

impl Scope {
    pub(crate) fn generator(self) -> Option<GeneratorId> {
        match self {
            Self::Admin => None,
            Self::Generator(id) => Some(id),
        }
    }

    fn owner(self) -> String {
        self.generator().map(|id| id.to_string()).unwrap_or_default()
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
    pub(crate) generation: u64,
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
}

impl StackRow {
    pub(crate) fn into_api(self, agents: u64) -> Stack {
        Stack {
            id: self.id,
            name: self.name,
            generator: self.generator,
            labels: self.labels,
            targets: self.targets,
            generation: self.generation,
            agents,
            created_at: self.created_at,
            updated_at: self.updated_at,
            deleting_since: self.deleting_since,
        }
    }
}

fn stack(row: &Row) -> Result<StackRow, Error> {
    Ok(StackRow {
        id: row.parse("id")?,
        name: row.parse("name")?,
        generator: row.opt_parse("generator_id")?,
        labels: row.json("labels")?,
        targets: row.json("targets")?,
        generation: row.count("generation")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        deleting_since: row.opt_time("deleting_since")?,
    })
}

fn listed(row: &Row) -> Result<Stack, Error> {
    Ok(stack(row)?.into_api(row.count("agents")?))
}

fn text<T: Serialize>(column: &'static str, value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|source| Error::Corrupt { column, source: source.into() })
}

impl Tx {
    /// The stack of that name in the scope, locked until the transaction ends.
    pub(crate) async fn lock_stack(&mut self, scope: Scope, name: &Name) -> Result<Option<StackRow>, Error> {
        self.optional(&LOCK_STACK, values![name.as_str(), scope.owner()]).await?.as_ref().map(stack).transpose()
    }

    /// Locks those of these stacks that an agent has a deployment of: of two last acknowledgements the second one sees the first.
    pub(crate) async fn lock_stacks_of_agent(&mut self, agent: AgentId, stacks: &[StackId]) -> Result<(), Error> {
        self.all(&LOCK_STACKS, values![agent, id_set(stacks)?]).await.map(drop)
    }

    pub(crate) async fn insert_stack(&mut self, row: &StackRow) -> Result<(), Error> {
        let values = values![
            row.id,
            row.name.as_str(),
            row.generator,
            text("labels", &row.labels)?,
            text("targets", &row.targets)?,
            row.created_at
        ];
        self.execute(&INSERT_STACK, values).await.map(drop)
    }

    pub(crate) async fn update_stack(&mut self, row: &StackRow) -> Result<(), Error> {
        let values = values![row.id, text("labels", &row.labels)?, text("targets", &row.targets)?, row.updated_at];
        self.execute(&UPDATE_STACK, values).await.map(drop)
    }

    pub(crate) async fn set_generation(&mut self, id: StackId, generation: u64, now: Timestamp) -> Result<(), Error> {
        self.execute(&SET_GENERATION, values![id, generation, now]).await.map(drop)
    }

    pub(crate) async fn mark_deleting(&mut self, id: StackId, now: Timestamp) -> Result<(), Error> {
        self.execute(&MARK_DELETING, values![id, now]).await.map(drop)
    }

    /// Ends the deletion when every agent has acknowledged: the name is free again and the content is gone. Tells whether it did.
    pub(crate) async fn finish_deletion(&mut self, id: StackId, now: Timestamp) -> Result<bool, Error> {
        if self.optional(&FINISH_DELETION, values![id, now]).await?.is_none() {
            return Ok(false);
        }
        self.execute(&DROP_OBJECTS, values![id]).await?;
        self.execute(&DROP_CONTENTS, values![id]).await?;
        Ok(true)
    }

    /// The selectors of all stacks that are not being deleted.
    pub(crate) async fn all_targets(&mut self) -> Result<Vec<StackTargets>, Error> {
        let rows = self.all(&ALL_TARGETS, vec![]).await?;
        rows.iter()
            .map(|row| {
                Ok(StackTargets {
                    id: row.parse("id")?,
                    targets: row.json("targets")?,
                    generation: row.count("generation")?,
                    digest: row.opt_text("digest")?,
                })
            })
            .collect()
    }
}

impl Db {
    pub(crate) async fn find_stack(&self, scope: Scope, name: &Name) -> Result<Option<Stack>, Error> {
        self.optional(&FIND_STACK, values![name.as_str(), scope.owner()]).await?.as_ref().map(listed).transpose()
    }

    /// A page of stacks by name and id; an admin sees those of every generator.
    pub(crate) async fn list_stacks(&self, scope: Scope, after: (&str, &str), limit: u32) -> Result<Vec<Stack>, Error> {
        let owner = if scope == Scope::Admin { "*".to_owned() } else { scope.owner() };
        self.all(&LIST_STACKS, values![owner, after.0, after.1, limit]).await?.iter().map(listed).collect()
    }
}

#[cfg(test)]
pub(super) fn all_statements() -> &'static [&'static super::sql::Statement] {
    ALL
}
