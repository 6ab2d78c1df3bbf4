//! The answer of `/readyz` of both daemons.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whether a daemon takes work, and what it has to say about each of its parts.
///
/// Ready means started and not draining; a part in trouble is told here and does not make the daemon unready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// Whether the answer's status is 200.
    pub ready: bool,
    /// State of each part, by name.
    pub checks: BTreeMap<String, Check>,
}

/// State of one part of a daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// Whether the part works.
    pub ok: bool,
    /// What is wrong, or what a person may want to know; never contains secrets.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

impl Check {
    /// A part that works.
    #[must_use]
    pub fn ok(detail: impl Into<String>) -> Self {
        Self { ok: true, detail: detail.into() }
    }

    /// A part in trouble.
    #[must_use]
    pub fn failing(detail: impl Into<String>) -> Self {
        Self { ok: false, detail: detail.into() }
    }
}
