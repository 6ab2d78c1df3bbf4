//! Opening a database.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use brokkr_api::Timestamp;
use brokkr_runtime::{Clock, Ids};
use brokkr_telemetry::BrokerMetrics;
use sqlx::{
    ConnectOptions, Connection,
    migrate::MigrateError,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{
    Error,
    fan_out::KnownFilters,
    migrations,
    sql::{Db, DbTarget, Engine, Instruments, statements, values},
};
use crate::config::DatabaseConfig;

statements! {
    READ_INSTALLATION = Select installation "SELECT installation_id, epoch FROM installation WHERE singleton = 1";
    CREATE_INSTALLATION = Insert installation
        "INSERT INTO installation (singleton, installation_id, epoch, created_at) VALUES (1, $1, $2, $3) ON CONFLICT (singleton) DO NOTHING";
}

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("database.{key}: {scheme:?} is not a database: write sqlite:FILE or postgres://USER:PASSWORD@HOST/DATABASE")]
    Url { key: &'static str, scheme: String },
    #[error("the database {place} cannot be opened")]
    Connect {
        place: String,
        #[source]
        source: sqlx::Error,
    },
    #[error("the schema of the database cannot be brought up to date")]
    Migrate(#[source] MigrateError),
    #[error(
        "the schema of the database has version {version} and this program needs {needed}: run `brokkr-broker migrate`, or let \
         brokers do it with database.migrate = true"
    )]
    SchemaOld { version: i64, needed: i64 },
    #[error(
        "the schema of the database has version {version}, and this program knows versions up to {known}: a newer broker has changed \
         it, and only one that is as new may use it"
    )]
    SchemaNewer { version: i64, known: i64 },
    #[error("the database cannot be read")]
    Read(#[from] Error),
}

/// Which installation a database belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Installation {
    pub(crate) id: String,
    pub(crate) epoch: String,
}

/// How to reach the database of a configuration.
pub(super) enum Target {
    Postgres {
        /// For statements; every one of them ends in time.
        pooled: PgConnectOptions,
        /// A session of one's own, past any pooler: for `LISTEN` and for migrations.
        direct: Box<PgConnectOptions>,
        place: String,
    },
    Sqlite {
        options: SqliteConnectOptions,
        path: PathBuf,
    },
}

/// Reads the URLs. Connects to nothing.
pub(super) fn target(config: &DatabaseConfig) -> Result<Target, OpenError> {
    if let Some(path) = sqlite_file(&config.url) {
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // An acknowledged write survives a power cut.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5))
            .disable_statement_logging();
        return Ok(Target::Sqlite { options, path });
    }
    let pooled = postgres("url", &config.url)?;
    let direct = config.listen_url.as_deref().map_or_else(|| Ok(pooled.clone()), |url| postgres("listen_url", url))?;
    let place = format!("{} on {}", pooled.get_database().unwrap_or("postgres"), pooled.get_host());
    let pooled = pooled.options([
        ("statement_timeout", "15000"),
        ("lock_timeout", "10000"),
        ("idle_in_transaction_session_timeout", "30000"),
    ]);
    Ok(Target::Postgres { pooled, direct: Box::new(direct), place })
}

/// Whether it is the URL of a PostgreSQL database.
pub(crate) fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

fn postgres(key: &'static str, url: &str) -> Result<PgConnectOptions, OpenError> {
    // The text may hold a password: only what stands before the first colon is shown.
    let fail = || OpenError::Url { key, scheme: url.split(':').next().unwrap_or_default().to_owned() };
    if !is_postgres(url) {
        return Err(fail());
    }
    let options = PgConnectOptions::from_str(url).map_err(|_| fail())?;
    Ok(options.application_name("brokkr-broker").disable_statement_logging())
}

/// Opens the database, creates an SQLite file that is missing, and migrates where brokers may.
pub(crate) async fn open(
    config: &DatabaseConfig,
    metrics: BrokerMetrics,
    clock: &dyn Clock,
    ids: &dyn Ids,
) -> Result<(Db, Installation), OpenError> {
    let target = target(config)?;
    // Boxed, all four: they are large, and over before anything else begins.
    Box::pin(migrations::prepare(config)).await?;
    let db = match target {
        Target::Postgres { pooled, direct, place } => Box::pin(open_postgres(pooled, *direct, place, config, metrics)).await?,
        Target::Sqlite { options, path } => Box::pin(open_sqlite(options, &path, config, metrics)).await?,
    };
    let most = config.max_connections + u32::from(matches!(db.engine, Engine::Sqlite { .. }));
    db.count_connections(most);
    let installation = Box::pin(read_installation(&db, clock, ids)).await?;
    Ok((db, installation))
}

impl Db {
    /// Ends every connection. SQLite then moves what is in its log into the file, so that the file alone is the database.
    pub(crate) async fn close(&self) {
        let close = async {
            match &self.engine {
                Engine::Postgres(pool) => pool.close().await,
                Engine::Sqlite { write, read } => {
                    // The writer last: whoever closes last does it, and readers may not write.
                    read.close().await;
                    write.close().await;
                }
            }
        };
        if tokio::time::timeout(Duration::from_secs(5), close).await.is_err() {
            tracing::warn!("the database connections did not end in time");
        }
    }
}

async fn open_postgres(
    pooled: PgConnectOptions,
    direct: PgConnectOptions,
    place: String,
    config: &DatabaseConfig,
    metrics: BrokerMetrics,
) -> Result<Db, OpenError> {
    let namespace = pooled.get_database().unwrap_or("postgres").to_owned();
    let target = DbTarget { system: "postgresql", namespace, server_address: Some(pooled.get_host().to_owned()) };
    // One connection first: a pool only says that it ran out of time, and not why.
    let first = pooled.connect().await.map_err(|source| OpenError::Connect { place: place.clone(), source })?;
    first.close().await.map_err(|source| OpenError::Connect { place: place.clone(), source })?;
    let pool = PgPoolOptions::new()
        .max_connections(config.max_connections)
        .acquire_timeout(Duration::from_secs(5))
        .connect_with(pooled)
        .await
        .map_err(|source| OpenError::Connect { place, source })?;
    // Of its own, so that the session that listens for ever takes none from the statements.
    let listen = PgPoolOptions::new().max_connections(1).acquire_timeout(Duration::from_secs(5)).connect_lazy_with(direct);
    let instruments = Instruments { metrics, target };
    Ok(Db {
        engine: Engine::Postgres(pool),
        listen: Some(listen),
        instruments,
        told: Arc::default(),
        filters: KnownFilters::default(),
    })
}

/// The file of an SQLite database; nothing for every other.
pub(crate) fn sqlite_file(url: &str) -> Option<PathBuf> {
    url.strip_prefix("sqlite:").map(|file| PathBuf::from(file.trim_start_matches("//")))
}

async fn open_sqlite(
    options: SqliteConnectOptions,
    path: &Path,
    config: &DatabaseConfig,
    metrics: BrokerMetrics,
) -> Result<Db, OpenError> {
    let fail = |source| OpenError::Connect { place: path.display().to_string(), source };
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
    let read = SqlitePoolOptions::new()
        .max_connections(config.max_connections)
        .acquire_timeout(Duration::from_secs(5))
        .test_before_acquire(false)
        .connect_with(options.pragma("query_only", "on"))
        .await
        .map_err(fail)?;
    let namespace = path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
    let target = DbTarget { system: "sqlite", namespace, server_address: None };
    let instruments = Instruments { metrics, target };
    Ok(Db {
        engine: Engine::Sqlite { write, read },
        listen: None,
        instruments,
        told: Arc::default(),
        filters: KnownFilters::default(),
    })
}

/// Makes an empty file that is missing. It holds manifests, and manifests hold Secrets: nobody else may ever read it.
pub(super) fn create(path: &Path) {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let made = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    let restrict = |file: std::fs::File| file.set_permissions(std::fs::Permissions::from_mode(0o600));
    // What cannot be opened here cannot be opened by SQLite either, and that says why.
    if let Ok(Err(error)) = made.map(restrict) {
        tracing::warn!(path = %path.display(), %error, "the database file's permissions cannot be restricted");
    }
}

/// An epoch that nobody has seen. Short: it stands in the `ETag` of every poll.
pub(crate) fn new_epoch(now: Timestamp, ids: &dyn Ids) -> String {
    // The end of an id is random, its beginning is the time.
    ids.uuid(now).simple().to_string().chars().rev().take(8).collect()
}

async fn read_installation(db: &Db, clock: &dyn Clock, ids: &dyn Ids) -> Result<Installation, Error> {
    let mut tx = db.begin().await?;
    let now = clock.now();
    let id = ids.uuid(now).simple().to_string();
    tx.execute(&CREATE_INSTALLATION, values![id, new_epoch(now, ids), now]).await?;
    let row = tx.optional(&READ_INSTALLATION, vec![]).await?.ok_or_else(|| Error::absent("installation_id"))?;
    let installation = Installation { id: row.text("installation_id")?, epoch: row.text("epoch")? };
    tx.commit().await?;
    Ok(installation)
}

#[cfg(test)]
pub(super) fn all_statements() -> &'static [&'static super::sql::Statement] {
    ALL
}
