//! API keys.

use brokkr_api::{AgentId, GeneratorId, KeyId, Name, Timestamp, keys::Role};

use super::{
    Db, Error, Tx,
    sql::{Row, statements, values},
};

statements! {
    COUNT_KEYS = Select api_keys "SELECT count(*) AS n FROM api_keys";
    INSERT_KEY = Insert api_keys
        "INSERT INTO api_keys (id, name, role, generator_id, agent_id, digest, change_seq, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    REVOKE_KEY = Update api_keys
        "UPDATE api_keys SET revoked_at = $2, change_seq = $3 WHERE id = $1 AND revoked_at IS NULL RETURNING id";
    FIND_KEY = Select api_keys
        "SELECT id, role, generator_id, agent_id, digest, change_seq, expires_at, revoked_at FROM api_keys WHERE digest = $1";
    KEYS_SINCE = Select api_keys
        "SELECT id, role, generator_id, agent_id, digest, change_seq, expires_at, revoked_at FROM api_keys WHERE change_seq > $1";
    LIST_KEYS = Select api_keys
        "SELECT k.id, k.name, k.role, k.generator_id, a.name AS agent, k.created_at, u.last_used_at, k.revoked_at
         FROM api_keys k LEFT JOIN agents a ON a.id = k.agent_id LEFT JOIN key_use u ON u.key_id = k.id
         WHERE k.id > $1 ORDER BY k.id LIMIT $2";
}

/// A key as the broker keeps it in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyRow {
    pub(crate) id: KeyId,
    pub(crate) role: Role,
    pub(crate) generator: Option<GeneratorId>,
    pub(crate) agent: Option<AgentId>,
    pub(crate) digest: String,
    pub(crate) change_seq: u64,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) revoked_at: Option<Timestamp>,
}

/// A key to be stored.
pub(crate) struct NewKey {
    pub(crate) id: KeyId,
    pub(crate) name: Name,
    pub(crate) role: Role,
    pub(crate) generator: Option<GeneratorId>,
    pub(crate) agent: Option<AgentId>,
    pub(crate) digest: String,
    pub(crate) created_at: Timestamp,
}

fn role(row: &Row) -> Result<Role, Error> {
    let text = row.text("role")?;
    let roles = [Role::Admin, Role::Generator, Role::Agent];
    roles.into_iter().find(|role| role.as_str() == text).ok_or_else(|| Error::Corrupt { column: "role", source: text.into() })
}

fn key(row: &Row) -> Result<KeyRow, Error> {
    Ok(KeyRow {
        id: row.parse("id")?,
        role: role(row)?,
        generator: row.opt_parse("generator_id")?,
        agent: row.opt_parse("agent_id")?,
        digest: row.text("digest")?,
        change_seq: row.count("change_seq")?,
        expires_at: row.opt_time("expires_at")?,
        revoked_at: row.opt_time("revoked_at")?,
    })
}

impl Tx {
    pub(crate) async fn count_keys(&mut self) -> Result<i64, Error> {
        self.optional(&COUNT_KEYS, vec![]).await?.map_or(Ok(0), |row| row.int("n"))
    }

    pub(crate) async fn insert_key(&mut self, key: &NewKey, change_seq: u64) -> Result<(), Error> {
        let values = values![
            key.id,
            key.name.as_str(),
            key.role.as_str(),
            key.generator,
            key.agent,
            key.digest.as_str(),
            change_seq,
            key.created_at
        ];
        self.execute(&INSERT_KEY, values).await.map(drop)
    }

    /// False when there is no such key, or it is revoked already.
    pub(crate) async fn revoke_key(&mut self, id: KeyId, now: Timestamp, change_seq: u64) -> Result<bool, Error> {
        Ok(self.optional(&REVOKE_KEY, values![id, now, change_seq]).await?.is_some())
    }
}

impl Db {
    pub(crate) async fn find_key(&self, digest: &str) -> Result<Option<KeyRow>, Error> {
        self.optional(&FIND_KEY, values![digest]).await?.as_ref().map(key).transpose()
    }

    /// Keys that were made or revoked after this change; all of them after 0.
    pub(crate) async fn keys_since(&self, change_seq: u64) -> Result<Vec<KeyRow>, Error> {
        self.all(&KEYS_SINCE, values![change_seq]).await?.iter().map(key).collect()
    }

    pub(crate) async fn list_keys(&self, after: &str, limit: u32) -> Result<Vec<brokkr_api::keys::Key>, Error> {
        let rows = self.all(&LIST_KEYS, values![after, limit]).await?;
        rows.iter()
            .map(|row| {
                Ok(brokkr_api::keys::Key {
                    id: row.parse("id")?,
                    name: row.parse("name")?,
                    role: role(row)?,
                    generator: row.opt_parse("generator_id")?,
                    agent: row.opt_parse("agent")?,
                    created_at: row.time("created_at")?,
                    last_used_at: row.opt_time("last_used_at")?,
                    revoked_at: row.opt_time("revoked_at")?,
                })
            })
            .collect()
    }
}

#[cfg(test)]
pub(super) fn all_statements() -> &'static [&'static super::sql::Statement] {
    ALL
}
