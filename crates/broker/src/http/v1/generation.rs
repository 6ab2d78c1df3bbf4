//! Accepting a stack's next generation: everything or nothing, in at most eight statements whatever the number of objects and agents.

use brokkr_api::{
    DeploymentObjectId, ErrorCode, Name, StackId,
    deployment_objects::{AcceptedDeploymentObject, DeploymentObject},
    rollouts::Phase,
};
use brokkr_telemetry::{TraceContext, spans};
use http::StatusCode;
use serde_json::json;
use tracing::Instrument;

use super::{
    phases,
    stacks::{deleting, send_span},
};
use crate::{
    domain::manifests::Canonical,
    http::{
        AppState,
        auth::Caller,
        conditional::{self, Versioned},
        error::Failure,
        record::{Change, Resource, record},
    },
    store::{AcceptGeneration, Error, NewDeploymentObject, Phases, RevisionSource, StackRow, StoredContent, Tx},
};

/// How often a stack may change between the refusal of a generation and the question why, before the caller is told to try again.
const ATTEMPTS: usize = 3;

/// What is to become a stack's next generation, and on which conditions.
pub(super) struct NewGeneration {
    /// Only when the stack has this version.
    pub(super) condition: Option<u64>,
    pub(super) idempotency_key: Option<String>,
    pub(super) content: NewContent,
}

/// Where the content comes from.
pub(super) enum NewContent {
    /// It was sent just now.
    Sent(Canonical),
    /// It is that of an older generation.
    Kept(DeploymentObject),
}

impl NewGeneration {
    fn digest(&self) -> &str {
        match &self.content {
            NewContent::Sent(canonical) => &canonical.digest,
            NewContent::Kept(old) => &old.digest,
        }
    }

    /// Size of the plain content.
    fn bytes(&self) -> u64 {
        match &self.content {
            NewContent::Sent(canonical) => canonical.body.len() as u64,
            NewContent::Kept(old) => old.bytes,
        }
    }

    fn objects(&self) -> u64 {
        match &self.content {
            NewContent::Sent(canonical) => canonical.objects,
            NewContent::Kept(old) => old.objects,
        }
    }
}

/// Makes it the stack's next generation; what equals the newest one is answered with that, and nothing rolls out.
pub(super) async fn accept(
    caller: &Caller,
    state: &AppState,
    name: &Name,
    new: &NewGeneration,
) -> Result<Versioned<AcceptedDeploymentObject>, Failure> {
    for _ in 0..ATTEMPTS {
        let mut tx = state.db.begin().await?;
        let accepted = tx.accept_generation(caller.scope, name, &conditions(caller, state, new)).await?;
        if let Some((stack, before)) = accepted {
            match store(&mut tx, caller, state, (&stack, &before), new).await {
                Ok(accepted) => {
                    tx.commit().await?;
                    state.changed();
                    return Ok(Versioned(StatusCode::CREATED, stack.version, accepted));
                }
                // The same idempotency key was used a moment ago.
                Err(Refusal::Duplicate) => {}
                Err(Refusal::Failure(failure)) => return Err(failure),
            }
        }
        drop(tx);
        if let Some(answer) = explain(caller, state, name, new).await? {
            return Ok(answer);
        }
    }
    Err(conditional::changed())
}

fn conditions<'a>(caller: &Caller, state: &AppState, new: &'a NewGeneration) -> AcceptGeneration<'a> {
    AcceptGeneration {
        digest: new.digest(),
        bytes: new.bytes(),
        version: new.condition,
        idempotency_key: new.idempotency_key.as_deref(),
        max_bytes: caller.row.quota.max_bytes,
        now: state.clock.now(),
    }
}

/// Why a generation is not stored though its conditions hold.
enum Refusal {
    Duplicate,
    Failure(Failure),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Failure(error.into())
    }
}

/// Stores the content and hands it to every agent: one PRODUCER span per generation, whatever the number of agents.
async fn store(
    tx: &mut Tx,
    caller: &Caller,
    state: &AppState,
    (stack, before): (&StackRow, &Phases),
    new: &NewGeneration,
) -> Result<AcceptedDeploymentObject, Refusal> {
    let send = send_span(stack, stack.generation, None);
    let trace = TraceContext::of(&send).or_else(TraceContext::current);
    let work = async {
        let sent = sent_content(state, stack.id, new)?;
        let rollback_to = match &new.content {
            NewContent::Sent(_) => None,
            NewContent::Kept(old) => Some(old.generation),
        };
        let object = NewDeploymentObject {
            id: DeploymentObjectId(state.ids.uuid(stack.updated_at)),
            stack: stack.id,
            generation: stack.generation,
            digest: new.digest(),
            content: sent.as_ref(),
            bytes: new.bytes(),
            objects: new.objects(),
            idempotency_key: new.idempotency_key.as_deref(),
            rollback_to,
            trace: trace.as_ref(),
            created_by: caller.key,
            created_at: stack.updated_at,
        };
        match tx.insert_deployment_object(&object).await {
            Err(Error::Duplicate { .. }) => return Err(Refusal::Duplicate),
            result => result?,
        }
        let change_seq = tx.next_change().await?;
        let source = RevisionSource { change_seq, now: stack.updated_at, trace: trace.as_ref() };
        let plan = spans::plan_rollout();
        let rolled = tx.roll_generation(stack.id, stack.generation, new.digest(), &source).instrument(plan.clone()).await;
        let agents = rolled.inspect_err(|error| spans::record_error(&plan, error.error_type()))?;
        spans::record_agents(&plan, agents);
        drop(plan);
        phases::of_stack(stack, phases::all_to(before, Phase::Pending), "new_generation");
        let change = Change {
            kind: "deployment_object.created",
            resource: Resource::new("stack", stack.id, &stack.name),
            stack: Some(stack.id),
            agent: None,
            generation: Some(stack.generation),
            data: json!({"stack": stack.name, "generation": stack.generation, "digest": new.digest(), "agents": agents,
                "rollback_to": rollback_to}),
            trace: trace.as_ref(),
            now: stack.updated_at,
        };
        record(tx, state, caller, change).await?;
        tx.publish_change(change_seq).await?;
        let encrypted = match &new.content {
            NewContent::Sent(_) => sent.as_ref().is_some_and(|content| content.encryption_key.is_some()),
            NewContent::Kept(old) => old.encrypted,
        };
        let deployment_object = DeploymentObject {
            id: object.id,
            generation: stack.generation,
            digest: new.digest().to_owned(),
            objects: new.objects(),
            bytes: new.bytes(),
            encrypted,
            rollback_to,
            created_at: stack.updated_at,
            trace_id: trace.as_ref().map(|trace| trace.trace_id().to_string()),
        };
        Ok(AcceptedDeploymentObject { deployment_object, created: true, agents })
    };
    let accepted = work.instrument(send.clone()).await.inspect_err(|refusal| {
        if let Refusal::Failure(failure) = refusal {
            failure.record_on(&send);
        }
    })?;
    spans::record_fan_out(&send, accepted.agents);
    Ok(accepted)
}

/// Content as it goes into the database: sealed where it holds Secrets; nothing where it is there already.
fn sent_content(state: &AppState, stack: StackId, new: &NewGeneration) -> Result<Option<StoredContent>, Failure> {
    let NewContent::Sent(canonical) = &new.content else { return Ok(None) };
    if !canonical.has_secrets {
        return Ok(Some(StoredContent { body: canonical.body.clone(), encryption_key: None }));
    }
    let span = spans::encrypt();
    let seal = || state.keyring.seal(&*state.ids, stack, &canonical.digest, &canonical.body);
    let sealed = span.in_scope(seal);
    if sealed.is_none() {
        spans::record_error(&span, ErrorCode::EncryptionKeyMissing.as_str());
    }
    let (key, body) = sealed.ok_or_else(|| {
        let detail = "the content holds Secrets and the broker has no key to encrypt them with: set encryption.keys_file";
        Failure::new(ErrorCode::EncryptionKeyMissing, detail)
    })?;
    Ok(Some(StoredContent { body, encryption_key: Some(key) }))
}

/// Why the conditions did not hold; nothing when they would now.
async fn explain(
    caller: &Caller,
    state: &AppState,
    name: &Name,
    new: &NewGeneration,
) -> Result<Option<Versioned<AcceptedDeploymentObject>>, Failure> {
    let found = state.db.find_stack(caller.scope, name).await?.ok_or_else(|| Failure::not_found("stack", name))?;
    let (stack, agents) = (found.row, found.agents);
    if stack.deleting_since.is_some() {
        return Err(deleting(name));
    }
    let unchanged = |deployment_object| {
        let answer = AcceptedDeploymentObject { deployment_object, created: false, agents };
        Ok(Some(Versioned(StatusCode::OK, stack.version, answer)))
    };
    if let Some(key) = &new.idempotency_key
        && let Some(before) = state.db.find_idempotent(stack.id, key).await?
    {
        if before.digest == new.digest() {
            return unchanged(before);
        }
        let detail = format!("this key made generation {} from other content: use a new key for new content", before.generation);
        return Err(Failure::new(ErrorCode::IdempotencyMismatch, detail).at("header Idempotency-Key"));
    }
    conditional::check(new.condition, stack.version)?;
    if stack.digest.as_deref() == Some(new.digest())
        && let Some(newest) = state.db.find_deployment_object(stack.id, stack.generation).await?
    {
        return unchanged(newest);
    }
    if caller.row.quota.max_bytes.is_some() {
        let detail = "the generator has as much content as its quota allows: delete a stack, or ask an admin for more";
        return Err(Failure::new(ErrorCode::QuotaExceeded, detail));
    }
    Ok(None)
}
