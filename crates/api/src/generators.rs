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
}

/// A generator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Generator {
    /// Names the generator in the API.
    pub id: GeneratorId,
    /// Unique among generators.
    pub name: Name,
    /// When it was made.
    pub created_at: Timestamp,
}
