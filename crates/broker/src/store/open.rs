//! Opening a database, and bringing its schema up to date.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use brokkr_runtime::{Clock, Ids};
use brokkr_telemetry::BrokerMetrics;
use sqlx::{
    ConnectOptions, Connection,
    migrate::{MigrateError, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{
    Error,
    sql::{Db, DbTarget, Engine, Instruments, statements, values},
};
use crate::config::DatabaseConfig;

static POSTGRES: Migrator = sqlx::migrate!("../../migrations/postgres");
static SQLITE: Migrator = sqlx::migrate!("../../migrations/sqlite");

statements! {
    READ_INSTALLATION = Select installation "SELECT installation_id, epoch FROM installation WHERE singleton = 1";
    CREATE_INSTALLATION = Insert installation
        "INSERT INTO installation (singleton, installation_id, epoch, created_at) VALUES (1, $1, $2, $3) ON CONFLICT (singleton) DO NOTHING";
}

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("database.url: {0:?} is not a database: write sqlite:FILE or postgres://USER:PASSWORD@HOST/DATABASE")]
    Url(String),
    #[error("the database {place} cannot be opened")]
    Connect {
        place: String,
        #[source]
        source: sqlx::Error,
    },
    #[error("the schema of the database cannot be brought up to date")]
    Migrate(#[source] MigrateError),
    #[error("the database cannot be read")]
    Read(#[from] Error),
}

/// Which installation a database belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Installation {
    pub(crate) id: String,
    pub(crate) epoch: String,
}

/// Opens the database, creates an SQLite file that is missing, and migrates; PostgreSQL's advisory lock keeps brokers apart that start together.
pub(crate) async fn open(
    config: &DatabaseConfig,
    metrics: BrokerMetrics,
    clock: &dyn Clock,
    ids: &dyn Ids,
) -> Result<(Db, Installation), OpenError> {
    let (engine, target) = if config.url.starts_with("postgres:") || config.url.starts_with("postgresql:") {
        open_postgres(config).await?
    } else if let Some(file) = sqlite_file(&config.url) {
        open_sqlite(&file, config).await?
    } else {
        // The text may hold a password: only what stands before the first colon is shown.
        return Err(OpenError::Url(config.url.split(':').next().unwrap_or_default().to_owned()));
    };
    let db = Db { engine, instruments: Instruments { metrics, target } };
    let installation = read_installation(&db, clock, ids).await?;
    Ok((db, installation))
}

async fn open_postgres(config: &DatabaseConfig) -> Result<(Engine, DbTarget), OpenError> {
    let options = PgConnectOptions::from_str(&config.url)
        .map_err(|_| OpenError::Url("postgres".to_owned()))?
        .application_name("brokkr-broker")
        .options([("statement_timeout", "15000"), ("lock_timeout", "10000"), ("idle_in_transaction_session_timeout", "30000")])
        .disable_statement_logging();
    let namespace = options.get_database().unwrap_or("postgres").to_owned();
    let place = format!("{namespace} on {}", options.get_host());
    let target = DbTarget { system: "postgresql", namespace, server_address: Some(options.get_host().to_owned()) };
    // One connection first: a pool only says that it ran out of time, and not why.
    let first = options.connect().await.map_err(|source| OpenError::Connect { place: place.clone(), source })?;
    first.close().await.map_err(|source| OpenError::Connect { place: place.clone(), source })?;
    let pool = PgPoolOptions::new()
        .max_connections(config.max_connections)
        .acquire_timeout(Duration::from_secs(5))
        .connect_with(options)
        .await
        .map_err(|source| OpenError::Connect { place, source })?;
    POSTGRES.run(&pool).await.map_err(OpenError::Migrate)?;
    Ok((Engine::Postgres(pool), target))
}

/// The file of an SQLite database; nothing for every other.
pub(crate) fn sqlite_file(url: &str) -> Option<PathBuf> {
    url.strip_prefix("sqlite:").map(|file| PathBuf::from(file.trim_start_matches("//")))
}

async fn open_sqlite(path: &Path, config: &DatabaseConfig) -> Result<(Engine, DbTarget), OpenError> {
    let fail = |source| OpenError::Connect { place: path.display().to_string(), source };
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // An acknowledged write survives a power cut.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(5))
        .disable_statement_logging();
    let write = SqlitePoolOptions::new()
        .max_connections(1)
        .min_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(Duration::from_secs(5))
        .test_before_acquire(false)
        .connect_with(options.clone())
        .await
        .map_err(fail)?;
    restrict(path);
    SQLITE.run(&write).await.map_err(OpenError::Migrate)?;
    let read = SqlitePoolOptions::new()
        .max_connections(config.max_connections)
        .acquire_timeout(Duration::from_secs(5))
        .test_before_acquire(false)
        .connect_with(options.pragma("query_only", "on"))
        .await
        .map_err(fail)?;
    let name = path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
    Ok((Engine::Sqlite { write, read }, DbTarget { system: "sqlite", namespace: name, server_address: None }))
}

/// The file holds manifests, and manifests hold Secrets: nobody else may read it.
fn restrict(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    if let Err(error) = std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)) {
        tracing::warn!(path = %path.display(), %error, "the database file's permissions cannot be restricted");
    }
}

async fn read_installation(db: &Db, clock: &dyn Clock, ids: &dyn Ids) -> Result<Installation, Error> {
    let mut tx = db.begin().await?;
    let now = clock.now();
    let new = |_: ()| ids.uuid(now).simple().to_string();
    // The epoch is short: it stands in the ETag of every poll.
    let epoch: String = new(()).chars().rev().take(8).collect();
    tx.execute(&CREATE_INSTALLATION, values![new(()), epoch, now]).await?;
    let row = tx.optional(&READ_INSTALLATION, vec![]).await?.ok_or_else(|| Error::absent("installation_id"))?;
    let installation = Installation { id: row.text("installation_id")?, epoch: row.text("epoch")? };
    tx.commit().await?;
    Ok(installation)
}

#[cfg(test)]
pub(super) fn all_statements() -> &'static [&'static super::sql::Statement] {
    ALL
}
