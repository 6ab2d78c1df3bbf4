//! API keys.

use brokkr_api::{
    AgentId, GeneratorId, KeyId, Name, Timestamp,
    generators::Quota,
    keys::{Permission, Role},
};

use super::{
    Db, Error, Tx,
    sql::{Row, json, statements, values},
};

statements! {
    COUNT_KEYS = Select api_keys "SELECT count(*) AS n FROM api_keys";
    INSERT_KEY = Insert api_keys
        "INSERT INTO api_keys (id, name, role, generator_id, agent_id, digest, change_seq, created_at, expires_at, scopes, pending)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    REVOKE_KEY = Update api_keys
        "UPDATE api_keys SET revoked_at = $2, change_seq = $3 WHERE id = $1 AND revoked_at IS NULL RETURNING name";
    TOUCH_KEYS_OF_AGENT = Update api_keys "UPDATE api_keys SET change_seq = $2 WHERE agent_id = $1";
    FIND_KEY = Select api_keys
        "SELECT k.id, k.name, k.role, k.generator_id, k.agent_id, k.digest, k.change_seq, k.expires_at, k.revoked_at, k.scopes, k.pending,
                a.cluster_uid, a.deactivated_at, g.max_stacks, g.max_bytes, g.requests_per_minute
         FROM api_keys k LEFT JOIN agents a ON a.id = k.agent_id LEFT JOIN generators g ON g.id = k.generator_id WHERE k.digest = $1";
    KEYS_SINCE = Select api_keys
        "SELECT k.id, k.name, k.role, k.generator_id, k.agent_id, k.digest, k.change_seq, k.expires_at, k.revoked_at, k.scopes, k.pending,
                a.cluster_uid, a.deactivated_at, g.max_stacks, g.max_bytes, g.requests_per_minute
         FROM api_keys k LEFT JOIN agents a ON a.id = k.agent_id LEFT JOIN generators g ON g.id = k.generator_id WHERE k.change_seq > $1";
    LIST_KEYS = Select api_keys
        "SELECT k.id, k.name, k.role, k.generator_id, a.name AS agent, k.scopes, k.pending, k.created_at, k.expires_at,
                u.last_used_at, k.revoked_at
         FROM api_keys k LEFT JOIN agents a ON a.id = k.agent_id LEFT JOIN key_use u ON u.key_id = k.id
         WHERE k.id > $1 ORDER BY k.id LIMIT $2";
}

/// What stands in `pending` of a key that a newer one has replaced; 1 is a key that waits for its first use, 0 every other.
const REPLACED: i64 = 2;

/// A key as the broker keeps it in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyRow {
    pub(crate) id: KeyId,
    pub(crate) name: Name,
    pub(crate) role: Role,
    pub(crate) generator: Option<GeneratorId>,
    pub(crate) agent: Option<AgentId>,
    pub(crate) digest: String,
    pub(crate) change_seq: u64,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) revoked_at: Option<Timestamp>,
    /// What it may do of what its role may; everything when empty.
    pub(crate) scopes: Vec<Permission>,
    /// Whether its first use is still to come, and replaces the keys before it.
    pub(crate) pending: bool,
    /// Whether a newer key of the agent is in use; this one opens what it opened for some minutes, and is good for no new one.
    pub(crate) replaced: bool,
    /// The cluster that the agent is bound to.
    pub(crate) cluster_uid: Option<String>,
    /// Whether the agent is deactivated.
    pub(crate) deactivated: bool,
    /// What the generator may use.
    pub(crate) quota: Quota,
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
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) scopes: Vec<Permission>,
    pub(crate) pending: bool,
}

impl NewKey {
    /// A key of an agent that may do all of an agent's work, for ever.
    pub(crate) fn of_agent(id: KeyId, agent: AgentId, name: Name, digest: String, created_at: Timestamp) -> Self {
        Self {
            id,
            name,
            role: Role::Agent,
            generator: None,
            agent: Some(agent),
            digest,
            created_at,
            expires_at: None,
            scopes: Vec::new(),
            pending: false,
        }
    }
}

fn role(row: &Row) -> Result<Role, Error> {
    role_of(row, "role")
}

pub(super) fn role_of(row: &Row, column: &'static str) -> Result<Role, Error> {
    let text = row.text(column)?;
    Role::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| Error::Corrupt { column, source: text.into() })
}

fn key(row: &Row) -> Result<KeyRow, Error> {
    Ok(KeyRow {
        id: row.parse("id")?,
        name: row.parse("name")?,
        role: role(row)?,
        generator: row.opt_parse("generator_id")?,
        agent: row.opt_parse("agent_id")?,
        digest: row.text("digest")?,
        change_seq: row.count("change_seq")?,
        expires_at: row.opt_time("expires_at")?,
        revoked_at: row.opt_time("revoked_at")?,
        scopes: row.opt_json("scopes")?.unwrap_or_default(),
        pending: row.int("pending")? == 1,
        replaced: row.int("pending")? == REPLACED,
        cluster_uid: row.opt_text("cluster_uid")?,
        deactivated: row.opt_int("deactivated_at")?.is_some(),
        quota: quota(row)?,
    })
}

pub(super) fn quota(row: &Row) -> Result<Quota, Error> {
    let number = |column| Ok::<_, Error>(row.opt_int(column)?.map(|number| u64::try_from(number).unwrap_or(0)));
    let small = |column| Ok::<_, Error>(number(column)?.map(|number| u32::try_from(number).unwrap_or(u32::MAX)));
    Ok(Quota {
        max_stacks: small("max_stacks")?,
        max_bytes: number("max_bytes")?,
        requests_per_minute: small("requests_per_minute")?,
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
            key.created_at,
            key.expires_at.map(Timestamp::as_micros),
            (!key.scopes.is_empty()).then(|| json("scopes", &key.scopes)).transpose()?,
            i64::from(key.pending)
        ];
        self.execute(&INSERT_KEY, values).await.map(drop)
    }

    /// Lets every broker read an agent's keys again, because what they are bound to has changed.
    pub(crate) async fn touch_keys_of_agent(&mut self, agent: AgentId, change_seq: u64) -> Result<(), Error> {
        self.execute(&TOUCH_KEYS_OF_AGENT, values![agent, change_seq]).await.map(drop)
    }

    /// The name of the key; nothing when there is no such key, or it is revoked already.
    pub(crate) async fn revoke_key(&mut self, id: KeyId, now: Timestamp, change_seq: u64) -> Result<Option<String>, Error> {
        self.optional(&REVOKE_KEY, values![id, now, change_seq]).await?.map(|row| row.text("name")).transpose()
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
                    scopes: row.opt_json("scopes")?.unwrap_or_default(),
                    pending: row.int("pending")? == 1,
                    created_at: row.time("created_at")?,
                    expires_at: row.opt_time("expires_at")?,
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
