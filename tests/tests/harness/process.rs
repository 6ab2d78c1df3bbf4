use brokkr_tests::{
    lab::LabError,
    process::{Daemon, Process},
};
use std::{path::PathBuf, time::Duration};

const LIMIT: Duration = Duration::from_secs(20);

fn shell(script: &str) -> Process {
    Daemon::at("shell", PathBuf::from("/bin/sh")).args(["-c", script]).env("GREETING", "hello").start().unwrap()
}

#[tokio::test]
async fn lines_of_both_streams_are_seen_and_sigterm_ends_it() {
    let mut process =
        shell(r#"trap 'exit 3' TERM; echo "$GREETING out"; echo "$GREETING err" >&2; while :; do sleep 0.01; done"#);
    process.wait_for_line("greeting", LIMIT, |line| line == "hello out").await.unwrap();
    process.wait_for_line("greeting", LIMIT, |line| line == "hello err").await.unwrap();
    assert_eq!(process.terminate(LIMIT).await.unwrap().code(), Some(3));
}

#[tokio::test]
async fn a_process_that_ends_early_is_reported_with_its_last_words() {
    let mut process = shell("echo no configuration >&2; exit 4");
    let error = process.wait_for_line("readiness", LIMIT, |line| line == "ready").await.unwrap_err();
    assert!(matches!(error, LabError::Ended { .. }), "{error}");
    assert!(error.to_string().contains("exit status: 4") && error.to_string().contains("no configuration"), "{error}");
}

#[tokio::test]
async fn a_restart_keeps_folder_settings_and_output() {
    let mut process = shell("echo again >> marks; wc -l < marks");
    process.wait(LIMIT).await.unwrap();
    process.start().unwrap();
    process.wait(LIMIT).await.unwrap();
    process.output().line(|line| line == "2").await;
    assert_eq!(process.output().lines(), ["1", "2"]);
}
