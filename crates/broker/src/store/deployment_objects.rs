//! Deployment objects and their content.

use brokkr_api::{AgentId, DeploymentObjectId, KeyId, Name, StackId, Timestamp, deployment_objects::DeploymentObject};
use brokkr_telemetry::TraceContext;

use super::{
    Db, Error, Scope, Tx,
    sql::{Row, statements, values},
};

/// What every reading of a deployment object selects.
macro_rules! object_columns {
    () => {
        "SELECT o.id, o.generation, o.digest, o.traceparent, o.rollback_to, o.created_at, c.bytes, c.objects, c.encryption_key"
    };
}

statements! {
    INSERT_CONTENT = Insert contents
        "INSERT INTO contents (stack_id, digest, body, bytes, objects, encryption_key) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (stack_id, digest) DO NOTHING";
    INSERT_OBJECT = Insert deployment_objects
        "INSERT INTO deployment_objects (id, stack_id, generation, digest, traceparent, tracestate, created_by, created_at,
             idempotency_key, rollback_to) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    FIND_OBJECT = Select deployment_objects
        concat!(object_columns!(), "
         FROM deployment_objects o JOIN contents c ON c.stack_id = o.stack_id AND c.digest = o.digest
         WHERE o.stack_id = $1 AND o.generation = $2");
    FIND_IDEMPOTENT = Select deployment_objects
        concat!(object_columns!(), "
         FROM deployment_objects o JOIN contents c ON c.stack_id = o.stack_id AND c.digest = o.digest
         WHERE o.stack_id = $1 AND o.idempotency_key = $2");
    FIND_KEPT = Select deployment_objects
        concat!(object_columns!(), "
         FROM stacks s JOIN deployment_objects o ON o.stack_id = s.id
         JOIN contents c ON c.stack_id = o.stack_id AND c.digest = o.digest
         WHERE s.deleted_at IS NULL AND ((s.name = $1 AND COALESCE(s.generator_id, '') = $2)
             OR (s.id = $1 AND ($3 = 1 OR COALESCE(s.generator_id, '') = $2)))
           AND (o.generation = $4 OR ($4 = 0 AND o.generation < s.generation)) ORDER BY o.generation DESC LIMIT 1");
    LIST_OBJECTS = Select deployment_objects
        concat!(object_columns!(), "
         FROM deployment_objects o JOIN contents c ON c.stack_id = o.stack_id AND c.digest = o.digest
         WHERE o.stack_id = $1 AND o.generation < $2 ORDER BY o.generation DESC LIMIT $3");
    READ_CONTENT = Select contents
        "SELECT c.body, c.encryption_key, c.digest FROM contents c JOIN deployment_objects o ON o.stack_id = c.stack_id AND o.digest = c.digest
         WHERE o.stack_id = $1 AND o.generation = $2";
    READ_AGENT_CONTENT = Select contents
        "SELECT c.body, c.encryption_key, c.digest FROM contents c JOIN deployments d ON d.stack_id = c.stack_id AND d.digest = c.digest
         WHERE d.agent_id = $1 AND d.stack_id = $2 AND d.digest = $3";
}

/// Content as it is in the database: sealed with the key of that id, or plain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredContent {
    pub(crate) body: Vec<u8>,
    pub(crate) encryption_key: Option<String>,
}

/// A deployment object to be stored.
pub(crate) struct NewDeploymentObject<'a> {
    pub(crate) id: DeploymentObjectId,
    pub(crate) stack: StackId,
    pub(crate) generation: u64,
    pub(crate) digest: &'a str,
    /// Nothing where the content is there already.
    pub(crate) content: Option<&'a StoredContent>,
    /// Size of the plain content.
    pub(crate) bytes: u64,
    pub(crate) objects: u64,
    pub(crate) idempotency_key: Option<&'a str>,
    pub(crate) rollback_to: Option<u64>,
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
        encrypted: row.opt_text("encryption_key")?.is_some(),
        rollback_to: row.opt_int("rollback_to")?.and_then(|generation| u64::try_from(generation).ok()),
        created_at: row.time("created_at")?,
        trace_id: trace.map(|trace| trace.trace_id().to_string()),
    })
}

fn content(row: &Row) -> Result<(String, StoredContent), Error> {
    let body = row.opt_bytes("body")?.ok_or_else(|| Error::absent("body"))?;
    Ok((row.text("digest")?, StoredContent { body, encryption_key: row.opt_text("encryption_key")? }))
}

impl Tx {
    pub(crate) async fn insert_deployment_object(&mut self, object: &NewDeploymentObject<'_>) -> Result<(), Error> {
        if let Some(stored) = object.content {
            let content = values![
                object.stack,
                object.digest,
                stored.body.clone(),
                object.bytes,
                object.objects,
                stored.encryption_key.as_deref()
            ];
            self.execute(&INSERT_CONTENT, content).await?;
        }
        let values = values![
            object.id,
            object.stack,
            object.generation,
            object.digest,
            object.trace.map(|trace| trace.traceparent.as_str()),
            object.trace.and_then(|trace| trace.tracestate.as_deref()),
            object.created_by,
            object.created_at,
            object.idempotency_key,
            object.rollback_to.map(|generation| i64::try_from(generation).unwrap_or(i64::MAX))
        ];
        self.execute(&INSERT_OBJECT, values).await.map(drop)
    }
}

impl Db {
    pub(crate) async fn find_deployment_object(
        &self,
        stack: StackId,
        generation: u64,
    ) -> Result<Option<DeploymentObject>, Error> {
        self.optional(&FIND_OBJECT, values![stack, generation]).await?.as_ref().map(deployment_object).transpose()
    }

    /// The deployment object that a request with this idempotency key made.
    pub(crate) async fn find_idempotent(&self, stack: StackId, key: &str) -> Result<Option<DeploymentObject>, Error> {
        self.optional(&FIND_IDEMPOTENT, values![stack, key]).await?.as_ref().map(deployment_object).transpose()
    }

    /// A generation of a stack that is kept: this one, or the newest before the stack's newest.
    pub(crate) async fn find_kept(
        &self,
        scope: Scope,
        stack: &Name,
        generation: Option<u64>,
    ) -> Result<Option<DeploymentObject>, Error> {
        let mut values = scope.address(stack);
        values.extend(values![generation.unwrap_or(0)]);
        self.optional(&FIND_KEPT, values).await?.as_ref().map(deployment_object).transpose()
    }

    /// A page of generations below `before`, the newest first.
    pub(crate) async fn list_deployment_objects(
        &self,
        stack: StackId,
        before: u64,
        limit: u32,
    ) -> Result<Vec<DeploymentObject>, Error> {
        self.all(&LIST_OBJECTS, values![stack, before, limit]).await?.iter().map(deployment_object).collect()
    }

    /// The content of one generation, and its digest.
    pub(crate) async fn read_content(&self, stack: StackId, generation: u64) -> Result<Option<(String, StoredContent)>, Error> {
        self.optional(&READ_CONTENT, values![stack, generation]).await?.as_ref().map(content).transpose()
    }

    /// Content that a deployment of this agent wants now; nothing else is given to it.
    pub(crate) async fn read_agent_content(
        &self,
        agent: AgentId,
        stack: StackId,
        digest: &str,
    ) -> Result<Option<(String, StoredContent)>, Error> {
        self.optional(&READ_AGENT_CONTENT, values![agent, stack, digest]).await?.as_ref().map(content).transpose()
    }
}

#[cfg(test)]
pub(super) fn all_statements() -> &'static [&'static super::sql::Statement] {
    ALL
}
