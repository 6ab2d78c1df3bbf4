//! Generators: identities of pipelines and teams.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{GeneratorId, Name, Timestamp};

/// Asks for a new generator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateGenerator {
    /// Unique among generators.
    pub name: Name,
    /// What it may use.
    #[serde(default)]
    pub quota: Quota,
}

/// Changes a generator; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpdateGenerator {
    /// Replaces the whole quota.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
}

/// What a generator may use; what is absent is not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Quota {
    /// Most stacks that it owns, those that are being deleted included.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1_000_000)]
    pub max_stacks: Option<u32>,
    /// Most bytes of content in all kept generations of its stacks together.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1_000_000_000_000u64)]
    pub max_bytes: Option<u64>,
    /// Most requests in a minute, all its keys together on one broker; at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub requests_per_minute: Option<u32>,
}

/// A generator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Generator {
    /// Names the generator in the API.
    pub id: GeneratorId,
    /// Unique among generators.
    pub name: Name,
    /// What it may use.
    #[serde(default)]
    pub quota: Quota,
    /// When it was made.
    pub created_at: Timestamp,
}
