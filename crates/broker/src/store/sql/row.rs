//! What statements answer.

use sqlx::{Row as _, postgres::PgRow, sqlite::SqliteRow};

use crate::store::Error;

/// A row of either engine.
pub(crate) enum Row {
    Postgres(PgRow),
    Sqlite(SqliteRow),
}

impl Row {
    pub(crate) fn opt_text(&self, column: &'static str) -> Result<Option<String>, Error> {
        match self {
            Self::Postgres(row) => row.try_get(column),
            Self::Sqlite(row) => row.try_get(column),
        }
        .map_err(|source| Error::Corrupt { column, source: source.into() })
    }

    pub(crate) fn opt_int(&self, column: &'static str) -> Result<Option<i64>, Error> {
        match self {
            Self::Postgres(row) => row.try_get(column),
            Self::Sqlite(row) => row.try_get(column),
        }
        .map_err(|source| Error::Corrupt { column, source: source.into() })
    }

    pub(crate) fn opt_bytes(&self, column: &'static str) -> Result<Option<Vec<u8>>, Error> {
        match self {
            Self::Postgres(row) => row.try_get(column),
            Self::Sqlite(row) => row.try_get(column),
        }
        .map_err(|source| Error::Corrupt { column, source: source.into() })
    }

    pub(crate) fn text(&self, column: &'static str) -> Result<String, Error> {
        self.opt_text(column)?.ok_or_else(|| Error::absent(column))
    }

    pub(crate) fn int(&self, column: &'static str) -> Result<i64, Error> {
        self.opt_int(column)?.ok_or_else(|| Error::absent(column))
    }

    /// A number that is never negative.
    pub(crate) fn count(&self, column: &'static str) -> Result<u64, Error> {
        u64::try_from(self.int(column)?).map_err(|source| Error::Corrupt { column, source: source.into() })
    }

    /// A small number that is never negative.
    pub(crate) fn number(&self, column: &'static str) -> Result<u32, Error> {
        u32::try_from(self.int(column)?).map_err(|source| Error::Corrupt { column, source: source.into() })
    }

    /// One of a closed set of words.
    pub(crate) fn word<T>(&self, column: &'static str, of: fn(&str) -> Option<T>) -> Result<T, Error> {
        of(&self.text(column)?).ok_or_else(|| Error::absent(column))
    }

    pub(crate) fn time(&self, column: &'static str) -> Result<brokkr_api::Timestamp, Error> {
        self.int(column).map(brokkr_api::Timestamp::from_micros)
    }

    pub(crate) fn opt_time(&self, column: &'static str) -> Result<Option<brokkr_api::Timestamp>, Error> {
        Ok(self.opt_int(column)?.map(brokkr_api::Timestamp::from_micros))
    }

    /// A column whose text parses: an id, a name.
    pub(crate) fn parse<T>(&self, column: &'static str) -> Result<T, Error>
    where
        T: std::str::FromStr,
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        self.text(column)?.parse().map_err(|source: T::Err| Error::Corrupt { column, source: source.into() })
    }

    pub(crate) fn opt_parse<T>(&self, column: &'static str) -> Result<Option<T>, Error>
    where
        T: std::str::FromStr,
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        let parse = |text: String| text.parse().map_err(|source: T::Err| Error::Corrupt { column, source: source.into() });
        self.opt_text(column)?.map(parse).transpose()
    }

    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self, column: &'static str) -> Result<T, Error> {
        self.opt_json(column)?.ok_or_else(|| Error::absent(column))
    }

    pub(crate) fn opt_json<T: serde::de::DeserializeOwned>(&self, column: &'static str) -> Result<Option<T>, Error> {
        let parse = |text: String| serde_json::from_str(&text).map_err(|source| Error::Corrupt { column, source: source.into() });
        self.opt_text(column)?.map(parse).transpose()
    }
}
