//! The version of the schema: brought up to date, or only looked at.

use std::path::Path;

use sqlx::{
    ConnectOptions, Connection, PgConnection, SqliteConnection,
    migrate::{MigrateError, Migrator},
    postgres::PgConnectOptions,
    sqlite::SqliteConnectOptions,
};

use super::open::{OpenError, Target, create, target};
use crate::config::DatabaseConfig;

static POSTGRES: Migrator = sqlx::migrate!("../../migrations/postgres");
static SQLITE: Migrator = sqlx::migrate!("../../migrations/sqlite");

/// How the schema of a database relates to this program. Versions count migrations; 0 is an empty database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Schema {
    /// It is what this program needs.
    Current { version: i64 },
    /// Migrations are pending.
    Pending { version: i64, needed: i64 },
    /// A newer program has changed it.
    Newer { version: i64, known: i64 },
}

impl Schema {
    fn of(applied: &[i64], migrator: &Migrator) -> Self {
        let known = migrator.iter().map(|migration| migration.version).max().unwrap_or(0);
        let version = applied.iter().copied().max().unwrap_or(0);
        if version > known {
            return Self::Newer { version, known };
        }
        if migrator.iter().any(|migration| !applied.contains(&migration.version)) {
            return Self::Pending { version, needed: known };
        }
        Self::Current { version }
    }

    /// Nothing, where the schema is what this program needs.
    fn require_current(self) -> Result<(), OpenError> {
        match self {
            Self::Current { .. } => Ok(()),
            Self::Pending { version, needed } => Err(OpenError::SchemaOld { version, needed }),
            Self::Newer { version, known } => Err(OpenError::SchemaNewer { version, known }),
        }
    }
}

/// Looks at the schema and changes nothing. An SQLite file that does not exist is an empty database.
pub(crate) async fn look(config: &DatabaseConfig) -> Result<Schema, OpenError> {
    match target(config)? {
        Target::Postgres { direct, place, .. } => {
            let fail = |source| OpenError::Connect { place: place.clone(), source };
            let mut connection = direct.connect().await.map_err(fail)?;
            let applied = postgres_versions(&mut connection).await.map_err(fail)?;
            connection.close().await.map_err(fail)?;
            Ok(Schema::of(&applied, &POSTGRES))
        }
        Target::Sqlite { options, path } => {
            if !path.exists() {
                return Ok(Schema::of(&[], &SQLITE));
            }
            let fail = |source| OpenError::Connect { place: path.display().to_string(), source };
            let mut connection = options.create_if_missing(false).connect().await.map_err(fail)?;
            let applied = sqlite_versions(&mut connection).await.map_err(fail)?;
            connection.close().await.map_err(fail)?;
            Ok(Schema::of(&applied, &SQLITE))
        }
    }
}

/// Brings the schema up to date, or refuses one that is not. Of several programs that do it at once one does the work and the
/// others wait for it. Tells the versions before and after.
pub(crate) async fn migrate(config: &DatabaseConfig) -> Result<(i64, i64), OpenError> {
    match target(config)? {
        Target::Postgres { direct, place, .. } => migrate_postgres(&direct, place).await,
        Target::Sqlite { options, path } => migrate_sqlite(&options, &path).await,
    }
}

/// What [`migrate`] does where the configuration lets a broker migrate; else refuses a schema that is not current.
pub(super) async fn prepare(config: &DatabaseConfig) -> Result<(), OpenError> {
    if config.migrate { migrate(config).await.map(drop) } else { look(config).await?.require_current() }
}

async fn migrate_postgres(direct: &PgConnectOptions, place: String) -> Result<(i64, i64), OpenError> {
    let fail = |source| OpenError::Connect { place: place.clone(), source };
    // A session of its own: it holds an advisory lock, which a pool would hand on, and its end lets go of the lock whatever
    // happened. Without a time limit: an index on a large table takes as long as it takes.
    let mut connection = direct.connect().await.map_err(fail)?;
    let before = postgres_versions(&mut connection).await.map_err(fail)?;
    let result = POSTGRES.run(&mut connection).await;
    let after = postgres_versions(&mut connection).await.map_err(fail)?;
    connection.close().await.map_err(fail)?;
    finish(result, &before, &after, &POSTGRES)
}

async fn migrate_sqlite(options: &SqliteConnectOptions, path: &Path) -> Result<(i64, i64), OpenError> {
    let fail = |source| OpenError::Connect { place: path.display().to_string(), source };
    let _alone = alone(path).await;
    // A second handle of a file that SQLite has open would take its locks away when it closes: this comes first.
    create(path);
    let mut connection = options.clone().connect().await.map_err(fail)?;
    let before = sqlite_versions(&mut connection).await.map_err(fail)?;
    let result = SQLITE.run(&mut connection).await;
    let after = sqlite_versions(&mut connection).await.map_err(fail)?;
    connection.close().await.map_err(fail)?;
    finish(result, &before, &after, &SQLITE)
}

fn finish(result: Result<(), MigrateError>, before: &[i64], after: &[i64], migrator: &Migrator) -> Result<(i64, i64), OpenError> {
    // Migrations of a newer program are foreign to this one, whatever the driver says of them.
    if let newer @ Schema::Newer { .. } = Schema::of(after, migrator) {
        newer.require_current()?;
    }
    result.map_err(OpenError::Migrate)?;
    let newest = |versions: &[i64]| versions.iter().copied().max().unwrap_or(0);
    Ok((newest(before), newest(after)))
}

/// SQLite has no lock that outlives a transaction: programs that migrate the same file wait for each other at its folder.
async fn alone(path: &Path) -> Option<std::fs::File> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
    let lock = move || {
        let folder = std::fs::File::open(folder)?;
        folder.lock()?;
        Ok::<_, std::io::Error>(folder)
    };
    // A file system without locks has one broker on it, and that one may start.
    tokio::task::spawn_blocking(lock).await.ok()?.ok()
}

async fn postgres_versions(connection: &mut PgConnection) -> Result<Vec<i64>, sqlx::Error> {
    let there = "SELECT to_regclass('_sqlx_migrations') IS NOT NULL";
    if !sqlx::query_scalar::<_, bool>(there).fetch_one(&mut *connection).await? {
        return Ok(Vec::new());
    }
    sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success ORDER BY version").fetch_all(connection).await
}

async fn sqlite_versions(connection: &mut SqliteConnection) -> Result<Vec<i64>, sqlx::Error> {
    let there = "SELECT count(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'";
    if sqlx::query_scalar::<_, i64>(there).fetch_one(&mut *connection).await? == 0 {
        return Ok(Vec::new());
    }
    sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success ORDER BY version").fetch_all(connection).await
}
