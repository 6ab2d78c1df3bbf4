//! How a statement fails.

use std::borrow::Cow;

/// Why there is no result. "No such row" is a result, not an error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The database does not answer: nothing was changed, and the same may work later.
    #[error("the database does not answer ({statement})")]
    Unavailable {
        statement: &'static str,
        #[source]
        source: sqlx::Error,
    },
    /// A unique constraint says that it exists already.
    #[error("the row exists already ({statement})")]
    Duplicate {
        statement: &'static str,
        #[source]
        source: sqlx::Error,
    },
    /// A row holds what this program never writes.
    #[error("column {column} holds a value that cannot be read")]
    Corrupt {
        column: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The statement is wrong: a defect.
    #[error("statement {statement} failed")]
    Statement {
        statement: &'static str,
        #[source]
        source: sqlx::Error,
    },
}

impl Error {
    pub(super) fn absent(column: &'static str) -> Self {
        Self::Corrupt { column, source: "it is NULL".into() }
    }

    /// The database has taken too long to answer.
    pub(crate) fn late(statement: &'static str) -> Self {
        Self::Unavailable { statement, source: sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()) }
    }

    /// Sorts a driver's error into what a caller may act on.
    pub(super) fn of_statement(statement: &'static str, source: sqlx::Error) -> Self {
        match &source {
            sqlx::Error::Database(database) if database.is_unique_violation() => Self::Duplicate { statement, source },
            sqlx::Error::Database(database) if is_passing(database.code()) => Self::Unavailable { statement, source },
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unavailable { statement, source },
            _ => Self::Statement { statement, source },
        }
    }

    /// The database's own code, where it gave one: SQLSTATE, or SQLite's result code.
    pub(super) fn code(&self) -> Option<Cow<'_, str>> {
        let (Self::Unavailable { source, .. } | Self::Duplicate { source, .. } | Self::Statement { source, .. }) = self else {
            return None;
        };
        source.as_database_error().and_then(sqlx::error::DatabaseError::code)
    }

    /// A word of a closed set, for the span's `error.type`: one that is slow is told from one that is away.
    pub(crate) fn error_type(&self) -> &'static str {
        match self {
            Self::Unavailable { source, .. } if is_late(source) => "timeout",
            other => other.kind(),
        }
    }

    /// A word of a closed set, for people and for what is told once.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "database_unavailable",
            Self::Duplicate { .. } => "duplicate",
            Self::Corrupt { .. } => "corrupt",
            Self::Statement { .. } => "statement_failed",
        }
    }
}

/// Whether the database is there and has taken too long. A pool without a connection to give says nothing of the kind.
fn is_late(source: &sqlx::Error) -> bool {
    match source {
        sqlx::Error::Io(error) => error.kind() == std::io::ErrorKind::TimedOut,
        // PostgreSQL: statement and lock timeout. SQLite: busy, locked.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            matches!(code.as_ref(), "57014" | "55P03")
                || (code.len() < 5 && code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6)))
        }),
        _ => false,
    }
}

/// Codes after which the same statement may work: PostgreSQL is shutting down, starting up, out of connections or gave up a
/// lock; SQLite is busy, its disk is full or fails.
fn is_passing(code: Option<Cow<'_, str>>) -> bool {
    let Some(code) = code else { return false };
    let postgres = ["57P01", "57P02", "57P03", "57014", "53300", "40001", "40P01", "55P03", "08006", "08001", "08003"];
    // SQLite's extended codes keep the primary one in the low byte: 5 busy, 6 locked, 10 I/O, 13 full, 14 cannot open.
    let sqlite = |code: &str| code.parse::<u32>().is_ok_and(|code| code < 10_000 && matches!(code & 0xff, 5 | 6 | 10 | 13 | 14));
    postgres.contains(&code.as_ref()) || (code.len() < 5 && sqlite(&code))
}
