use brokkr_tests::postgres::Postgres;

#[test]
fn every_test_gets_a_database_of_its_own() {
    let postgres = Postgres::shared();
    let (mine, yours) = (postgres.create_database().unwrap(), postgres.create_database().unwrap());
    postgres.query(&mine, "create table things (id bigint)").unwrap();
    assert_eq!(postgres.query(&mine, "select count(*) from things").unwrap(), "0");
    let refusal = postgres.query(&yours, "select count(*) from things").unwrap_err();
    assert!(refusal.to_string().contains(r#"relation "things" does not exist"#), "{refusal}");
}

#[test]
fn the_server_can_be_taken_away_and_comes_back_with_its_data() {
    let postgres = Postgres::start().unwrap();
    let url = postgres.create_database().unwrap();
    postgres.query(&url, "create table things as select 7 as id").unwrap();

    postgres.stop_server().unwrap();
    assert!(postgres.query(&url, "select 1").is_err());

    postgres.start_server().unwrap();
    assert_eq!(postgres.query(&url, "select id from things").unwrap(), "7");
}

#[test]
fn a_wrong_password_is_refused() {
    let postgres = Postgres::shared();
    let url = postgres.create_database().unwrap().replace(&postgres.description().password, "wrong");
    let refusal = postgres.query(&url, "select 1").unwrap_err();
    assert!(refusal.to_string().contains("password authentication failed"), "{refusal}");
}
