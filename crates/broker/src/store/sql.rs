//! The seam: the one place that names the database drivers, and the one place where a statement gets its span and its metrics.
//!
//! Statements are written once for both engines, with `$1` placeholders, which both drivers bind. Four markers are expanded here:
//! `each($n)` turns a bound JSON array into rows with one column `value`; `/*lock*/` locks the selected rows on PostgreSQL
//! (SQLite has one writer and needs no lock); it leaves the key alone, so that rows which refer to the locked one can be
//! written meanwhile: whoever holds the counter of changes must not wait for whoever waits for the counter. `/*lock free*/` locks
//! those that nobody else has locked and leaves out the rest, for work that may be left to whoever has them. `IN /*those of*/ (… /*those*/)`
//! is IN on SQLite, which looks the found keys up; PostgreSQL would ask the inner question for every row, and is given an array of keys.
//! `/*first*/ … /*next*/ … /*then*/ …` are writes that have nothing to do with each other in one statement: PostgreSQL makes all but the
//! last common tables, SQLite runs them one after the other within one call.

#[cfg(test)]
pub(crate) mod fault;
mod row;
mod statement;
mod value;

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use brokkr_telemetry::{
    BrokerMetrics,
    spans::{self, DbStatement, DbTransaction},
};
use sqlx::{Executor, PgPool, SqlitePool};
use tokio::sync::Notify;
use tracing::{Dispatch, instrument::WithSubscriber};

use super::{
    Error,
    fan_out::{Filters, KnownFilters},
};
use value::{pg_arguments, sqlite_arguments};

pub(crate) use row::Row;
pub(crate) use statement::{Statement, statements};
pub(crate) use value::{Value, id_set, json, set, values};

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
        let result = in_time(run).await;
        span.in_scope(|| self.metrics.database_query(statement.operation, started.elapsed()));
        result.map_err(|source| {
            let error = Error::of_statement(statement.name, source);
            spans::record_database_error(&span, error.error_type(), error.code().as_deref());
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
        in_time(run).await.map_err(|source| {
            let error = Error::of_statement(verb, source);
            spans::record_database_error(&span, error.error_type(), error.code().as_deref());
            error
        })
    }
}

/// Longest time that the driver is waited for, above what the server allows itself: one that is frozen, or cut off without a word,
/// never answers.
const LIMIT: Duration = Duration::from_secs(20);

/// Runs the driver, and gives up when the database does not answer.
async fn in_time<T>(run: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    let late = || sqlx::Error::Io(io::ErrorKind::TimedOut.into());
    tokio::time::timeout(LIMIT, unseen(run)).await.unwrap_or_else(|_| Err(late()))
}

/// Runs the driver where it sees no span. SQLite's thread would hold on to the one that it saw until after the answer, and a span
/// ends with its last holder.
fn unseen<T>(run: impl Future<Output = T>) -> impl Future<Output = T> {
    run.with_subscriber(Dispatch::none())
}

/// The one writer of SQLite is there and at work: that is slow, and not away.
fn busy(error: sqlx::Error) -> sqlx::Error {
    if matches!(error, sqlx::Error::PoolTimedOut) { sqlx::Error::Io(io::ErrorKind::TimedOut.into()) } else { error }
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
    /// Sessions that listen; none on SQLite, where there is nobody to listen to.
    pub(super) listen: Option<PgPool>,
    pub(super) instruments: Instruments,
    /// Woken when a transaction of this broker has committed events.
    pub(super) told: Arc<Notify>,
    /// Who wants which events.
    pub(super) filters: KnownFilters,
}

/// A write transaction; dropped without [`Tx::commit`] it is rolled back.
pub(crate) struct Tx {
    engine: TxEngine,
    instruments: Instruments,
    told: Arc<Notify>,
    tells: bool,
    known: KnownFilters,
    /// As this transaction goes by them. They may hold its own changes: they are everybody's when it is committed.
    pub(super) filters: Option<Arc<Filters>>,
}

enum TxEngine {
    Postgres(sqlx::Transaction<'static, sqlx::Postgres>),
    Sqlite(sqlx::Transaction<'static, sqlx::Sqlite>),
}

impl Db {
    /// What the broker measures.
    pub(crate) fn metrics(&self) -> &BrokerMetrics {
        &self.instruments.metrics
    }

    /// Returns when a transaction of this broker has committed events since the last time; for one who waits.
    pub(crate) async fn events_committed(&self) {
        self.told.notified().await;
    }

    /// Counts connections whenever somebody looks, from the memory of the pools.
    pub(super) fn count_connections(&self, most: u32) {
        let pools = self.engine.clone();
        self.metrics().database_connections_max.set(most.into());
        self.metrics().count_connections(move || {
            let count = |size: u32, idle: usize| {
                let idle = i64::try_from(idle).unwrap_or(i64::MAX);
                (idle, (i64::from(size) - idle).max(0))
            };
            match &pools {
                Engine::Postgres(pool) => count(pool.size(), pool.num_idle()),
                Engine::Sqlite { write, read } => count(write.size() + read.size(), write.num_idle() + read.num_idle()),
            }
        });
    }

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
                Engine::Sqlite { write, .. } => TxEngine::Sqlite(write.begin_with("BEGIN IMMEDIATE").await.map_err(busy)?),
            })
        };
        let engine = self.instruments.observe_transaction("BEGIN", run).await?;
        Ok(Tx {
            engine,
            instruments: self.instruments.clone(),
            told: Arc::clone(&self.told),
            tells: false,
            known: self.filters.clone(),
            filters: None,
        })
    }
}

impl Tx {
    /// All rows of a statement.
    pub(crate) async fn all(&mut self, statement: &Statement, values: Vec<Value>) -> Result<Vec<Row>, Error> {
        #[cfg(test)]
        fault::step();
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
        #[cfg(test)]
        fault::step();
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
        #[cfg(test)]
        fault::step();
        let run =
            async { sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(change_seq.to_string()).execute(&mut **tx).await };
        self.instruments.observe_transaction("NOTIFY", run).await.map(drop)
    }

    /// Who wants which events, as far as this transaction knows.
    pub(super) fn filters(&self) -> Arc<Filters> {
        self.filters.clone().unwrap_or_else(|| self.known.newest())
    }

    /// There is an event in this transaction: whoever waits for one is woken when it is committed.
    pub(super) fn tell(&mut self) {
        self.tells = true;
    }

    /// Makes everything durable, or nothing.
    pub(crate) async fn commit(self) -> Result<(), Error> {
        #[cfg(test)]
        fault::step();
        let run = async {
            match self.engine {
                TxEngine::Postgres(tx) => tx.commit().await,
                TxEngine::Sqlite(tx) => tx.commit().await,
            }
        };
        let committed = self.instruments.observe_transaction("COMMIT", run).await;
        #[cfg(test)]
        fault::step();
        if committed.is_ok() {
            if let Some(filters) = self.filters {
                self.known.learn(filters);
            }
            if self.tells {
                self.told.notify_one();
            }
        }
        committed
    }
}

/// The channel on which brokers tell each other that the change feed has grown.
pub(super) const CHANNEL: &str = "brokkr_changes";
