//! Generators: identities of pipelines and teams.

use serde::{Deserialize, Deserializer, Serialize, de::Error};
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
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "within::<_, _, 0, 1_000_000>")]
    #[schema(maximum = 1_000_000)]
    pub max_stacks: Option<u32>,
    /// Most bytes of content in all kept generations of its stacks together; requests that run at the same time may exceed it once.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "within::<_, _, 0, 1_000_000_000_000>")]
    #[schema(maximum = 1_000_000_000_000u64)]
    pub max_bytes: Option<u64>,
    /// Most requests in a minute, all its keys together on one broker; at least 1.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "within::<_, _, 1, 1_000_000>")]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub requests_per_minute: Option<u32>,
}

/// A number of this range, or none.
fn within<'de, D, T, const LEAST: u64, const MOST: u64>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Copy + Into<u64>,
{
    let number = Option::<T>::deserialize(deserializer)?;
    match number.map(Into::into) {
        Some(wrong) if !(LEAST..=MOST).contains(&wrong) => {
            Err(D::Error::custom(format_args!("{wrong} is not a number from {LEAST} to {MOST}")))
        }
        _ => Ok(number),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_within_its_range() {
        for right in
            [r#"{"requests_per_minute": 1}"#, r#"{"max_stacks": 0, "max_bytes": 1000000000000}"#, r#"{"max_stacks": null}"#, "{}"]
        {
            serde_json::from_str::<Quota>(right).expect(right);
        }
        for wrong in [
            r#"{"requests_per_minute": 0}"#,
            r#"{"max_stacks": 1000001}"#,
            r#"{"max_bytes": 1000000000001}"#,
            r#"{"max_stacks": -1}"#,
        ] {
            assert!(serde_json::from_str::<Quota>(wrong).is_err(), "{wrong}");
        }
    }
}
