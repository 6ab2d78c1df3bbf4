//! Agents and generators.

use brokkr_api::{AgentId, GeneratorId, Labels, Name, Timestamp, agents::Hello, generators::Generator};

use super::{
    Db, Error, Tx,
    sql::{Row, statements, values},
};

statements! {
    INSERT_AGENT = Insert agents
        "INSERT INTO agents (id, name, cluster_name, labels, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $5)";
    UPDATE_LABELS = Update agents "UPDATE agents SET labels = $2, updated_at = $3 WHERE id = $1";
    LOCK_AGENT = Select agents
        "SELECT id, name, cluster_name, labels, cluster_uid, version, kubernetes_version, created_at, CAST(NULL AS BIGINT) AS last_seen_at
         FROM agents WHERE name = $1 /*lock*/";
    FIND_AGENT = Select agents
        "SELECT a.id, a.name, a.cluster_name, a.labels, a.cluster_uid, a.version, a.kubernetes_version, a.created_at, p.last_seen_at
         FROM agents a LEFT JOIN presence p ON p.agent_id = a.id WHERE a.name = $1";
    LIST_AGENTS = Select agents
        "SELECT a.id, a.name, a.cluster_name, a.labels, a.cluster_uid, a.version, a.kubernetes_version, a.created_at, p.last_seen_at
         FROM agents a LEFT JOIN presence p ON p.agent_id = a.id WHERE a.name > $1 ORDER BY a.name LIMIT $2";
    ALL_AGENTS = Select agents
        "SELECT id, name, cluster_name, labels, cluster_uid, version, kubernetes_version, created_at, CAST(NULL AS BIGINT) AS last_seen_at
         FROM agents";
    BIND_CLUSTER = Update agents
        "UPDATE agents SET cluster_uid = $2, version = $3, kubernetes_version = $4, protocol = $5, updated_at = $6
         WHERE id = $1 AND (cluster_uid IS NULL OR cluster_uid = $2) RETURNING name, cluster_name";
    INSERT_GENERATOR = Insert generators "INSERT INTO generators (id, name, created_at) VALUES ($1, $2, $3)";
    FIND_GENERATOR = Select generators "SELECT id, name, created_at FROM generators WHERE name = $1";
    LIST_GENERATORS = Select generators "SELECT id, name, created_at FROM generators WHERE name > $1 ORDER BY name LIMIT $2";
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
    pub(crate) created_at: Timestamp,
    pub(crate) last_seen_at: Option<Timestamp>,
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
        created_at: row.time("created_at")?,
        last_seen_at: row.opt_time("last_seen_at")?,
    })
}

fn generator(row: &Row) -> Result<Generator, Error> {
    Ok(Generator { id: row.parse("id")?, name: row.parse("name")?, created_at: row.time("created_at")? })
}

fn labels_text(labels: &Labels) -> Result<String, Error> {
    serde_json::to_string(labels).map_err(|source| Error::Corrupt { column: "labels", source: source.into() })
}

impl Tx {
    pub(crate) async fn insert_agent(&mut self, agent: &NewAgent<'_>, now: Timestamp) -> Result<(), Error> {
        let labels = labels_text(agent.labels)?;
        let values = values![agent.id, agent.name.as_str(), agent.cluster.as_str(), labels, now];
        self.execute(&INSERT_AGENT, values).await.map(drop)
    }

    /// The agent, locked until the transaction ends.
    pub(crate) async fn lock_agent(&mut self, name: &Name) -> Result<Option<AgentRow>, Error> {
        self.optional(&LOCK_AGENT, values![name.as_str()]).await?.as_ref().map(agent).transpose()
    }

    pub(crate) async fn update_labels(&mut self, id: AgentId, labels: &Labels, now: Timestamp) -> Result<(), Error> {
        self.execute(&UPDATE_LABELS, values![id, labels_text(labels)?, now]).await.map(drop)
    }

    pub(crate) async fn all_agents(&mut self) -> Result<Vec<AgentRow>, Error> {
        self.all(&ALL_AGENTS, vec![]).await?.iter().map(agent).collect()
    }

    /// Binds the agent to its cluster; `None` when it is bound to another.
    pub(crate) async fn bind_cluster(
        &mut self,
        id: AgentId,
        hello: &Hello,
        protocol: u32,
        now: Timestamp,
    ) -> Result<Option<(Name, Name)>, Error> {
        let values =
            values![id, hello.cluster_uid.as_str(), hello.version.as_str(), hello.kubernetes_version.as_str(), protocol, now];
        let row = self.optional(&BIND_CLUSTER, values).await?;
        row.map(|row| Ok((row.parse("name")?, row.parse("cluster_name")?))).transpose()
    }

    pub(crate) async fn insert_generator(&mut self, id: GeneratorId, name: &Name, now: Timestamp) -> Result<(), Error> {
        self.execute(&INSERT_GENERATOR, values![id, name.as_str(), now]).await.map(drop)
    }

    pub(crate) async fn find_generator(&mut self, name: &Name) -> Result<Option<Generator>, Error> {
        self.optional(&FIND_GENERATOR, values![name.as_str()]).await?.as_ref().map(generator).transpose()
    }
}

impl Db {
    pub(crate) async fn find_agent(&self, name: &Name) -> Result<Option<AgentRow>, Error> {
        self.optional(&FIND_AGENT, values![name.as_str()]).await?.as_ref().map(agent).transpose()
    }

    pub(crate) async fn list_agents(&self, after: &str, limit: u32) -> Result<Vec<AgentRow>, Error> {
        self.all(&LIST_AGENTS, values![after, limit]).await?.iter().map(agent).collect()
    }

    pub(crate) async fn list_generators(&self, after: &str, limit: u32) -> Result<Vec<Generator>, Error> {
        self.all(&LIST_GENERATORS, values![after, limit]).await?.iter().map(generator).collect()
    }
}

#[cfg(test)]
pub(super) fn all_statements() -> &'static [&'static super::sql::Statement] {
    ALL
}
