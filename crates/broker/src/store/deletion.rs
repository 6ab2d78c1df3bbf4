//! The end of stacks: their deletion, which every agent acknowledges, and of agents that are given up.

use brokkr_api::{AgentId, Name, StackId, Timestamp};

use super::{
    Error, Phases, Scope, StackRow, Tx,
    rollouts::phase,
    sql::{Row, id_set, statements, values},
    stacks::{lock_stack, phases, phases_of, stack},
};

statements! {
    LOCK_STACK_TO_DELETE = Select stacks lock_stack!(phases_of!("s", "d.phase NOT IN ('deleted', 'orphaned')"));
    LOCK_STACKS_TO_ORPHAN = Select stacks
        "SELECT s.id, s.deleting_since, (SELECT d.phase FROM deployments d WHERE d.agent_id = $1 AND d.stack_id = s.id) AS phase
         FROM stacks s WHERE s.id IN
             (SELECT d.stack_id FROM deployments d WHERE d.agent_id = $1 AND d.phase NOT IN ('deleted', 'orphaned'))
         ORDER BY s.id /*lock*/";
    MARK_DELETING = Update stacks
        "UPDATE stacks SET deleting_since = $2, updated_at = $2, row_version = row_version + 1, deleted_at = CASE WHEN $3 = 1 THEN CAST($2 AS BIGINT) END
         WHERE id = $1";
    FINISH_DELETIONS = Update stacks
        "UPDATE stacks SET deleted_at = $2, updated_at = $2
         WHERE id IN (SELECT item.value->>'id' FROM each($1)) AND deleting_since IS NOT NULL AND deleted_at IS NULL AND NOT EXISTS
             (SELECT 1 FROM deployments d WHERE d.stack_id = stacks.id AND d.phase NOT IN ('deleted', 'orphaned'))
         RETURNING id, name, generation";
    DROP_CONTENT = Delete contents
        "/*first*/ DELETE FROM deployment_objects WHERE stack_id IN (SELECT item.value->>'id' FROM each($1))
         /*then*/ DELETE FROM contents WHERE stack_id IN (SELECT item.value->>'id' FROM each($1))";
}

/// What an agent that is given up still has to do with.
#[derive(Debug, Default)]
pub(crate) struct ToOrphan {
    pub(crate) phases: Phases,
    /// Stacks that are being deleted.
    pub(crate) deleting: Vec<StackId>,
}

/// A stack whose deletion every agent has acknowledged.
pub(crate) struct DeletedStack {
    pub(crate) id: StackId,
    pub(crate) name: Name,
    pub(crate) generation: u64,
}

impl Tx {
    /// The stack of that name or id in the scope, locked until the transaction ends, with the phases of what has still to be deleted.
    pub(crate) async fn lock_stack_to_delete(&mut self, scope: Scope, name: &Name) -> Result<Option<(StackRow, Phases)>, Error> {
        let row = self.optional(&LOCK_STACK_TO_DELETE, scope.address(name)).await?;
        row.map(|row| Ok((stack(&row)?, phases(&row)?))).transpose()
    }

    /// Locks the stacks that an agent still has to do with.
    pub(crate) async fn lock_stacks_to_orphan(&mut self, agent: AgentId) -> Result<ToOrphan, Error> {
        let mut found = ToOrphan::default();
        for row in &self.all(&LOCK_STACKS_TO_ORPHAN, values![agent]).await? {
            *found.phases.entry(phase(row, "phase")?).or_default() += 1;
            if row.opt_time("deleting_since")?.is_some() {
                found.deleting.push(row.parse("id")?);
            }
        }
        Ok(found)
    }

    /// Asks for the deletion; `finished` when no agent has to acknowledge it.
    pub(crate) async fn mark_deleting(&mut self, id: StackId, finished: bool, now: Timestamp) -> Result<(), Error> {
        self.execute(&MARK_DELETING, values![id, now, i64::from(finished)]).await.map(drop)
    }

    /// Ends those deletions that every agent has acknowledged: the names are free again and the content is gone.
    pub(crate) async fn finish_deletions(&mut self, ids: &[StackId], now: Timestamp) -> Result<Vec<DeletedStack>, Error> {
        let rows = self.all(&FINISH_DELETIONS, values![id_set(ids)?, now]).await?;
        let deleted =
            |row: &Row| Ok(DeletedStack { id: row.parse("id")?, name: row.parse("name")?, generation: row.count("generation")? });
        let stacks: Vec<DeletedStack> = rows.iter().map(deleted).collect::<Result<_, Error>>()?;
        if !stacks.is_empty() {
            self.drop_content(&stacks.iter().map(|stack| stack.id).collect::<Vec<_>>()).await?;
        }
        Ok(stacks)
    }

    /// Removes every generation of these stacks.
    pub(crate) async fn drop_content(&mut self, ids: &[StackId]) -> Result<(), Error> {
        self.execute(&DROP_CONTENT, values![id_set(ids)?]).await.map(drop)
    }
}

#[cfg(test)]
pub(super) fn all_statements() -> &'static [&'static super::sql::Statement] {
    ALL
}
