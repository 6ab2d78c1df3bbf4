//! After a restore from backup: a new epoch, and numbers that nobody has seen.

use brokkr_api::{AuditId, KeyId, Timestamp, audit::AuditOutcome, keys::Role};

use super::{
    Error, Installation, NewAuditEntry, StoredSuspension, Tx,
    sql::{json, statements, values},
};
use crate::domain::work_order::Outcome;

/// Who the audit log names.
const ACTOR: &str = "brokkr-broker restore-epoch";

/// Why an open work order is unknown.
const RESTORED: &str = "the database was restored from a backup: nobody knows what became of it since";

/// Positions of events that readers may have seen since the backup; they are cheap, and every change makes several.
const POSITIONS_PER_REVISION: u64 = 1_000;

// What an agent has to do now has not been done, whatever the backup says: its report comes again. Tombstones stay tombstones. The
// trace of a change from before is over.
statements! {
    SET_EPOCH = Update installation "UPDATE installation SET epoch = $1 WHERE singleton = 1 RETURNING installation_id, epoch";
    READ_EPOCH = Select installation "SELECT epoch FROM installation WHERE singleton = 1 /*lock*/";
    JUMP_DEPLOYMENTS = Update deployments
        "UPDATE deployments SET revision = revision + $1, change_seq = $2, desired_at = $3, traceparent = NULL, tracestate = NULL,
             phase = CASE WHEN action = 'apply' THEN 'pending' ELSE 'deleting' END, attempts = 0, results = NULL, error = NULL,
             finished_at = NULL, health = NULL, picked_up_at = NULL, healthy_at = NULL, report_traceparent = NULL, held_plan = NULL, held_objects = NULL,
             approved_plan = NULL
         WHERE phase NOT IN ('deleted', 'orphaned')";
    JUMP_ENDED = Update deployments
        "UPDATE deployments SET revision = revision + $1, observed_revision = observed_revision + $1
         WHERE phase IN ('deleted', 'orphaned')";
    JUMP_STACKS = Update stacks "UPDATE stacks SET next_generation = next_generation + $1";
    /// What became of an open order since the backup nobody knows: it may have been started, so that it is not started again by itself.
    FORGET_ORDERS = Update work_orders
        "UPDATE work_orders SET token = token + $1, row_version = row_version + 1, lease_until = NULL,
             state = CASE WHEN finished_at IS NULL THEN 'unknown' ELSE state END,
             outcome = CASE WHEN finished_at IS NULL THEN $3 ELSE outcome END, finished_at = COALESCE(finished_at, CAST($2 AS BIGINT))";
    JUMP_POSITIONS = Update counters "UPDATE counters SET value = value + $1 WHERE name = 'event_position'";
}

/// What to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Restore {
    /// How far revisions and generations jump: more than were made since the backup.
    pub(crate) jump: u64,
    /// Whether the fleet is suspended.
    pub(crate) suspend: bool,
    pub(crate) now: Timestamp,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Restored {
    pub(crate) installation: Installation,
    pub(crate) former_epoch: String,
    pub(crate) deployments: u64,
    pub(crate) stacks: u64,
}

impl Tx {
    /// Gives the installation a new epoch. The caller commits: all of it happens, or nothing.
    pub(crate) async fn restore_epoch(&mut self, restore: Restore, epoch: &str, audit_id: AuditId) -> Result<Restored, Error> {
        // The change first, as every writer takes it: it keeps the others out until the commit.
        let change_seq = self.next_change().await?;
        let before = self.optional(&READ_EPOCH, vec![]).await?.ok_or_else(|| Error::absent("epoch"))?.text("epoch")?;
        let row = self.optional(&SET_EPOCH, values![epoch]).await?.ok_or_else(|| Error::absent("epoch"))?;
        let installation = Installation { id: row.text("installation_id")?, epoch: row.text("epoch")? };
        let deployments = self.execute(&JUMP_DEPLOYMENTS, values![restore.jump, change_seq, restore.now]).await?;
        self.execute(&JUMP_ENDED, values![restore.jump]).await?;
        let stacks = self.execute(&JUMP_STACKS, values![restore.jump]).await?;
        let outcome = Outcome { reason: "restored".to_owned(), message: RESTORED.to_owned() };
        self.execute(&FORGET_ORDERS, values![restore.jump, restore.now, json("outcome", &outcome)?]).await?;
        self.execute(&JUMP_POSITIONS, values![restore.jump.saturating_mul(POSITIONS_PER_REVISION)]).await?;
        let reason = "restored from a backup: review, then resume".to_owned();
        if restore.suspend {
            let suspension = StoredSuspension { reason, by: ACTOR.to_owned(), since: restore.now.as_micros() };
            self.suspend_fleet(Some(&suspension)).await?;
        }
        let restored = Restored { installation, former_epoch: before, deployments, stacks };
        self.insert_audit(&entry(&restored, restore, audit_id)).await?;
        self.mark_fleet(change_seq).await?;
        Ok(restored)
    }
}

fn entry(restored: &Restored, restore: Restore, id: AuditId) -> NewAuditEntry<'static> {
    let data = serde_json::json!({
        "epoch": restored.installation.epoch, "former_epoch": restored.former_epoch, "jump": restore.jump, "suspended": restore.suspend,
    });
    NewAuditEntry {
        id,
        // Somebody with the database's own credentials: no key of ours.
        actor_key: KeyId(uuid::Uuid::nil()),
        actor_name: ACTOR,
        actor_role: Role::Admin,
        generator: None,
        action: "installation.restored",
        resource_kind: "installation",
        resource_id: Some(restored.installation.id.clone()),
        resource_name: None,
        outcome: AuditOutcome::Success,
        data: data.to_string(),
        trace_id: None,
        request_id: None,
        now: restore.now,
    }
}

#[cfg(test)]
pub(super) fn all_statements() -> &'static [&'static super::sql::Statement] {
    ALL
}
