//! Webhooks.

use brokkr_api::{
    GeneratorId, Name, Timestamp, WebhookId,
    webhooks::{WebhookSettings, WebhookState},
};
use serde::Serialize;

use super::{
    Db, Error, Scope, Tx,
    sql::{Row, json, set, statements, values},
};
use crate::domain::webhook::schedule::PATIENCE;

/// What every reading of a webhook selects.
macro_rules! columns {
    () => {
        "w.id, w.name, w.generator_id, w.settings, w.sealed, w.sealed_key, w.state, w.disabled_reason, w.failing_since, w.row_version,
         w.created_at, w.updated_at"
    };
}

// In `scope`, $2 is the owner's id or * for everybody's. A name is looked for among the caller's own first.
statements! {
    INSERT_WEBHOOK = Insert webhooks
        "INSERT INTO webhooks (id, name, generator_id, settings, sealed, sealed_key, state, row_version, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, 'enabled', 1, $7, $7)";
    FIND_WEBHOOK = Select webhooks
        concat!("SELECT ", columns!(), " FROM webhooks w WHERE (w.id = $1 OR w.name = $1) AND w.deleted_at IS NULL
           AND ($2 = '*' OR COALESCE(w.generator_id, '') = $2) ORDER BY w.id = $1 DESC, COALESCE(w.generator_id, '') LIMIT 1");
    LOCK_WEBHOOK = Select webhooks
        concat!("SELECT ", columns!(), " FROM webhooks w WHERE (w.id = $1 OR w.name = $1) AND w.deleted_at IS NULL
           AND ($2 = '*' OR COALESCE(w.generator_id, '') = $2) ORDER BY w.id = $1 DESC, COALESCE(w.generator_id, '') LIMIT 1 /*lock*/");
    LIST_WEBHOOKS = Select webhooks
        concat!("SELECT ", columns!(), " FROM webhooks w WHERE w.deleted_at IS NULL AND ($1 = '*' OR COALESCE(w.generator_id, '') = $1)
           AND w.id > $2 ORDER BY w.id LIMIT $3");
    UPDATE_WEBHOOK = Update webhooks
        "UPDATE webhooks SET settings = $2, sealed = $3, sealed_key = $4, state = $5, disabled_reason = $6, failing_since = $7, updated_at = $8,
             row_version = row_version + 1 WHERE id = $1";
    DELETE_WEBHOOK = Update webhooks
        "UPDATE webhooks SET deleted_at = $2, state = 'disabled', row_version = row_version + 1 WHERE id = $1";
    NEXT_WEBHOOK_CHANGE = Update counters "UPDATE counters SET value = value + 1 WHERE name = 'webhooks'";
    ENABLED_WEBHOOKS = Select webhooks
        concat!("SELECT ", columns!(), " FROM webhooks w WHERE w.state = 'enabled' AND w.deleted_at IS NULL");
    DISABLE_WEBHOOKS = Update webhooks
        "UPDATE webhooks SET state = 'disabled', updated_at = $3, row_version = row_version + 1,
             disabled_reason = CASE WHEN item.value->>'gone' = 'y' THEN 'receiver_gone' ELSE 'failed_for_days' END
         FROM each($1) WHERE webhooks.id = item.value->>'id' AND state = 'enabled' AND item.value->>'ok' = 'n'
           AND (item.value->>'gone' = 'y' OR failing_since <= $2)
         RETURNING webhooks.id AS id, webhooks.name AS name, webhooks.disabled_reason AS reason, webhooks.failing_since AS failing_since";
    LOCK_WEBHOOKS = Select webhooks
        "SELECT w.id FROM each($1) CROSS JOIN webhooks w WHERE w.id = item.value->>'id' ORDER BY w.id /*lock*/";
    SEALED_WITH_OTHERS = Select webhooks
        concat!("SELECT ", columns!(), " FROM webhooks w WHERE w.sealed_key <> $1 AND w.deleted_at IS NULL ORDER BY w.id LIMIT $2");
    RESEAL_WEBHOOK = Update webhooks
        "UPDATE webhooks SET sealed = $3, sealed_key = $4 WHERE id = $1 AND row_version = $2";
    PRUNE_WEBHOOKS = Delete webhooks
        "DELETE FROM webhooks WHERE deleted_at < $1 AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.destination = webhooks.id)";
}

/// A webhook as it is read.
#[derive(Debug, Clone)]
pub(crate) struct WebhookRow {
    pub(crate) id: WebhookId,
    pub(crate) name: Name,
    pub(crate) generator: Option<GeneratorId>,
    pub(crate) settings: WebhookSettings,
    pub(crate) sealed: Vec<u8>,
    pub(crate) sealed_key: String,
    pub(crate) state: WebhookState,
    pub(crate) disabled_reason: Option<String>,
    pub(crate) failing_since: Option<Timestamp>,
    pub(crate) version: u64,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

/// A webhook to be stored.
pub(crate) struct NewWebhook<'a> {
    pub(crate) id: WebhookId,
    pub(crate) name: &'a Name,
    pub(crate) generator: Option<GeneratorId>,
    pub(crate) settings: &'a WebhookSettings,
    pub(crate) sealed: Vec<u8>,
    pub(crate) sealed_key: &'a str,
    pub(crate) now: Timestamp,
}

/// How the last attempts of a webhook went.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Mark {
    pub(crate) id: WebhookId,
    #[serde(serialize_with = "word")]
    pub(crate) ok: bool,
    #[serde(serialize_with = "word")]
    pub(crate) gone: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn word<S: serde::Serializer>(truth: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    // A word, because the engines do not agree what text a truth of JSON is.
    serializer.serialize_str(if *truth { "y" } else { "n" })
}

/// A webhook that was disabled.
#[derive(Debug)]
pub(crate) struct DisabledWebhook {
    pub(crate) id: WebhookId,
    pub(crate) name: Name,
    pub(crate) reason: String,
    pub(crate) failing_since: Option<Timestamp>,
}

fn webhook(row: &Row) -> Result<WebhookRow, Error> {
    Ok(WebhookRow {
        id: row.parse("id")?,
        name: row.parse("name")?,
        generator: row.opt_parse("generator_id")?,
        settings: row.json("settings")?,
        sealed: row.opt_bytes("sealed")?.ok_or_else(|| Error::absent("sealed"))?,
        sealed_key: row.text("sealed_key")?,
        state: row.word("state", WebhookState::from_word)?,
        disabled_reason: row.opt_text("disabled_reason")?,
        failing_since: row.opt_time("failing_since")?,
        version: row.count("row_version")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

impl Tx {
    /// Stores a new webhook.
    pub(crate) async fn insert_webhook(&mut self, new: NewWebhook<'_>) -> Result<(), Error> {
        let settings = json("settings", new.settings)?;
        let values = values![new.id, new.name.as_str(), new.generator, settings, new.sealed, new.sealed_key, new.now];
        self.execute(&INSERT_WEBHOOK, values).await?;
        self.webhooks_changed().await
    }

    /// A webhook of the caller's, locked.
    pub(crate) async fn lock_webhook(&mut self, scope: Scope, name: &Name) -> Result<Option<WebhookRow>, Error> {
        let row = self.optional(&LOCK_WEBHOOK, values![name.as_str(), scope.owner_or_all()]).await?;
        row.as_ref().map(webhook).transpose()
    }

    /// Stores what was changed.
    pub(crate) async fn update_webhook(&mut self, row: &WebhookRow) -> Result<(), Error> {
        let failing = row.failing_since.map(Timestamp::as_micros);
        let values = values![
            row.id,
            json("settings", &row.settings)?,
            row.sealed.clone(),
            row.sealed_key.as_str(),
            row.state.as_str(),
            row.disabled_reason.as_deref(),
            failing,
            row.updated_at
        ];
        self.execute(&UPDATE_WEBHOOK, values).await?;
        self.webhooks_changed().await
    }

    /// Takes a webhook out of use; its deliveries go by and by.
    pub(crate) async fn delete_webhook(&mut self, id: WebhookId, now: Timestamp) -> Result<(), Error> {
        self.execute(&DELETE_WEBHOOK, values![id, now]).await?;
        self.webhooks_changed().await
    }

    /// Lets every broker read the webhooks again.
    async fn webhooks_changed(&mut self) -> Result<(), Error> {
        self.execute(&NEXT_WEBHOOK_CHANGE, vec![]).await.map(drop)
    }

    /// Locks webhooks in the order of their ids, as everybody does who changes what waits in line.
    pub(super) async fn lock_webhooks(&mut self, ids: &[WebhookId]) -> Result<(), Error> {
        if !ids.is_empty() {
            self.all(&LOCK_WEBHOOKS, values![super::sql::id_set(ids)?]).await?;
        }
        Ok(())
    }

    /// Disables whose receiver is gone or has failed for days.
    pub(crate) async fn disable_webhooks(&mut self, marks: &[Mark], now: Timestamp) -> Result<Vec<DisabledWebhook>, Error> {
        if marks.iter().all(|mark| mark.ok) {
            return Ok(Vec::new());
        }
        let rows = self.all(&DISABLE_WEBHOOKS, values![set(marks)?, now.before(PATIENCE), now]).await?;
        let disabled = |row: &Row| {
            Ok(DisabledWebhook {
                id: row.parse("id")?,
                name: row.parse("name")?,
                reason: row.text("reason")?,
                failing_since: row.opt_time("failing_since")?,
            })
        };
        let disabled = rows.iter().map(disabled).collect::<Result<Vec<_>, Error>>()?;
        if !disabled.is_empty() {
            self.webhooks_changed().await?;
        }
        Ok(disabled)
    }
}

impl Db {
    /// A webhook of the caller's, by name or id.
    pub(crate) async fn find_webhook(&self, scope: Scope, name: &Name) -> Result<Option<WebhookRow>, Error> {
        let row = self.optional(&FIND_WEBHOOK, values![name.as_str(), scope.owner_or_all()]).await?;
        row.as_ref().map(webhook).transpose()
    }

    /// A page of webhooks, the oldest first.
    pub(crate) async fn list_webhooks(&self, scope: Scope, cursor: &str, limit: u32) -> Result<Vec<WebhookRow>, Error> {
        self.all(&LIST_WEBHOOKS, values![scope.owner_or_all(), cursor, limit]).await?.iter().map(webhook).collect()
    }

    /// Everything that is sent to.
    pub(crate) async fn enabled_webhooks(&self) -> Result<Vec<WebhookRow>, Error> {
        self.all(&ENABLED_WEBHOOKS, vec![]).await?.iter().map(webhook).collect()
    }

    /// Webhooks whose secrets another key than this one seals.
    pub(crate) async fn webhooks_sealed_with_others(&self, key: &str, limit: u32) -> Result<Vec<WebhookRow>, Error> {
        self.all(&SEALED_WITH_OTHERS, values![key, limit]).await?.iter().map(webhook).collect()
    }

    /// Stores the same secrets under another key, unless they have changed meanwhile.
    pub(crate) async fn reseal_webhook(&self, row: &WebhookRow, key: &str, sealed: Vec<u8>) -> Result<bool, Error> {
        let mut tx = self.begin().await?;
        let resealed = tx.execute(&RESEAL_WEBHOOK, values![row.id, row.version, sealed, key]).await? == 1;
        tx.commit().await?;
        Ok(resealed)
    }

    /// Removes the rows of webhooks that were deleted before this time and that nothing refers to any more. A change that is still on its
    /// way to its commit may refer to one that was deleted just now.
    pub(crate) async fn prune_webhooks(&self, before: Timestamp) -> Result<u64, Error> {
        let mut tx = self.begin().await?;
        let pruned = tx.execute(&PRUNE_WEBHOOKS, values![before]).await?;
        tx.commit().await?;
        Ok(pruned)
    }
}

#[cfg(test)]
pub(super) fn all_statements() -> &'static [&'static super::sql::Statement] {
    ALL
}
