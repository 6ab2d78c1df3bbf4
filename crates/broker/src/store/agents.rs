//! Agents and generators.

use brokkr_api::{AgentId, Labels, Name, Timestamp, agents::Hello, generators::Generator};

use super::{
    Db, Error, Tx,
    keys::quota,
    sql::{Row, json, statements, values},
    suspensions::StoredSuspension,
};

/// What every reading of an agent selects.
macro_rules! agent_columns {
    () => {
        "SELECT a.id, a.name, a.cluster_name, a.labels, a.cluster_uid, a.version, a.kubernetes_version, a.protocol, a.capabilities, a.suspension,
                a.deactivated_at, a.offline_since, a.rotation_wanted_at, a.row_version, a.created_at,
                (SELECT p.last_seen_at FROM presence p WHERE p.agent_id = a.id) AS last_seen_at,
                (SELECT i.suspension FROM installation i WHERE i.singleton = 1) AS fleet_suspension"
    };
}

statements! {
    INSERT_AGENT = Insert agents
        "INSERT INTO agents (id, name, cluster_name, labels, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $5)";
    UPDATE_LABELS = Update agents "UPDATE agents SET labels = $2, updated_at = $3, row_version = row_version + 1 WHERE id = $1";
    SET_AGENT_SUSPENSION = Update agents
        "UPDATE agents SET suspension = $2, updated_at = $3, row_version = row_version + 1 WHERE id = $1";
    MARK_AGENT = Insert change_feed
        "INSERT INTO change_feed (agent_id, seq) VALUES ($1, $2) ON CONFLICT (agent_id) DO UPDATE SET seq = excluded.seq";
    ABANDON_AGENT = Update agents
        "UPDATE agents SET abandoned_at = $2, updated_at = $2, former_name = name, offline_since = NULL
         WHERE name = $1 AND abandoned_at IS NULL RETURNING id";
    LOCK_AGENT = Select agents
        concat!(agent_columns!(), "
         FROM agents a WHERE a.name = $1 AND a.abandoned_at IS NULL /*lock*/");
    FIND_AGENT = Select agents
        concat!(agent_columns!(), "
         FROM agents a WHERE a.name = $1 AND a.abandoned_at IS NULL");
    LIST_AGENTS = Select agents
        concat!(agent_columns!(), "
         FROM agents a WHERE a.abandoned_at IS NULL AND a.name > $1 AND ($3 = '' OR (json(a.labels)->>CAST($3 AS TEXT)) = $4)
           AND ($5 = '' OR ($5 = 'yes') = EXISTS (SELECT 1 FROM presence s WHERE s.agent_id = a.id AND s.last_seen_at >= $6))
         ORDER BY a.name LIMIT $2");
    MARK_OFFLINE = Update agents
        "UPDATE agents SET offline_since = (SELECT p.last_seen_at FROM presence p WHERE p.agent_id = agents.id)
         WHERE offline_since IS NULL AND abandoned_at IS NULL AND deactivated_at IS NULL
           AND id IN (SELECT a.id FROM agents a JOIN presence p ON p.agent_id = a.id
                WHERE a.offline_since IS NULL AND a.abandoned_at IS NULL AND a.deactivated_at IS NULL AND p.last_seen_at < $1 LIMIT $2)
         RETURNING id, name, cluster_name";
    MARK_ONLINE = Update agents
        "UPDATE agents SET offline_since = NULL
         WHERE offline_since IS NOT NULL AND id IN (SELECT a.id FROM agents a JOIN presence p ON p.agent_id = a.id
                WHERE a.offline_since IS NOT NULL AND p.last_seen_at >= $1 LIMIT $2)
         RETURNING id, name, cluster_name";
    BIND_CLUSTER = Update agents
        "UPDATE agents SET cluster_uid = $2, version = $3, kubernetes_version = $4, protocol = $5, updated_at = $6, capabilities = $7
         WHERE id = $1 AND (cluster_uid IS NULL OR cluster_uid = $2) RETURNING name, cluster_name";
    INSERT_GENERATOR = Insert generators
        "INSERT INTO generators (id, name, created_at, max_stacks, max_bytes, requests_per_minute) VALUES ($1, $2, $3, $4, $5, $6)";
    FIND_GENERATOR = Select generators
        "SELECT id, name, created_at, max_stacks, max_bytes, requests_per_minute FROM generators
         WHERE id = $1 OR name = $1 ORDER BY CASE WHEN id = $1 THEN 0 ELSE 1 END LIMIT 1";
    LIST_GENERATORS = Select generators
        "SELECT id, name, created_at, max_stacks, max_bytes, requests_per_minute FROM generators WHERE name > $1 ORDER BY name LIMIT $2";
}

/// An agent.
#[derive(Debug, Clone)]
pub(crate) struct AgentRow {
    pub(crate) id: AgentId,
    pub(crate) name: Name,
    pub(crate) cluster: Name,
    pub(crate) labels: Labels,
    pub(crate) cluster_uid: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) kubernetes_version: Option<String>,
    pub(crate) protocol: Option<u32>,
    pub(crate) capabilities: Vec<String>,
    pub(crate) suspension: Option<StoredSuspension>,
    /// What suspends the whole fleet.
    pub(crate) fleet: Option<StoredSuspension>,
    pub(crate) deactivated_at: Option<Timestamp>,
    pub(crate) offline_since: Option<Timestamp>,
    pub(crate) rotation_wanted: bool,
    /// Counts up with every change of the row: its `ETag`.
    pub(crate) row_version: u64,
    pub(crate) created_at: Timestamp,
    pub(crate) last_seen_at: Option<Timestamp>,
}

/// Which agents a list shows.
#[derive(Debug, Default)]
pub(crate) struct AgentFilter<'a> {
    pub(crate) label: Option<(&'a str, &'a str)>,
    /// Whether they were seen since then, or were not.
    pub(crate) online: Option<(bool, Timestamp)>,
}

/// An agent to be stored.
pub(crate) struct NewAgent<'a> {
    pub(crate) id: AgentId,
    pub(crate) name: &'a Name,
    pub(crate) cluster: &'a Name,
    pub(crate) labels: &'a Labels,
}

fn agent(row: &Row) -> Result<AgentRow, Error> {
    Ok(AgentRow {
        id: row.parse("id")?,
        name: row.parse("name")?,
        cluster: row.parse("cluster_name")?,
        labels: row.json("labels")?,
        cluster_uid: row.opt_text("cluster_uid")?,
        version: row.opt_text("version")?,
        kubernetes_version: row.opt_text("kubernetes_version")?,
        protocol: row.opt_int("protocol")?.and_then(|protocol| u32::try_from(protocol).ok()),
        capabilities: row.opt_json("capabilities")?.unwrap_or_default(),
        suspension: row.opt_json("suspension")?,
        fleet: row.opt_json("fleet_suspension")?,
        deactivated_at: row.opt_time("deactivated_at")?,
        offline_since: row.opt_time("offline_since")?,
        rotation_wanted: row.opt_int("rotation_wanted_at")?.is_some(),
        row_version: row.count("row_version")?,
        created_at: row.time("created_at")?,
        last_seen_at: row.opt_time("last_seen_at")?,
    })
}

/// An agent whose mark as missed has changed.
pub(crate) struct Marked {
    pub(crate) id: AgentId,
    pub(crate) name: Name,
    pub(crate) cluster: Name,
}

fn marked(row: &Row) -> Result<Marked, Error> {
    Ok(Marked { id: row.parse("id")?, name: row.parse("name")?, cluster: row.parse("cluster_name")? })
}

fn generator(row: &Row) -> Result<Generator, Error> {
    Ok(Generator { id: row.parse("id")?, name: row.parse("name")?, quota: quota(row)?, created_at: row.time("created_at")? })
}

impl Tx {
    pub(crate) async fn insert_agent(&mut self, agent: &NewAgent<'_>, now: Timestamp) -> Result<(), Error> {
        let labels = json("labels", agent.labels)?;
        let values = values![agent.id, agent.name.as_str(), agent.cluster.as_str(), labels, now];
        self.execute(&INSERT_AGENT, values).await.map(drop)
    }

    /// The agent, locked until the transaction ends.
    pub(crate) async fn lock_agent(&mut self, name: &Name) -> Result<Option<AgentRow>, Error> {
        self.optional(&LOCK_AGENT, values![name.as_str()]).await?.as_ref().map(agent).transpose()
    }

    pub(crate) async fn update_labels(&mut self, id: AgentId, labels: &Labels, now: Timestamp) -> Result<(), Error> {
        self.execute(&UPDATE_LABELS, values![id, json("labels", labels)?, now]).await.map(drop)
    }

    /// Suspends or resumes one agent, and lets it look again.
    pub(crate) async fn suspend_agent(
        &mut self,
        id: AgentId,
        suspension: Option<&StoredSuspension>,
        change_seq: u64,
        now: Timestamp,
    ) -> Result<(), Error> {
        let text = suspension.map(|suspension| json("suspension", suspension)).transpose()?;
        self.execute(&SET_AGENT_SUSPENSION, values![id, text, now]).await?;
        self.mark_agent(id, change_seq).await
    }

    /// Makes this change the agent's highest, and tells the other brokers.
    pub(crate) async fn mark_agent(&mut self, id: AgentId, change_seq: u64) -> Result<(), Error> {
        self.execute(&MARK_AGENT, values![id, change_seq]).await?;
        self.notify(change_seq).await
    }

    /// Gives the agent of this name up. It keeps its name until [`Tx::orphan`]: a change of what is unique locks out whoever refers to the
    /// row, and may not wait for the counter of changes.
    pub(crate) async fn abandon_agent(&mut self, name: &Name, now: Timestamp) -> Result<Option<AgentId>, Error> {
        self.optional(&ABANDON_AGENT, values![name.as_str(), now]).await?.map(|row| row.parse("id")).transpose()
    }

    /// Marks agents as missed that were not seen since then, and were not marked; at most so many.
    pub(crate) async fn mark_offline(&mut self, not_seen_since: Timestamp, limit: u32) -> Result<Vec<Marked>, Error> {
        self.all(&MARK_OFFLINE, values![not_seen_since, limit]).await?.iter().map(marked).collect()
    }

    /// Takes the mark from agents that were seen since then; at most so many.
    pub(crate) async fn mark_online(&mut self, seen_since: Timestamp, limit: u32) -> Result<Vec<Marked>, Error> {
        self.all(&MARK_ONLINE, values![seen_since, limit]).await?.iter().map(marked).collect()
    }

    /// Binds the agent to its cluster; `None` when it is bound to another.
    pub(crate) async fn bind_cluster(
        &mut self,
        id: AgentId,
        hello: &Hello,
        protocol: u32,
        now: Timestamp,
    ) -> Result<Option<(Name, Name)>, Error> {
        let capabilities = json("capabilities", &hello.capabilities)?;
        let values = values![
            id,
            hello.cluster_uid.as_str(),
            hello.version.as_str(),
            hello.kubernetes_version.as_str(),
            protocol,
            now,
            capabilities
        ];
        let row = self.optional(&BIND_CLUSTER, values).await?;
        row.map(|row| Ok((row.parse("name")?, row.parse("cluster_name")?))).transpose()
    }

    pub(crate) async fn insert_generator(&mut self, generator: &Generator) -> Result<(), Error> {
        let quota = generator.quota;
        let values = values![
            generator.id,
            generator.name.as_str(),
            generator.created_at,
            quota.max_stacks.map(i64::from),
            quota.max_bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
            quota.requests_per_minute.map(i64::from)
        ];
        self.execute(&INSERT_GENERATOR, values).await.map(drop)
    }

    pub(crate) async fn find_generator(&mut self, name: &Name) -> Result<Option<Generator>, Error> {
        self.optional(&FIND_GENERATOR, values![name.as_str()]).await?.as_ref().map(generator).transpose()
    }
}

impl Db {
    pub(crate) async fn find_agent(&self, name: &Name) -> Result<Option<AgentRow>, Error> {
        self.optional(&FIND_AGENT, values![name.as_str()]).await?.as_ref().map(agent).transpose()
    }

    pub(crate) async fn list_agents(&self, filter: &AgentFilter<'_>, after: &str, limit: u32) -> Result<Vec<AgentRow>, Error> {
        let (key, value) = filter.label.unwrap_or_default();
        let (online, since) = match filter.online {
            Some((true, since)) => ("yes", since),
            Some((false, since)) => ("no", since),
            None => ("", Timestamp::from_micros(0)),
        };
        self.all(&LIST_AGENTS, values![after, limit, key, value, online, since]).await?.iter().map(agent).collect()
    }

    pub(crate) async fn find_generator(&self, name: &Name) -> Result<Option<Generator>, Error> {
        self.optional(&FIND_GENERATOR, values![name.as_str()]).await?.as_ref().map(generator).transpose()
    }

    pub(crate) async fn list_generators(&self, after: &str, limit: u32) -> Result<Vec<Generator>, Error> {
        self.all(&LIST_GENERATORS, values![after, limit]).await?.iter().map(generator).collect()
    }
}

#[cfg(test)]
pub(super) fn all_statements() -> &'static [&'static super::sql::Statement] {
    ALL
}
