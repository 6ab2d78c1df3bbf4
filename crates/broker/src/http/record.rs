//! What a change leaves behind, in its own transaction: an event for the world, an entry in the audit log for those who ask who it was.

use brokkr_api::{AgentId, AuditId, EventId, GeneratorId, KeyId, Name, StackId, Timestamp, audit::AuditOutcome, keys::Role};
use brokkr_telemetry::TraceContext;
use serde_json::Value;

use super::{
    AppState,
    auth::{Allowed, Caller},
    error::Failure,
};
use crate::store::{NewAuditEntry, NewEvent, Tx};

/// A resource as the audit log names it.
#[derive(Debug, Clone)]
pub(crate) struct Resource<'a> {
    kind: &'static str,
    id: Option<String>,
    name: Option<&'a str>,
}

impl<'a> Resource<'a> {
    pub(crate) fn new(kind: &'static str, id: impl std::fmt::Display + Copy, name: &'a (impl AsRef<str> + ?Sized)) -> Self {
        Self { kind, id: Some(id.to_string()), name: Some(name.as_ref()) }
    }

    /// The one of its kind.
    pub(crate) fn only(kind: &'static str) -> Self {
        Self { kind, id: None, name: None }
    }
}

/// Who did it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Actor<'a> {
    /// The key that was used, or the registration token.
    pub(crate) key: KeyId,
    pub(crate) name: &'a Name,
    pub(crate) role: Role,
    pub(crate) generator: Option<GeneratorId>,
    pub(crate) request_id: Option<&'a str>,
}

impl<'a> From<&'a Caller> for Actor<'a> {
    fn from(caller: &'a Caller) -> Self {
        Self {
            key: caller.key,
            name: &caller.name,
            role: caller.role,
            generator: caller.scope.generator(),
            request_id: caller.request_id.as_deref(),
        }
    }
}

impl<'a, G> From<&'a Allowed<G>> for Actor<'a> {
    fn from(caller: &'a Allowed<G>) -> Self {
        let caller: &Caller = caller;
        caller.into()
    }
}

/// Something that a caller did, in the past tense.
pub(crate) struct Change<'a> {
    /// Type of the event and action of the audit log: `stack.updated`, …
    pub(crate) kind: &'static str,
    pub(crate) resource: Resource<'a>,
    pub(crate) stack: Option<StackId>,
    pub(crate) agent: Option<AgentId>,
    pub(crate) generation: Option<u64>,
    /// Never secrets, never manifests.
    pub(crate) data: Value,
    /// The trace that it belongs to, where that is not the current one.
    pub(crate) trace: Option<&'a TraceContext>,
    pub(crate) now: Timestamp,
}

/// Writes the event and the audit entry of a change.
pub(crate) async fn record<'a>(
    tx: &mut Tx,
    state: &AppState,
    actor: impl Into<Actor<'a>>,
    change: Change<'_>,
) -> Result<(), Failure> {
    record_with(tx, state, actor, change, vec![]).await
}

/// The same, with events of what follows from the change.
pub(crate) async fn record_with<'a>(
    tx: &mut Tx,
    state: &AppState,
    actor: impl Into<Actor<'a>>,
    change: Change<'_>,
    following: Vec<NewEvent<'_>>,
) -> Result<(), Failure> {
    let entry = Entry {
        action: change.kind,
        resource: &change.resource,
        outcome: AuditOutcome::Success,
        data: change.data.to_string(),
        now: change.now,
    };
    let entry = stored(state, actor.into(), entry);
    let current = TraceContext::current();
    let mut events = vec![NewEvent {
        id: EventId(state.ids.uuid(change.now)),
        kind: change.kind,
        stack: change.stack,
        agent: change.agent,
        generation: change.generation,
        data: change.data,
        trace: change.trace.or(current.as_ref()),
        now: change.now,
    }];
    events.extend(following);
    Ok(tx.record(&entry, &events).await?)
}

/// What an entry of the audit log says beside who it was.
struct Entry<'a> {
    action: &'static str,
    resource: &'a Resource<'a>,
    outcome: AuditOutcome,
    data: String,
    now: Timestamp,
}

fn stored<'a>(state: &AppState, actor: Actor<'a>, entry: Entry<'a>) -> NewAuditEntry<'a> {
    NewAuditEntry {
        id: AuditId(state.ids.uuid(entry.now)),
        actor_key: actor.key,
        actor_name: actor.name.as_str(),
        actor_role: actor.role,
        generator: actor.generator,
        action: entry.action,
        resource_kind: entry.resource.kind,
        resource_id: entry.resource.id.clone(),
        resource_name: entry.resource.name,
        outcome: entry.outcome,
        data: entry.data,
        trace_id: TraceContext::current().map(|trace| trace.trace_id().to_string()),
        request_id: actor.request_id,
        now: entry.now,
    }
}

/// Writes the audit entry of something whose event the caller has written.
pub(crate) async fn audit_alone<'a>(
    tx: &mut Tx,
    state: &AppState,
    actor: impl Into<Actor<'a>>,
    action: &'static str,
    resource: &Resource<'_>,
    data: &Value,
    now: Timestamp,
) -> Result<(), Failure> {
    let entry = Entry { action, resource, outcome: AuditOutcome::Success, data: data.to_string(), now };
    Ok(tx.insert_audit(&stored(state, actor.into(), entry)).await?)
}

/// Writes down that a known key was used for what it may not do. `what` is method and route, never a raw path.
pub(crate) async fn record_denial(state: &AppState, caller: &Caller, what: &str) -> Result<(), Failure> {
    let entry = Entry {
        action: "request.denied",
        resource: &Resource { kind: "route", id: None, name: Some(what) },
        outcome: AuditOutcome::Denied,
        data: "{}".to_owned(),
        now: state.clock.now(),
    };
    let mut tx = state.db.begin().await?;
    tx.insert_audit(&stored(state, caller.into(), entry)).await?;
    Ok(tx.commit().await?)
}
