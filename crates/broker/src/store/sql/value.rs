//! What statements are given.

use serde::Serialize;
use sqlx::{Arguments, postgres::PgArguments, sqlite::SqliteArguments};

use crate::store::Error;

/// A bound value. An absent one carries its type, because PostgreSQL checks it.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Text(Option<String>),
    Int(Option<i64>),
    Bytes(Vec<u8>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.map(str::to_owned))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(Some(number))
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        Self::Int(number)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        // Counters and sizes: none comes near 2^63.
        Self::Int(Some(i64::try_from(number).unwrap_or(i64::MAX)))
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Int(Some(i64::from(number)))
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<brokkr_api::Timestamp> for Value {
    fn from(time: brokkr_api::Timestamp) -> Self {
        Self::Int(Some(time.as_micros()))
    }
}

macro_rules! id_values {
    ($($name:ty),*) => {$(
        impl From<$name> for Value {
            fn from(id: $name) -> Self {
                Self::Text(Some(id.to_string()))
            }
        }
        impl From<Option<$name>> for Value {
            fn from(id: Option<$name>) -> Self {
                Self::Text(id.map(|id| id.to_string()))
            }
        }
    )*};
}
id_values!(
    brokkr_api::AgentId,
    brokkr_api::StackId,
    brokkr_api::KeyId,
    brokkr_api::GeneratorId,
    brokkr_api::DeploymentObjectId,
    brokkr_api::EventId,
    brokkr_api::AuditId,
    brokkr_api::RegistrationTokenId,
    brokkr_api::WorkOrderId,
    brokkr_api::WebhookId,
    brokkr_api::DeliveryId
);

/// What goes into a column that holds JSON.
pub(crate) fn json<T: Serialize + ?Sized>(column: &'static str, value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|source| Error::Corrupt { column, source: source.into() })
}

/// Binds a set as one JSON array, for `each($n)`.
pub(crate) fn set<T: Serialize>(items: &[T]) -> Result<Value, Error> {
    json("bound set", items).map(Value::from)
}

/// Binds a set of ids, for `item.value->>'id'` of `each($n)`.
pub(crate) fn id_set<I: Serialize + Copy>(ids: &[I]) -> Result<Value, Error> {
    #[derive(Serialize)]
    struct Item<I> {
        id: I,
    }
    set(&ids.iter().map(|id| Item { id: *id }).collect::<Vec<_>>())
}

/// Makes a `Vec<Value>` of mixed values.
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$($crate::store::sql::Value::from($value)),*] };
}
pub(crate) use values;

pub(super) fn pg_arguments(values: Vec<Value>) -> Result<PgArguments, sqlx::Error> {
    let mut arguments = PgArguments::default();
    for value in values {
        match value {
            Value::Text(text) => arguments.add(text),
            Value::Int(number) => arguments.add(number),
            Value::Bytes(bytes) => arguments.add(bytes),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

pub(super) fn sqlite_arguments(values: Vec<Value>) -> Result<SqliteArguments, sqlx::Error> {
    let mut arguments = SqliteArguments::default();
    for value in values {
        match value {
            Value::Text(text) => arguments.add(text),
            Value::Int(number) => arguments.add(number),
            Value::Bytes(bytes) => arguments.add(bytes),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}
