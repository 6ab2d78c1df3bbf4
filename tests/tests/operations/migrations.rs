use brokkr_tests::{
    fleet::{Broker, LIMIT},
    lab::Scratch,
    postgres::Postgres,
    process::{Daemon, Process},
};

fn migrate(database: &str, args: &[&str]) -> Process {
    Daemon::new("brokkr-broker").unwrap().args(["migrate"]).args(args).env("BROKKR__DATABASE__URL", database).start().unwrap()
}

async fn code(mut process: Process) -> (Option<i32>, String) {
    let code = process.wait(LIMIT).await.unwrap().code();
    (code, process.output().lines().join("\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_migrates_first_and_its_brokers_start_then() {
    let scratch = Scratch::new("migrate").unwrap();
    let databases = [format!("sqlite:{}", scratch.path().join("b.db").display()), Postgres::shared().create_database().unwrap()];
    for database in databases {
        let (pending, said) = code(migrate(&database, &["--check"])).await;
        assert_eq!(pending, Some(1), "{said}");
        assert!(said.contains("brokkr-broker migrate"), "{said}");
        let refused = Daemon::new("brokkr-broker").unwrap().args(["serve"]).env("BROKKR__DATABASE__MIGRATE", "false");
        let refused = refused.env("BROKKR__DATABASE__URL", &database).env("BROKKR__SERVER__LISTEN", "127.0.0.1:0");
        let (failed, said) = code(refused.start().unwrap()).await;
        assert_eq!(failed, Some(1), "{said}");
        assert!(said.contains("run `brokkr-broker migrate`"), "{said}");

        let at_once: Vec<_> = (0..3).map(|_| migrate(&database, &[])).collect();
        for one in at_once {
            let (done, said) = code(one).await;
            assert_eq!(done, Some(0), "{said}");
            assert!(said.contains("the schema is up to date"), "{said}");
        }
        assert_eq!(code(migrate(&database, &["--check"])).await.0, Some(0));
        Broker::at(&database, &[("BROKKR__DATABASE__MIGRATE", "false")]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_newer_or_away_is_named() {
    let database = Postgres::shared().create_database().unwrap();
    assert_eq!(code(migrate(&database, &[])).await.0, Some(0));
    let newer =
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9001, 'x', true, '', 0)";
    Postgres::shared().query(&database, newer).unwrap();
    for args in [&["--check"][..], &[]] {
        let (refused, said) = code(migrate(&database, args)).await;
        assert_eq!(refused, Some(69), "{said}");
        assert!(said.contains("version 9001"), "{said}");
    }
    let (away, said) = code(migrate("postgres://brokkr:hunter2@127.0.0.1:1/none", &["--check"])).await;
    assert_eq!(away, Some(69), "{said}");
    assert!(said.contains("none on 127.0.0.1") && !said.contains("hunter2"), "{said}");
}
