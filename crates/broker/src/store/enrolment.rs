//! Registration tokens, enrolment, and the life of an agent's keys.

use brokkr_api::{
    AgentId, KeyId, Labels, Name, RegistrationTokenId, Timestamp,
    enrolment::RegistrationToken,
    generators::{Generator, Quota},
};

use super::{
    Db, Error, Tx,
    sql::{Row, json, statements, values},
};

statements! {
    INSERT_TOKEN = Insert registration_tokens
        "INSERT INTO registration_tokens (id, name, digest, labels, max_uses, uses, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, 0, $6, $7)";
    LIST_TOKENS = Select registration_tokens
        "SELECT id, name, labels, max_uses, uses, created_at, expires_at, revoked_at FROM registration_tokens WHERE id > $1 ORDER BY id LIMIT $2";
    REVOKE_TOKEN = Update registration_tokens
        "UPDATE registration_tokens SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL RETURNING name";
    USE_TOKEN = Update registration_tokens
        "UPDATE registration_tokens SET uses = uses + 1
         WHERE digest = $1 AND revoked_at IS NULL AND expires_at > $2 AND uses < max_uses RETURNING id, name, labels";
    FIND_UNUSED = Select agents
        "SELECT a.id, a.cluster_name, t.id AS token_id, t.name AS token_name
         FROM agents a JOIN registration_tokens t ON t.id = a.registration_token_id
         WHERE a.name = $1 AND a.abandoned_at IS NULL AND a.cluster_uid = $2 AND t.digest = $3 AND t.revoked_at IS NULL AND t.expires_at > $4
           AND a.version IS NULL AND NOT EXISTS
               (SELECT 1 FROM key_use u JOIN api_keys k ON k.id = u.key_id WHERE k.agent_id = a.id)";
    INSERT_ENROLLED = Insert agents
        "INSERT INTO agents (id, name, cluster_name, labels, cluster_uid, registration_token_id, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $7)";
    WANT_ROTATION = Update agents "UPDATE agents SET rotation_wanted_at = COALESCE(rotation_wanted_at, $2) WHERE id = $1";
    WANT_OLD_ROTATED = Update agents
        "UPDATE agents SET rotation_wanted_at = $2
         WHERE rotation_wanted_at IS NULL AND abandoned_at IS NULL AND deactivated_at IS NULL AND cluster_uid IS NOT NULL
           AND NOT EXISTS (SELECT 1 FROM api_keys k WHERE k.agent_id = agents.id AND k.created_at >= $1 AND k.revoked_at IS NULL)
         RETURNING id";
    REVOKE_PENDING = Update api_keys
        "UPDATE api_keys SET revoked_at = $2, change_seq = $3 WHERE agent_id = $1 AND pending = 1 AND revoked_at IS NULL";
    REVOKE_ALL = Update api_keys
        "UPDATE api_keys SET revoked_at = $2, change_seq = $3 WHERE agent_id = $1 AND revoked_at IS NULL";
    ACTIVATE_KEY = Update api_keys
        "UPDATE api_keys SET pending = 0, change_seq = $2 WHERE id = $1 AND pending = 1 AND revoked_at IS NULL RETURNING agent_id";
    EXPIRE_OTHERS = Update api_keys
        "UPDATE api_keys SET expires_at = $3, change_seq = $4, pending = 2
         WHERE agent_id = $1 AND id <> $2 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $3)";
    END_ROTATION = Update agents "UPDATE agents SET rotation_wanted_at = NULL WHERE id = $1";
    SET_DEACTIVATED = Update agents
        "UPDATE agents SET deactivated_at = $2, updated_at = $3, row_version = row_version + 1, offline_since = NULL WHERE id = $1";
    UPDATE_QUOTA = Update generators
        "UPDATE generators SET max_stacks = $2, max_bytes = $3, requests_per_minute = $4 WHERE id = $1";
    PRUNE_KEYS = Delete api_keys
        "DELETE FROM api_keys WHERE id IN (SELECT k.id FROM api_keys k WHERE k.revoked_at < $1 OR k.expires_at < $1 LIMIT $2)";
    PRUNE_TOKENS = Delete registration_tokens "DELETE FROM registration_tokens WHERE expires_at < $1 OR revoked_at < $1";
    TOUCH_KEYS_OF_GENERATOR = Update api_keys "UPDATE api_keys SET change_seq = $2 WHERE generator_id = $1";
}

/// A token that has just enrolled an agent.
pub(crate) struct UsedToken {
    pub(crate) id: RegistrationTokenId,
    pub(crate) name: Name,
    pub(crate) labels: Labels,
}

/// An agent that was enrolled and never came: the answer with its key was lost.
pub(crate) struct UnusedAgent {
    pub(crate) id: AgentId,
    pub(crate) token: RegistrationTokenId,
    pub(crate) token_name: Name,
}

/// An agent to be stored with its enrolment.
pub(crate) struct EnrolledAgent<'a> {
    pub(crate) id: AgentId,
    pub(crate) name: &'a Name,
    pub(crate) cluster: &'a Name,
    pub(crate) cluster_uid: &'a str,
    pub(crate) token: &'a UsedToken,
}

fn small(row: &Row, column: &'static str) -> Result<u32, Error> {
    Ok(u32::try_from(row.count(column)?).unwrap_or(u32::MAX))
}

fn token(row: &Row) -> Result<RegistrationToken, Error> {
    Ok(RegistrationToken {
        id: row.parse("id")?,
        name: row.parse("name")?,
        labels: row.json("labels")?,
        max_uses: small(row, "max_uses")?,
        uses: small(row, "uses")?,
        created_at: row.time("created_at")?,
        expires_at: row.time("expires_at")?,
        revoked_at: row.opt_time("revoked_at")?,
    })
}

impl Tx {
    pub(crate) async fn insert_token(&mut self, token: &RegistrationToken, digest: &str) -> Result<(), Error> {
        let values = values![
            token.id,
            token.name.as_str(),
            digest,
            json("labels", &token.labels)?,
            token.max_uses,
            token.created_at,
            token.expires_at
        ];
        self.execute(&INSERT_TOKEN, values).await.map(drop)
    }

    /// The name of the token; nothing when there is no such token, or it is revoked already.
    pub(crate) async fn revoke_token(&mut self, id: RegistrationTokenId, now: Timestamp) -> Result<Option<String>, Error> {
        self.optional(&REVOKE_TOKEN, values![id, now]).await?.map(|row| row.text("name")).transpose()
    }

    /// Counts one use of a token; nothing when it is unknown, expired, revoked or used up.
    pub(crate) async fn use_token(&mut self, digest: &str, now: Timestamp) -> Result<Option<UsedToken>, Error> {
        let row = self.optional(&USE_TOKEN, values![digest, now]).await?;
        row.map(|row| Ok(UsedToken { id: row.parse("id")?, name: row.parse("name")?, labels: row.json("labels")? })).transpose()
    }

    /// The agent of that name and cluster that this token enrolled and that has never used its key.
    pub(crate) async fn find_unused(
        &mut self,
        name: &Name,
        cluster_uid: &str,
        digest: &str,
        now: Timestamp,
    ) -> Result<Option<UnusedAgent>, Error> {
        let row = self.optional(&FIND_UNUSED, values![name.as_str(), cluster_uid, digest, now]).await?;
        let unused = |row: Row| {
            Ok(UnusedAgent { id: row.parse("id")?, token: row.parse("token_id")?, token_name: row.parse("token_name")? })
        };
        row.map(unused).transpose()
    }

    pub(crate) async fn insert_enrolled(&mut self, agent: &EnrolledAgent<'_>, now: Timestamp) -> Result<(), Error> {
        let labels = json("labels", &agent.token.labels)?;
        let values =
            values![agent.id, agent.name.as_str(), agent.cluster.as_str(), labels, agent.cluster_uid, agent.token.id, now];
        self.execute(&INSERT_ENROLLED, values).await.map(drop)
    }

    /// Asks an agent to take a new key.
    pub(crate) async fn want_rotation(&mut self, id: AgentId, now: Timestamp) -> Result<(), Error> {
        self.execute(&WANT_ROTATION, values![id, now]).await.map(drop)
    }

    /// Asks every agent whose newest key is older than this to take a new one. Tells which.
    pub(crate) async fn want_old_rotated(&mut self, made_before: Timestamp, now: Timestamp) -> Result<Vec<AgentId>, Error> {
        self.all(&WANT_OLD_ROTATED, values![made_before, now]).await?.iter().map(|row| row.parse("id")).collect()
    }

    /// Of an agent's keys only one waits for its first use.
    pub(crate) async fn revoke_pending(&mut self, agent: AgentId, now: Timestamp, change_seq: u64) -> Result<(), Error> {
        self.execute(&REVOKE_PENDING, values![agent, now, change_seq]).await.map(drop)
    }

    /// Revokes every key of an agent.
    pub(crate) async fn revoke_all(&mut self, agent: AgentId, now: Timestamp, change_seq: u64) -> Result<(), Error> {
        self.execute(&REVOKE_ALL, values![agent, now, change_seq]).await.map(drop)
    }

    /// Makes a pending key the agent's key, and lets the keys before it expire; false when it is not pending any more.
    pub(crate) async fn activate_key(&mut self, id: KeyId, others_expire: Timestamp, change_seq: u64) -> Result<bool, Error> {
        let Some(row) = self.optional(&ACTIVATE_KEY, values![id, change_seq]).await? else { return Ok(false) };
        let agent: AgentId = row.parse("agent_id")?;
        self.execute(&EXPIRE_OTHERS, values![agent, id, others_expire, change_seq]).await?;
        self.execute(&END_ROTATION, values![agent]).await?;
        Ok(true)
    }

    /// Deactivates an agent, or activates it.
    pub(crate) async fn set_deactivated(&mut self, id: AgentId, at: Option<Timestamp>, now: Timestamp) -> Result<(), Error> {
        self.execute(&SET_DEACTIVATED, values![id, at.map(Timestamp::as_micros), now]).await.map(drop)
    }

    /// Changes what a generator may use, and lets every broker read its keys again.
    pub(crate) async fn update_quota(&mut self, generator: &Generator, quota: Quota, change_seq: u64) -> Result<(), Error> {
        let values = values![
            generator.id,
            quota.max_stacks.map(i64::from),
            quota.max_bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
            quota.requests_per_minute.map(i64::from)
        ];
        self.execute(&UPDATE_QUOTA, values).await?;
        self.execute(&TOUCH_KEYS_OF_GENERATOR, values![generator.id, change_seq]).await.map(drop)
    }
}

impl Db {
    /// Removes keys and registration tokens that open nothing since this time, at most so many keys. Tells how many keys.
    pub(crate) async fn prune_keys(&self, before: Timestamp, limit: u32) -> Result<u64, Error> {
        let mut tx = self.begin().await?;
        let pruned = tx.execute(&PRUNE_KEYS, values![before, limit]).await?;
        tx.execute(&PRUNE_TOKENS, values![before]).await?;
        tx.commit().await?;
        Ok(pruned)
    }

    pub(crate) async fn list_tokens(&self, after: &str, limit: u32) -> Result<Vec<RegistrationToken>, Error> {
        self.all(&LIST_TOKENS, values![after, limit]).await?.iter().map(token).collect()
    }
}

#[cfg(test)]
pub(super) fn all_statements() -> &'static [&'static super::sql::Statement] {
    ALL
}
