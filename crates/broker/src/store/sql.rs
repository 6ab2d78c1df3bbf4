//! The seam: the one place that names the database drivers, and the one place where a statement gets its span and its metrics.
//!
//! Statements are written once for both engines, with `$1` placeholders, which both drivers bind. Two markers are expanded here:
//! `each($n)` turns a bound JSON array into rows with one column `value`; `/*lock*/` locks the selected rows on PostgreSQL
//! (SQLite has one writer and needs no lock); it leaves the key alone, so that rows which refer to the locked one can be
//! written meanwhile: whoever holds the counter of changes must not wait for whoever waits for the counter.

use std::{sync::OnceLock, time::Instant};

use brokkr_telemetry::{
    BrokerMetrics,
    metrics::DbOperation,
    spans::{self, DbStatement, DbTransaction},
};
use serde::Serialize;
use sqlx::{
    Arguments, Executor, PgPool, Row as _, SqlitePool,
    postgres::{PgArguments, PgRow},
    sqlite::{SqliteArguments, SqliteRow},
};
use tracing::{Dispatch, instrument::WithSubscriber};

use super::Error;

/// A statement with its name, which is the query summary of its span, and what it does to which table.
pub(crate) struct Statement {
    pub(crate) name: &'static str,
    pub(crate) operation: DbOperation,
    pub(crate) table: &'static str,
    text: &'static str,
    rendered: OnceLock<Rendered>,
}

pub(super) struct Rendered {
    pub(super) postgres: &'static str,
    pub(super) sqlite: &'static str,
}

impl Statement {
    pub(crate) const fn new(name: &'static str, operation: DbOperation, table: &'static str, text: &'static str) -> Self {
        Self { name, operation, table, text, rendered: OnceLock::new() }
    }

    pub(super) fn rendered(&self) -> &Rendered {
        // Each statement is a static, so that the leak happens once per statement and process.
        self.rendered.get_or_init(|| Rendered {
            postgres: Box::leak(
                render(self.text, "json_array_elements(CAST(", " AS json)) AS item(value)", "FOR NO KEY UPDATE").into(),
            ),
            sqlite: Box::leak(render(self.text, "json_each(", ") AS item", "").into()),
        })
    }
}

fn render(text: &str, each_open: &str, each_close: &str, lock: &str) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    let mut rest = text;
    while let Some(at) = rest.find("each(") {
        let (before, after) = rest.split_at(at);
        let (argument, after) = after["each(".len()..].split_once(')').unwrap_or((after, ""));
        out.push_str(before);
        out.push_str(each_open);
        out.push_str(argument);
        out.push_str(each_close);
        rest = after;
    }
    out.push_str(rest);
    out.replace("/*lock*/", lock)
}

/// Declares statements: a static for each, and `ALL` for the test that prepares every one on both engines.
macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $operation:ident $table:ident $text:literal;)*) => {
        $($(#[$doc])* pub(super) static $name: $crate::store::sql::Statement = $crate::store::sql::Statement::new(
            stringify!($name), brokkr_telemetry::metrics::DbOperation::$operation, stringify!($table), $text);)*
        #[cfg(test)]
        pub(super) static ALL: &[&$crate::store::sql::Statement] = &[$(&$name),*];
    };
}
pub(crate) use statements;

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
    brokkr_api::EventId
);

/// Binds a set as one JSON array, for `each($n)`.
pub(crate) fn set<T: Serialize>(items: &[T]) -> Result<Value, Error> {
    serde_json::to_string(items).map(Value::from).map_err(|source| Error::Corrupt { column: "bound set", source: source.into() })
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

/// The engines.
#[derive(Clone)]
pub(super) enum Engine {
    Postgres(PgPool),
    Sqlite { write: SqlitePool, read: SqlitePool },
}

/// Which database a statement goes to, as its span says.
#[derive(Clone)]
pub(super) struct DbTarget {
    pub(super) system: &'static str,
    pub(super) namespace: String,
    pub(super) server_address: Option<String>,
}

/// What every statement needs beside its engine.
#[derive(Clone)]
pub(super) struct Instruments {
    pub(super) metrics: BrokerMetrics,
    pub(super) target: DbTarget,
}

impl Instruments {
    /// Runs one statement inside its span, and counts it.
    async fn observe<T>(&self, statement: &Statement, run: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Error> {
        let span = spans::db_statement(DbStatement {
            name: statement.name,
            operation: statement.operation,
            collection: statement.table,
            system: self.target.system,
            namespace: &self.target.namespace,
            server_address: self.target.server_address.as_deref(),
        });
        let started = Instant::now();
        let result = unseen(run).await;
        span.in_scope(|| self.metrics.database_query(statement.operation, started.elapsed()));
        result.map_err(|source| {
            let error = Error::of_statement(statement.name, source);
            spans::record_error(&span, error.kind());
            error
        })
    }

    /// Runs BEGIN or COMMIT inside a span: they take time in which a trace must have no gap, and they are not queries.
    async fn observe_transaction<T>(
        &self,
        verb: &'static str,
        run: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, Error> {
        let span = spans::db_transaction(DbTransaction {
            verb,
            system: self.target.system,
            namespace: &self.target.namespace,
            server_address: self.target.server_address.as_deref(),
        });
        unseen(run).await.map_err(|source| {
            let error = Error::of_statement(verb, source);
            spans::record_error(&span, error.kind());
            error
        })
    }
}

/// Runs the driver where it sees no span. SQLite's thread would hold on to the one that it saw until after the answer, and a span
/// ends with its last holder.
fn unseen<T>(run: impl Future<Output = T>) -> impl Future<Output = T> {
    run.with_subscriber(Dispatch::none())
}

fn pg_arguments(values: Vec<Value>) -> Result<PgArguments, sqlx::Error> {
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

fn sqlite_arguments(values: Vec<Value>) -> Result<SqliteArguments, sqlx::Error> {
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

async fn pg_all<'e>(
    on: impl Executor<'e, Database = sqlx::Postgres>,
    statement: &Statement,
    values: Vec<Value>,
) -> Result<Vec<Row>, sqlx::Error> {
    let rows = sqlx::query_with(statement.rendered().postgres, pg_arguments(values)?).fetch_all(on).await?;
    Ok(rows.into_iter().map(Row::Postgres).collect())
}

async fn sqlite_all<'e>(
    on: impl Executor<'e, Database = sqlx::Sqlite>,
    statement: &Statement,
    values: Vec<Value>,
) -> Result<Vec<Row>, sqlx::Error> {
    let rows = sqlx::query_with(statement.rendered().sqlite, sqlite_arguments(values)?).fetch_all(on).await?;
    Ok(rows.into_iter().map(Row::Sqlite).collect())
}

/// The database.
#[derive(Clone)]
pub(crate) struct Db {
    pub(super) engine: Engine,
    pub(super) instruments: Instruments,
}

/// A write transaction; dropped without [`Tx::commit`] it is rolled back.
pub(crate) struct Tx {
    engine: TxEngine,
    instruments: Instruments,
}

enum TxEngine {
    Postgres(sqlx::Transaction<'static, sqlx::Postgres>),
    Sqlite(sqlx::Transaction<'static, sqlx::Sqlite>),
}

impl Db {
    /// All rows of a statement that only reads, outside any transaction.
    pub(crate) async fn all(&self, statement: &Statement, values: Vec<Value>) -> Result<Vec<Row>, Error> {
        let run = async {
            match &self.engine {
                Engine::Postgres(pool) => pg_all(pool, statement, values).await,
                Engine::Sqlite { read, .. } => sqlite_all(read, statement, values).await,
            }
        };
        self.instruments.observe(statement, run).await
    }

    /// The first row of a statement that only reads.
    pub(crate) async fn optional(&self, statement: &Statement, values: Vec<Value>) -> Result<Option<Row>, Error> {
        Ok(self.all(statement, values).await?.into_iter().next())
    }

    /// Begins a write transaction. On SQLite it waits here for the one writer.
    pub(crate) async fn begin(&self) -> Result<Tx, Error> {
        let run = async {
            Ok(match &self.engine {
                Engine::Postgres(pool) => TxEngine::Postgres(pool.begin().await?),
                // A deferred transaction that upgrades later fails with a busy snapshot, which no timeout retries.
                Engine::Sqlite { write, .. } => TxEngine::Sqlite(write.begin_with("BEGIN IMMEDIATE").await?),
            })
        };
        let engine = self.instruments.observe_transaction("BEGIN", run).await?;
        Ok(Tx { engine, instruments: self.instruments.clone() })
    }
}

impl Tx {
    /// All rows of a statement.
    pub(crate) async fn all(&mut self, statement: &Statement, values: Vec<Value>) -> Result<Vec<Row>, Error> {
        let run = async {
            match &mut self.engine {
                TxEngine::Postgres(tx) => pg_all(&mut **tx, statement, values).await,
                TxEngine::Sqlite(tx) => sqlite_all(&mut **tx, statement, values).await,
            }
        };
        self.instruments.observe(statement, run).await
    }

    /// The first row of a statement.
    pub(crate) async fn optional(&mut self, statement: &Statement, values: Vec<Value>) -> Result<Option<Row>, Error> {
        Ok(self.all(statement, values).await?.into_iter().next())
    }

    /// Runs a statement and counts the rows that it changed.
    pub(crate) async fn execute(&mut self, statement: &Statement, values: Vec<Value>) -> Result<u64, Error> {
        let run = async {
            Ok(match &mut self.engine {
                TxEngine::Postgres(tx) => {
                    let query = sqlx::query_with(statement.rendered().postgres, pg_arguments(values)?);
                    query.execute(&mut **tx).await?.rows_affected()
                }
                TxEngine::Sqlite(tx) => {
                    let query = sqlx::query_with(statement.rendered().sqlite, sqlite_arguments(values)?);
                    query.execute(&mut **tx).await?.rows_affected()
                }
            })
        };
        self.instruments.observe(statement, run).await
    }

    /// Tells the other brokers, when this transaction commits, that there is something to read. A hint, never relied upon.
    pub(crate) async fn notify(&mut self, change_seq: u64) -> Result<(), Error> {
        let TxEngine::Postgres(tx) = &mut self.engine else { return Ok(()) };
        let run =
            async { sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(change_seq.to_string()).execute(&mut **tx).await };
        self.instruments.observe_transaction("NOTIFY", run).await.map(drop)
    }

    /// Makes everything durable, or nothing.
    pub(crate) async fn commit(self) -> Result<(), Error> {
        let run = async {
            match self.engine {
                TxEngine::Postgres(tx) => tx.commit().await,
                TxEngine::Sqlite(tx) => tx.commit().await,
            }
        };
        self.instruments.observe_transaction("COMMIT", run).await
    }
}

/// The channel on which brokers tell each other that the change feed has grown.
pub(super) const CHANNEL: &str = "brokkr_changes";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_markers_become_each_engines_own_words() {
        static SAMPLE: Statement = Statement::new(
            "SAMPLE",
            DbOperation::Select,
            "agents",
            "SELECT item.value->>'id' FROM each($1) JOIN agents ON TRUE WHERE name = $2 /*lock*/",
        );
        let rendered = SAMPLE.rendered();
        assert_eq!(
            rendered.postgres,
            "SELECT item.value->>'id' FROM json_array_elements(CAST($1 AS json)) AS item(value) JOIN agents ON TRUE WHERE name = $2 FOR NO KEY UPDATE"
        );
        assert_eq!(rendered.sqlite, "SELECT item.value->>'id' FROM json_each($1) AS item JOIN agents ON TRUE WHERE name = $2 ");
    }
}
