//! Deployment objects and their content.

use brokkr_api::{AgentId, DeploymentObjectId, KeyId, StackId, Timestamp, deployment_objects::DeploymentObject};
use brokkr_telemetry::TraceContext;

use super::{
    Db, Error, Tx,
    sql::{Row, statements, values},
};

statements! {
    INSERT_CONTENT = Insert contents
        "INSERT INTO contents (stack_id, digest, body, bytes, objects) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (stack_id, digest) DO NOTHING";
    INSERT_OBJECT = Insert deployment_objects
        "INSERT INTO deployment_objects (id, stack_id, generation, digest, traceparent, tracestate, created_by, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    FIND_OBJECT = Select deployment_objects
        "SELECT o.id, o.generation, o.digest, o.traceparent, o.created_at, c.bytes, c.objects
         FROM deployment_objects o JOIN contents c ON c.stack_id = o.stack_id AND c.digest = o.digest
         WHERE o.stack_id = $1 AND o.generation = $2";
    LIST_OBJECTS = Select deployment_objects
        "SELECT o.id, o.generation, o.digest, o.traceparent, o.created_at, c.bytes, c.objects
         FROM deployment_objects o JOIN contents c ON c.stack_id = o.stack_id AND c.digest = o.digest
         WHERE o.stack_id = $1 AND o.generation < $2 ORDER BY o.generation DESC LIMIT $3";
    READ_CONTENT = Select contents
        "SELECT c.body FROM contents c JOIN deployment_objects o ON o.stack_id = c.stack_id AND o.digest = c.digest
         WHERE o.stack_id = $1 AND o.generation = $2";
    READ_AGENT_CONTENT = Select contents
        "SELECT c.body FROM contents c JOIN deployments d ON d.stack_id = c.stack_id AND d.digest = c.digest
         WHERE d.agent_id = $1 AND d.stack_id = $2 AND d.digest = $3";
}

/// A deployment object to be stored.
pub(crate) struct NewDeploymentObject<'a> {
    pub(crate) id: DeploymentObjectId,
    pub(crate) stack: StackId,
    pub(crate) generation: u64,
    pub(crate) digest: &'a str,
    pub(crate) body: &'a [u8],
    pub(crate) objects: u64,
    pub(crate) trace: Option<&'a TraceContext>,
    pub(crate) created_by: KeyId,
    pub(crate) created_at: Timestamp,
}

fn deployment_object(row: &Row) -> Result<DeploymentObject, Error> {
    let trace = row.opt_text("traceparent")?.and_then(|traceparent| TraceContext::from_parts(&traceparent, None));
    Ok(DeploymentObject {
        id: row.parse("id")?,
        generation: row.count("generation")?,
        digest: row.text("digest")?,
        objects: row.count("objects")?,
        bytes: row.count("bytes")?,
        created_at: row.time("created_at")?,
        trace_id: trace.map(|trace| trace.trace_id().to_string()),
    })
}

impl Tx {
    pub(crate) async fn insert_deployment_object(&mut self, object: &NewDeploymentObject<'_>) -> Result<(), Error> {
        let bytes = object.body.len() as u64;
        let content = values![object.stack, object.digest, object.body.to_vec(), bytes, object.objects];
        self.execute(&INSERT_CONTENT, content).await?;
        let values = values![
            object.id,
            object.stack,
            object.generation,
            object.digest,
            object.trace.map(|trace| trace.traceparent.as_str()),
            object.trace.and_then(|trace| trace.tracestate.as_deref()),
            object.created_by,
            object.created_at
        ];
        self.execute(&INSERT_OBJECT, values).await.map(drop)
    }

    pub(crate) async fn find_deployment_object(
        &mut self,
        stack: StackId,
        generation: u64,
    ) -> Result<Option<DeploymentObject>, Error> {
        self.optional(&FIND_OBJECT, values![stack, generation]).await?.as_ref().map(deployment_object).transpose()
    }
}

impl Db {
    /// A page of generations below `before`, the newest first.
    pub(crate) async fn list_deployment_objects(
        &self,
        stack: StackId,
        before: u64,
        limit: u32,
    ) -> Result<Vec<DeploymentObject>, Error> {
        self.all(&LIST_OBJECTS, values![stack, before, limit]).await?.iter().map(deployment_object).collect()
    }

    pub(crate) async fn read_content(&self, stack: StackId, generation: u64) -> Result<Option<Vec<u8>>, Error> {
        let row = self.optional(&READ_CONTENT, values![stack, generation]).await?;
        row.map_or(Ok(None), |row| row.opt_bytes("body"))
    }

    /// Content that a deployment of this agent wants now; nothing else is given to it.
    pub(crate) async fn read_agent_content(
        &self,
        agent: AgentId,
        stack: StackId,
        digest: &str,
    ) -> Result<Option<Vec<u8>>, Error> {
        let row = self.optional(&READ_AGENT_CONTENT, values![agent, stack, digest]).await?;
        row.map_or(Ok(None), |row| row.opt_bytes("body"))
    }
}

#[cfg(test)]
pub(super) fn all_statements() -> &'static [&'static super::sql::Statement] {
    ALL
}
