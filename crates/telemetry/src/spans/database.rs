//! SQL, by <https://opentelemetry.io/docs/specs/semconv/database/database-spans/>.

use tracing::{Span, field::Empty};

use crate::metrics::DbOperation;

/// A statement, without its text and its parameters.
#[derive(Debug, Clone, Copy)]
pub struct DbStatement<'a> {
    /// Its name in the store, `stacks.by_name`; becomes `db.query.summary`.
    pub name: &'static str,
    /// What it does.
    pub operation: DbOperation,
    /// The table that it is about.
    pub collection: &'static str,
    /// `postgresql` or `sqlite`.
    pub system: &'static str,
    /// The database, `brokkr|public`; for SQLite the file's name without folder.
    pub namespace: &'a str,
    /// Host of the server, where there is one.
    pub server_address: Option<&'a str>,
}

/// `{operation} {collection}`, CLIENT: one statement.
#[must_use]
pub fn db_statement(statement: DbStatement<'_>) -> Span {
    let operation = statement.operation.sql();
    tracing::info_span!(
        "db.statement",
        otel.name = %format_args!("{operation} {}", statement.collection),
        otel.kind = "client",
        otel.status_code = Empty,
        db.system.name = statement.system,
        db.namespace = statement.namespace,
        db.collection.name = statement.collection,
        db.operation.name = operation,
        db.query.summary = statement.name,
        db.response.status_code = Empty,
        server.address = statement.server_address,
        error.type = Empty,
    )
}

/// BEGIN, COMMIT or NOTIFY: no query, and time in which a trace must have no gap.
#[derive(Debug, Clone, Copy)]
pub struct DbTransaction<'a> {
    /// `BEGIN`, `COMMIT`, `NOTIFY`.
    pub verb: &'static str,
    /// `postgresql` or `sqlite`.
    pub system: &'static str,
    /// The database, as in [`DbStatement`].
    pub namespace: &'a str,
    /// Host of the server, where there is one.
    pub server_address: Option<&'a str>,
}

/// `{verb}`, CLIENT: one step of a transaction. BEGIN includes the wait for a connection.
#[must_use]
pub fn db_transaction(transaction: DbTransaction<'_>) -> Span {
    tracing::info_span!(
        "db.transaction",
        otel.name = transaction.verb,
        otel.kind = "client",
        otel.status_code = Empty,
        db.system.name = transaction.system,
        db.namespace = transaction.namespace,
        db.operation.name = transaction.verb,
        db.response.status_code = Empty,
        server.address = transaction.server_address,
        error.type = Empty,
    )
}

/// Says that a statement, or a step of a transaction, has failed: with the database's own code where it gave one.
pub fn record_database_error(span: &Span, error_type: &str, code: Option<&str>) {
    if let Some(code) = code {
        span.record("db.response.status_code", code);
    }
    super::record_error(span, error_type);
}
