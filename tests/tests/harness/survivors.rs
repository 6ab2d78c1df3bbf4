//! Nothing survives: neither the end of a test run in whatever way, nor that of the supervisor.

use brokkr_tests::{control_plane::ControlPlane, lab::until, postgres::Postgres};
use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, BufRead, BufReader, Read, Write},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::Duration,
};

const LIMIT: Duration = Duration::from_secs(20);
const END: &str = "HARNESS_TEST_END";
const MARK: &str = "a test run with: ";

/// Not a test of its own: another test starts this executable with it, as a test run to be ended.
#[test]
#[ignore = "a test run that other tests start and end"]
fn a_run() {
    let Some(end) = env::var_os(END) else { return };
    let (postgres, control_plane) = (Postgres::shared().description(), ControlPlane::shared().description());
    let mut processes = control_plane.processes.clone();
    processes.insert("supervisor of the control plane".to_owned(), control_plane.supervisor);
    processes.insert("supervisor of PostgreSQL".to_owned(), postgres.supervisor);
    processes.insert("postgres".to_owned(), postgres.server.unwrap());
    let folders = [&control_plane.directory, &postgres.directory];
    let line = serde_json::to_string(&(processes, folders)).unwrap();
    writeln!(io::stdout(), "\n{MARK}{line}").unwrap();
    match end.to_str() {
        Some("panic") => panic!("as told"),
        Some("return") => {}
        _ => loop {
            thread::park();
        },
    }
}

struct Run {
    child: Child,
    // Held open: a test run that cannot print fails.
    _output: BufReader<ChildStdout>,
    processes: BTreeMap<String, u32>,
    folders: Vec<PathBuf>,
}

impl Run {
    fn start(end: &str) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--ignored", "--exact", "survivors::a_run", "--nocapture"])
            .env(END, end)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let line = output.by_ref().lines().map_while(Result::ok).find_map(|line| line.strip_prefix(MARK).map(str::to_owned));
        let (processes, folders) = serde_json::from_str(&line.expect("the run says what it started")).unwrap();
        Self { child, _output: output, processes, folders }
    }

    fn supervisor(&self) -> u32 {
        self.processes["supervisor of the control plane"]
    }

    async fn assert_nothing_survives(&self) {
        assert!(self.processes.len() >= 8, "{:?}", self.processes);
        until("all processes to be gone", LIMIT, || async {
            let left: Vec<_> = self.processes.iter().filter(|(_, pid)| runs(**pid)).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        })
        .await
        .unwrap();
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Whether a process is there and not merely waiting for somebody to read its exit status.
fn runs(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    !stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))
}

#[tokio::test]
async fn a_killed_test_run_leaves_no_process_and_no_folder() {
    let mut run = Run::start("wait");
    assert!(run.processes.values().all(|pid| runs(*pid)), "{:?}", run.processes);
    run.child.kill().unwrap();
    run.assert_nothing_survives().await;
    assert!(run.folders.iter().all(|folder| !folder.exists()), "{:?}", run.folders);
}

#[tokio::test]
async fn a_test_run_that_ends_leaves_no_process_and_no_folder() {
    for end in ["return", "panic"] {
        let mut run = Run::start(end);
        assert_eq!(run.child.wait().unwrap().success(), end == "return");
        run.assert_nothing_survives().await;
        assert!(run.folders.iter().all(|folder| !folder.exists()), "{:?}", run.folders);
    }
}

#[tokio::test]
async fn a_killed_supervisor_takes_its_programs_along() {
    let run = Run::start("wait");
    for pid in [run.supervisor(), run.processes["supervisor of PostgreSQL"]] {
        assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
    }
    run.assert_nothing_survives().await;
}
