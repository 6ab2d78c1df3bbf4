//! The HTTP API: one file per resource, principals in the handlers' signatures, problems of RFC 9457 for every error.

mod auth;
mod body;
mod conditional;
mod cors;
mod document;
mod envelope;
mod error;
mod limits;
mod record;
mod reference;
mod router;
mod state;
#[cfg(test)]
mod tests;
mod v1;

pub(crate) use cors::Origin;
pub(crate) use limits::Limits;
pub(crate) use router::{openapi, router};
pub(crate) use state::{AppState, RequestLimits, Settings, Shared};
pub(crate) use v1::tracing::follow_tracing;
