use sqlx::{Executor, SqlStr};

use crate::{
    config::DatabaseConfig,
    store::{self, OpenError, Schema, sql::Engine},
    testing::{self, World},
};

/// Empty databases on both engines, and what must live as long as they.
fn empty() -> (tempfile::TempDir, [DatabaseConfig; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let postgres = brokkr_tests::postgres::Postgres::shared().create_database().unwrap();
    let of = |url: String| DatabaseConfig { url, ..DatabaseConfig::default() };
    let file = folder.path().join("migrated.db");
    (folder, [of(format!("sqlite:{}", file.display())), of(postgres)])
}

#[tokio::test]
async fn looking_changes_nothing_and_migrating_twice_is_migrating_once() {
    let (folder, configs) = empty();
    for config in configs {
        let Schema::Pending { version: 0, needed } = store::look(&config).await.unwrap() else { panic!("it is empty") };
        assert!(!folder.path().join("migrated.db").exists() || config.url.starts_with("postgres"), "nothing is made by looking");
        assert_eq!(store::migrate(&config).await.unwrap(), (0, needed));
        assert_eq!(store::migrate(&config).await.unwrap(), (needed, needed));
        assert_eq!(store::look(&config).await.unwrap(), Schema::Current { version: needed });
    }
}

#[tokio::test]
async fn of_many_that_migrate_at_once_one_does_it_and_all_succeed() {
    let (_folder, configs) = empty();
    for config in configs {
        let done = futures::future::join_all((0..6).map(|_| store::migrate(&config))).await;
        let after: Vec<_> = done.into_iter().map(|result| result.unwrap().1).collect();
        assert!(after.iter().all(|version| *version == after[0] && *version > 0), "{after:?}");
    }
}

#[tokio::test]
async fn a_broker_that_may_not_migrate_refuses_an_older_schema_and_serves_on_a_current_one() {
    let world = World::start(testing::Engine::Sqlite).await;
    let (_folder, configs) = empty();
    for config in configs {
        let config = DatabaseConfig { migrate: false, ..config };
        let open = || store::open(&config, world.capture.telemetry().broker_metrics(), &*world.clock, &*world.state.ids);
        let refused = open().await.err().unwrap();
        assert!(matches!(refused, OpenError::SchemaOld { version: 0, .. }), "{refused}");
        assert!(refused.to_string().contains("brokkr-broker migrate"));
        store::migrate(&config).await.unwrap();
        assert!(open().await.is_ok());
    }
}

#[tokio::test]
async fn a_schema_of_a_newer_program_is_refused_by_everyone() {
    testing::Engine::each(async |world: World| {
        let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9001, 'later', true, '', 0)";
        match &world.state.db.engine {
            Engine::Postgres(pool) => drop(pool.execute(SqlStr::from_static(newer)).await.unwrap()),
            Engine::Sqlite { write, .. } => drop(write.execute(SqlStr::from_static(newer)).await.unwrap()),
        }
        let config = DatabaseConfig { url: world.url().to_owned(), ..DatabaseConfig::default() };
        assert!(matches!(store::look(&config).await.unwrap(), Schema::Newer { version: 9001, .. }));
        for migrate in [true, false] {
            let config = DatabaseConfig { migrate, ..config.clone() };
            let metrics = world.capture.telemetry().broker_metrics();
            let refused = store::open(&config, metrics, &*world.clock, &*world.state.ids).await.err().unwrap();
            assert!(matches!(refused, OpenError::SchemaNewer { version: 9001, .. }), "{refused}");
        }
        assert!(matches!(store::migrate(&config).await.unwrap_err(), OpenError::SchemaNewer { .. }));
    })
    .await;
}

#[tokio::test]
async fn hints_are_listened_to_on_a_session_of_their_own() {
    let world = World::start(testing::Engine::Postgres).await;
    let listen_url =
        Some(format!("{}{}application_name=unpooled", world.url(), if world.url().contains('?') { '&' } else { '?' }));
    let config = DatabaseConfig { url: world.url().to_owned(), listen_url, ..DatabaseConfig::default() };
    let metrics = world.capture.telemetry().broker_metrics();
    let (db, _) = store::open(&config, metrics, &*world.clock, &*world.state.ids).await.unwrap();
    let mut listener = db.listen().await.unwrap().unwrap();
    world.stack("shop", serde_json::json!({})).await.expect(201);
    world.agent("edge", serde_json::json!({})).await;
    listener.next().await.unwrap();
    let broken = DatabaseConfig { listen_url: Some("postgres://127.0.0.1:1/none".to_owned()), ..config };
    let refused = store::migrate(&broken).await.err().unwrap();
    assert!(matches!(refused, OpenError::Connect { .. }), "migrations go to it too: {refused}");
}
