use std::collections::BTreeMap;

use brokkr_telemetry::metrics::DbOperation;
use sqlx::{Executor, Row, SqlStr};

use crate::{
    config::DatabaseConfig,
    store::{
        self,
        sql::{Engine, Statement},
    },
    testing::{self, World},
};

/// Every statement of every file: a new file is named here, or its statements are prepared by nobody.
fn every_statement() -> Vec<&'static Statement> {
    let files = [
        store::agent_deliveries::all_statements(),
        store::agents::all_statements(),
        store::audit::all_statements(),
        store::changes::all_statements(),
        store::deletion::all_statements(),
        store::deliveries::all_statements(),
        store::deployment_objects::all_statements(),
        store::deployments::all_statements(),
        store::enrolment::all_statements(),
        store::events::all_statements(),
        store::fan_out::all_statements(),
        store::keys::all_statements(),
        store::open::all_statements(),
        store::outcomes::all_statements(),
        store::presence::all_statements(),
        store::replays::all_statements(),
        store::restore::all_statements(),
        store::rollouts::all_statements(),
        store::stacks::all_statements(),
        store::suspensions::all_statements(),
        store::totals::all_statements(),
        store::tracing::all_statements(),
        store::webhooks::all_statements(),
        store::work_claims::all_statements(),
        store::work_orders::all_statements(),
    ];
    files.concat()
}

#[tokio::test]
async fn every_statement_is_valid_on_both_engines() {
    testing::Engine::each(async |world: World| {
        for statement in every_statement() {
            let prepared = match &world.state.db.engine {
                Engine::Postgres(pool) => pool.prepare(SqlStr::from_static(statement.rendered().postgres)).await.map(drop),
                Engine::Sqlite { write, .. } => write.prepare(SqlStr::from_static(statement.rendered().sqlite)).await.map(drop),
            };
            assert!(prepared.is_ok(), "{}: {prepared:?}", statement.name);
        }
    })
    .await;
}

/// SQLite joins by loops. A set that is read anew for every row of a table takes time that grows with both, and the writer waits meanwhile:
/// ten thousand agents that come back at once have taken minutes like that.
#[tokio::test]
async fn a_set_is_read_once_and_not_once_for_every_row() {
    let world = World::start(testing::Engine::Sqlite).await;
    let Engine::Sqlite { write, .. } = &world.state.db.engine else { panic!("another engine") };
    let mut seen = 0;
    for statement in every_statement().into_iter().filter(|statement| statement.rendered().sqlite.contains("json_each(")) {
        for part in statement.rendered().sqlite.split(';') {
            let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {part}"));
            let rows = sqlx::query(explain).fetch_all(write).await.unwrap();
            // (id, parent, _, what): those of one parent are loops within each other, in this order.
            let plan: Vec<(i64, i64, String)> = rows.iter().map(|row| (row.get(0), row.get(1), row.get(3))).collect();
            for (at, (_, parent, what)) in plan.iter().enumerate() {
                if !what.contains("VIRTUAL TABLE") {
                    continue;
                }
                seen += 1;
                let is_loop = |what: &str| what.starts_with("SCAN") || what.starts_with("SEARCH");
                let outer = plan[..at].iter().find(|(_, of, what)| of == parent && is_loop(what));
                let again = plan.iter().find(|(id, _, what)| id == parent && what.contains("CORRELATED"));
                assert!(outer.is_none() && again.is_none(), "{}: {plan:#?}", statement.name);
            }
        }
    }
    assert!(seen > 10, "{seen} sets");
}

/// What a statement does: writes where any part of it writes, and reads otherwise.
fn verb(text: &str) -> DbOperation {
    let writes = |word: &str| {
        text.starts_with(word)
            || (text.starts_with("WITH ") && [format!("AS ({word}"), format!(") {word}")].iter().any(|of| text.contains(of)))
    };
    match () {
        () if writes("INSERT INTO ") => DbOperation::Insert,
        () if writes("UPDATE ") => DbOperation::Update,
        () if writes("DELETE FROM ") => DbOperation::Delete,
        () => DbOperation::Select,
    }
}

#[test]
fn every_statement_counts_as_what_it_does_and_one_with_a_common_table_as_its_writing_verb() {
    assert_eq!(verb("WITH gone AS (DELETE FROM a RETURNING b) SELECT b FROM gone"), DbOperation::Delete);
    assert_eq!(verb("WITH some AS (SELECT b FROM a) SELECT b FROM some"), DbOperation::Select);
    assert_eq!(verb("WITH some AS (SELECT b FROM a) UPDATE a SET c = 1 FROM some"), DbOperation::Update);
    for statement in every_statement() {
        let text = statement.rendered().postgres.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(statement.operation, verb(&text), "{}: {text}", statement.name);
    }
}

#[test]
fn every_file_with_statements_is_in_the_list() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store");
    let mut declared = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = if path.is_file() { std::fs::read_to_string(path).unwrap() } else { String::new() };
        declared += usize::from(text.contains("\nstatements! {"));
    }
    assert_eq!(declared, 25, "add the new file to every_statement()");
}

static COLUMNS_OF_SQLITE: Statement = Statement::new(
    "COLUMNS",
    DbOperation::Select,
    "schema",
    "SELECT t.name || '.' || c.name AS place, c.type AS kind, c.\"notnull\" = 1 OR c.pk > 0 AS required
     FROM sqlite_schema t JOIN pragma_table_info(t.name) c WHERE t.type = 'table' AND t.name NOT LIKE '\\_sqlx%' ESCAPE '\\'",
);
static COLUMNS_OF_POSTGRES: Statement = Statement::new(
    "COLUMNS",
    DbOperation::Select,
    "schema",
    "SELECT table_name || '.' || column_name AS place, CAST(data_type AS text) AS kind,
            CAST(CASE is_nullable WHEN 'NO' THEN 1 ELSE 0 END AS bigint) AS required
     FROM information_schema.columns WHERE table_schema = 'public' AND table_name NOT LIKE '\\_sqlx%'",
);

pub(super) async fn columns(world: &World) -> BTreeMap<String, (String, bool)> {
    let statement = match &world.state.db.engine {
        Engine::Postgres(_) => &COLUMNS_OF_POSTGRES,
        Engine::Sqlite { .. } => &COLUMNS_OF_SQLITE,
    };
    let rows = world.state.db.all(statement, vec![]).await.unwrap();
    let column = |row: &store::sql::Row| {
        let kind = match &*row.text("kind").unwrap() {
            "INTEGER" | "bigint" => "number",
            "TEXT" | "text" => "text",
            "BLOB" | "bytea" => "bytes",
            other => panic!("a column of kind {other}"),
        };
        (row.text("place").unwrap(), (kind.to_owned(), row.int("required").unwrap() == 1))
    };
    rows.iter().map(column).collect()
}

#[tokio::test]
async fn both_engines_have_the_same_columns() {
    let sqlite = columns(&World::start(testing::Engine::Sqlite).await).await;
    let postgres = columns(&World::start(testing::Engine::Postgres).await).await;
    assert!(sqlite.contains_key("deployments.tracestate"), "{sqlite:?}");
    assert_eq!(sqlite, postgres);
}

#[tokio::test]
async fn a_database_that_is_opened_again_is_the_same_installation() {
    let folder = tempfile::tempdir().unwrap();
    let postgres = brokkr_tests::postgres::Postgres::shared().create_database().unwrap();
    let world = World::start(testing::Engine::Sqlite).await;
    for url in [format!("sqlite:{}", folder.path().join("again.db").display()), postgres] {
        let config = DatabaseConfig { url, ..DatabaseConfig::default() };
        let metrics = world.capture.telemetry().broker_metrics();
        let (_, first) = store::open(&config, metrics.clone(), &*world.clock, &*world.state.ids).await.unwrap();
        let (_, again) = store::open(&config, metrics, &*world.clock, &*world.state.ids).await.unwrap();
        assert_eq!(first, again);
    }
}
