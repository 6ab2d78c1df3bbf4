//! Who is calling. Principals are extractors, so that a handler's signature says who may call it.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use brokkr_api::{AgentId, ErrorCode, KeyId, PROTOCOL_HEADER, PROTOCOL_VERSION, keys::Role};
use http::{header, request::Parts};

use super::{AppState, error::Failure};
use crate::{
    domain::key,
    store::{KeyRow, Scope},
};

/// Oldest protocol version that is still served.
const OLDEST_PROTOCOL: u32 = if PROTOCOL_VERSION > 2 { PROTOCOL_VERSION - 2 } else { 1 };

/// An admin.
pub(crate) struct Admin;

/// Whoever owns stacks: an admin, or a generator.
pub(crate) struct Owner {
    pub(crate) key: KeyId,
    pub(crate) scope: Scope,
}

/// An agent.
pub(crate) struct AgentCaller {
    pub(crate) key: KeyId,
    pub(crate) digest: String,
    pub(crate) agent: AgentId,
    pub(crate) protocol: u32,
}

struct Caller {
    key: KeyId,
    digest: String,
    role: Role,
    scope: Scope,
    agent: Option<AgentId>,
}

/// The key of a request, if the text can be one at all: what cannot costs no query.
fn secret(parts: &Parts) -> Option<&str> {
    let (scheme, secret) = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    Some(secret.trim()).filter(|secret| scheme.eq_ignore_ascii_case("bearer") && key::is_well_formed(secret))
}

/// The key that a request comes with, if memory knows it to be valid. Asked before the handler authenticates it, and never waits.
pub(super) fn known_key(state: &AppState, parts: &Parts) -> Option<Arc<KeyRow>> {
    secret(parts).and_then(|secret| state.feed.key(&key::digest(secret), state.clock.now()))
}

async fn authenticate(parts: &Parts, state: &AppState) -> Result<Caller, Failure> {
    let refuse = |detail: &str| Failure::new(ErrorCode::Unauthenticated, detail).at("header Authorization");
    let secret = secret(parts).ok_or_else(|| refuse("send a key of Brokkr as Authorization: Bearer KEY"))?;
    let digest = key::digest(secret);
    let now = state.clock.now();
    let row = state.feed.find_key(&digest, now).await?.ok_or_else(|| refuse("the key is unknown, expired or revoked"))?;
    state.presence.key_used(row.id, now);
    let scope = row.generator.map_or(Scope::Admin, Scope::Generator);
    Ok(Caller { key: row.id, digest, role: row.role, scope, agent: row.agent })
}

fn forbidden(role: Role) -> Failure {
    Failure::new(ErrorCode::Forbidden, format!("a key of role {} may not do this", role.as_str()))
}

impl FromRequestParts<AppState> for Admin {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Failure> {
        let caller = authenticate(parts, state).await?;
        match caller.role {
            Role::Admin => Ok(Self),
            role => Err(forbidden(role)),
        }
    }
}

impl FromRequestParts<AppState> for Owner {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Failure> {
        let caller = authenticate(parts, state).await?;
        match caller.role {
            Role::Admin | Role::Generator => Ok(Self { key: caller.key, scope: caller.scope }),
            role @ Role::Agent => Err(forbidden(role)),
        }
    }
}

impl FromRequestParts<AppState> for AgentCaller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Failure> {
        let caller = authenticate(parts, state).await?;
        let (Role::Agent, Some(agent)) = (caller.role, caller.agent) else { return Err(forbidden(caller.role)) };
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
        Ok(Self { key: caller.key, digest: caller.digest, agent, protocol })
    }
}
