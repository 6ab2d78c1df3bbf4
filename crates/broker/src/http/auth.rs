//! Who is calling, and what it may do. Permissions are extractors, so that a handler's signature says what its caller needs.

use std::{marker::PhantomData, ops::Deref, sync::Arc};

use axum::extract::{FromRequestParts, MatchedPath};
use brokkr_api::{
    AgentId, CLUSTER_HEADER, ErrorCode, KeyId, Name, PROTOCOL_HEADER, PROTOCOL_VERSION,
    keys::{Permission, Role},
};
use http::{header, request::Parts};

use super::{AppState, envelope::RequestId, error::Failure, record::record_denial, v1::rotation::activate};
use crate::{
    domain::key,
    store::{KeyRow, Scope},
};

/// Oldest protocol version that is still served.
pub(super) const OLDEST_PROTOCOL: u32 = if PROTOCOL_VERSION > 2 { PROTOCOL_VERSION - 2 } else { 1 };

/// Whoever sent a valid key.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) key: KeyId,
    /// The key's name.
    pub(crate) name: Name,
    pub(crate) role: Role,
    pub(crate) scope: Scope,
    pub(crate) request_id: Option<String>,
    pub(crate) row: Arc<KeyRow>,
}

/// A permission as a type.
pub(crate) trait Grant: Send + Sync + 'static {
    const PERMISSION: Permission;
}

macro_rules! grants {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub(crate) struct $name;

        impl Grant for $name {
            const PERMISSION: Permission = Permission::$name;
        }
    )*};
}

grants! {
    /// See stacks, generations, deployments and rollouts.
    StacksRead;
    /// Change stacks.
    StacksWrite;
    /// See work orders.
    WorkOrdersRead;
    /// Ask for work, cancel and retry it.
    WorkOrdersWrite;
    /// See webhooks.
    WebhooksRead;
    /// Make and change webhooks.
    WebhooksWrite;
    /// Read manifests.
    ContentRead;
    /// See agents and the fleet.
    AgentsRead;
    /// Change agents.
    AgentsWrite;
    /// Suspend and resume the fleet.
    FleetWrite;
    /// Read events.
    EventsRead;
    /// Read the audit log.
    AuditRead;
    /// Make and revoke keys and generators.
    IdentitiesWrite;
}

/// A caller that has a permission: its role allows it, and so do the scopes of its key.
pub(crate) struct Allowed<G> {
    caller: Caller,
    _grant: PhantomData<G>,
}

impl<G> Deref for Allowed<G> {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.caller
    }
}

/// An agent.
pub(crate) struct AgentCaller {
    pub(crate) caller: Caller,
    pub(crate) agent: AgentId,
    pub(crate) protocol: u32,
}

/// The key of a request, if the text can be one at all: what cannot costs no query.
fn secret(parts: &Parts) -> Option<&str> {
    bearer(parts).filter(|secret| key::is_well_formed(secret))
}

fn bearer(parts: &Parts) -> Option<&str> {
    let (scheme, secret) = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

/// The key that a request comes with, if memory knows it to be valid. Asked before the handler authenticates it, and never waits.
pub(super) fn known_key(state: &AppState, parts: &Parts) -> Option<Arc<KeyRow>> {
    secret(parts).and_then(|secret| state.feed.key(&key::digest(secret), state.clock.now()))
}

/// The key of a request that memory knew to be valid a moment ago, so that it is hashed and looked up once.
#[derive(Clone)]
pub(super) struct KnownKey(pub(super) Arc<KeyRow>);

async fn authenticate(parts: &mut Parts, state: &AppState) -> Result<Caller, Failure> {
    let refuse = |detail: &str| Failure::new(ErrorCode::Unauthenticated, detail).at("header Authorization");
    let now = state.clock.now();
    let row = match parts.extensions.remove::<KnownKey>() {
        Some(KnownKey(row)) => row,
        None => {
            let secret = secret(parts).ok_or_else(|| refuse("send a key of Brokkr as Authorization: Bearer KEY"))?;
            let digest = key::digest(secret);
            // Boxed, here and below: a request that waits must not carry the room of what it did not need.
            let found = Box::pin(state.feed.find_key(&digest, now)).await?;
            found.ok_or_else(|| refuse("the key is unknown, expired or revoked"))?
        }
    };
    state.presence.key_used(row.id, now);
    let scope = row.generator.map_or(Scope::Everybody, Scope::Generator);
    let request_id = parts.extensions.get::<RequestId>().map(|id| id.0.clone());
    Ok(Caller { key: row.id, name: row.name.clone(), role: row.role, scope, request_id, row })
}

/// Whoever comes with what can be a registration token. Whether it is one is asked where it is used, in one guarded statement.
pub(crate) struct TokenBearer {
    pub(crate) digest: String,
    pub(crate) request_id: Option<String>,
}

impl FromRequestParts<AppState> for TokenBearer {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Failure> {
        let token = bearer(parts).filter(|token| key::is_well_formed_token(token)).ok_or_else(unknown_token)?;
        let request_id = parts.extensions.get::<RequestId>().map(|id| id.0.clone());
        Ok(Self { digest: key::digest(token), request_id })
    }
}

/// One answer for every token that enrols nobody, so that nobody learns why.
pub(super) fn unknown_token() -> Failure {
    let detail = "send a registration token as Authorization: Bearer TOKEN; this one is unknown, expired, revoked or used up";
    Failure::new(ErrorCode::Unauthenticated, detail).at("header Authorization")
}

/// Refuses, and writes it down.
async fn forbid(parts: &Parts, state: &AppState, caller: &Caller, permission: Permission) -> Failure {
    let route = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let what = format!("{} {route}", parts.method);
    if let Err(failure) = record_denial(state, caller, &what).await {
        return failure;
    }
    let detail = if caller.role.allows(permission) {
        "the key's scopes do not allow this".to_owned()
    } else {
        format!("a key of role {} may not do this", caller.role.as_str())
    };
    Failure::new(ErrorCode::Forbidden, detail)
}

fn has(caller: &Caller, permission: Permission) -> bool {
    caller.role.allows(permission) && (caller.row.scopes.is_empty() || caller.row.scopes.contains(&permission))
}

impl Caller {
    /// Whether the caller may give this permission to a key that it makes: nobody gives what he does not have. An agent's work is given by
    /// those who may make agents.
    pub(crate) fn may_give(&self, permission: Permission) -> bool {
        has(self, if permission == Permission::AgentWork { Permission::AgentsWrite } else { permission })
    }
}

impl<G: Grant> FromRequestParts<AppState> for Allowed<G> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Failure> {
        let caller = authenticate(parts, state).await?;
        if !has(&caller, G::PERMISSION) {
            return Err(Box::pin(forbid(parts, state, &caller, G::PERMISSION)).await);
        }
        Ok(Self { caller, _grant: PhantomData })
    }
}

impl FromRequestParts<AppState> for AgentCaller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Failure> {
        let caller = authenticate(parts, state).await?;
        let agent = match caller.row.agent {
            Some(agent) if has(&caller, Permission::AgentWork) => agent,
            _ => return Err(Box::pin(forbid(parts, state, &caller, Permission::AgentWork)).await),
        };
        if caller.row.deactivated {
            return Err(deactivated());
        }
        let protocol =
            parts.headers.get(PROTOCOL_HEADER).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
        let protocol = protocol.ok_or_else(|| {
            Failure::new(ErrorCode::InvalidHeader, "say which protocol version you speak").at(format!("header {PROTOCOL_HEADER}"))
        })?;
        if !(OLDEST_PROTOCOL..=PROTOCOL_VERSION).contains(&protocol) {
            let detail =
                format!("this broker serves protocol versions {OLDEST_PROTOCOL} to {PROTOCOL_VERSION}: upgrade the older side");
            return Err(Failure::new(ErrorCode::ProtocolUnsupported, detail).at(format!("header {PROTOCOL_HEADER}")));
        }
        check_cluster(parts, &caller.row)?;
        if caller.row.pending {
            // Only a request that is served: one that is refused must not end the key that works.
            Box::pin(activate(state, &caller)).await?;
        }
        Ok(Self { caller, agent, protocol })
    }
}

pub(super) fn deactivated() -> Failure {
    Failure::new(ErrorCode::AgentDeactivated, "the agent is deactivated: somebody has to activate it (brokkr agent activate)")
}

/// An agent that names its cluster is served in the cluster alone that its key is bound to.
fn check_cluster(parts: &Parts, row: &KeyRow) -> Result<(), Failure> {
    let named = parts.headers.get(CLUSTER_HEADER);
    match (named, &row.cluster_uid) {
        (Some(named), Some(bound)) if named.as_bytes() != bound.as_bytes() => Err(cluster_mismatch()),
        _ => Ok(()),
    }
}

pub(super) fn cluster_mismatch() -> Failure {
    Failure::new(ErrorCode::ClusterMismatch, "this key was first used in another cluster: enrol an agent for this one")
}
