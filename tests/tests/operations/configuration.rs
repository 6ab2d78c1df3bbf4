use brokkr_tests::{
    fleet::{Broker, Engine, LIMIT},
    lab::Scratch,
    process::{Daemon, Process},
};

async fn ended(mut process: Process) -> (Option<i32>, Vec<String>) {
    let code = process.wait(LIMIT).await.unwrap().code();
    (code, process.output().lines())
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_wrong_is_told_before_anything_is_touched() {
    let folder = Scratch::new("config").unwrap();
    let file = "[server]\nlisten = \"somewhere\"\nprot = 1\ndrain_seconds = 0\n[server.tls]\ncertificate_file = \"x.pem\"\n\
                [database]\nmax_connections = 0\nurl = \"mysql://root:hunter2@db/x\"\n[sevrer]\nlisten = 1\n";
    let config = folder.write("broker.toml", file).unwrap();
    for command in [&["serve"][..], &["config", "check"], &["migrate"], &["restore-epoch"]] {
        let args = ["--config", config.to_str().unwrap()].into_iter().chain(command.iter().copied());
        let process = Daemon::new("brokkr-broker").unwrap().args(args).env("BROKKR__DATABSE__URL", "x");
        let work = Scratch::new("work").unwrap();
        let process = process.env("BROKKR__AGENTS__ACTIVE_SECONDS", "soon").directory(work.path()).start().unwrap();
        let (code, lines) = ended(process).await;
        assert_eq!(code, Some(64), "{command:?}: {lines:?}");
        for path in [
            "server.listen",
            "server.prot",
            "server.drain_seconds",
            "server.tls.key_file",
            "database.max_connections",
            "database.url",
            "sevrer",
            "databse",
            "agents.active_seconds",
        ] {
            let start = format!("error: configuration: {path}: ");
            assert_eq!(lines.iter().filter(|line| line.starts_with(&start)).count(), 1, "{command:?} {path}: {lines:#?}");
        }
        assert_eq!(lines.len(), 9, "{lines:#?}");
        assert!(lines.iter().any(|line| line.ends_with("(from BROKKR__AGENTS__ACTIVE_SECONDS)")), "{lines:#?}");
        assert!(!lines.join("\n").contains("hunter2"), "a password is not shown");
        assert!(!work.path().join("brokkr.db").exists(), "nothing was made");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_checked_without_a_start() {
    let folder = Scratch::new("config").unwrap();
    let config = folder.write("agent.toml", "[broker]\nkey = \"a\"\nkey_file = \"b\"\nwait_seconds = 90\n").unwrap();
    let check = |program: &str| Daemon::new(program).unwrap().args(["config", "check"]);
    let (code, lines) = ended(check("brokkr-agent").args(["--config", config.to_str().unwrap()]).start().unwrap()).await;
    assert_eq!((code, lines.len()), (Some(64), 2), "{lines:#?}");
    assert!(lines[0].contains("broker.key_file") && lines[1].contains("broker.wait_seconds"), "{lines:#?}");
    for program in ["brokkr-agent", "brokkr-broker"] {
        let (code, lines) = ended(check(program).start().unwrap()).await;
        assert_eq!(code, Some(0), "{lines:?}");
        assert!(lines[0].contains("valid"), "{lines:?}");
    }
    let tls = |key: &str| format!("BROKKR__SERVER__TLS__{key}");
    let missing = check("brokkr-broker").env(tls("CERTIFICATE_FILE"), "/no/tls.crt").env(tls("KEY_FILE"), "/no/tls.key");
    let (code, lines) = ended(missing.start().unwrap()).await;
    assert_eq!(code, Some(64));
    assert!(lines[0].contains("server.tls.certificate_file") && lines[0].contains("/no/tls.crt"), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_variables_that_have_no_effect_are_named_when_a_daemon_starts() {
    let set =
        [("OTEL_PROPAGATORS", "b3"), ("OTEL_BSP_EXPORT_TIMEOUT", "5"), ("OTEL_SPAN_LINK_COUNT_LIMIT", "1"), ("OTEL_NEW", "1")];
    let broker = Broker::start(Engine::Sqlite, &set).await.unwrap();
    let agent = broker.agent("told", &set).await.unwrap();
    for output in [broker.process.output(), agent.process.output()] {
        let lines = output.lines();
        for (name, _) in set {
            let is_told = |line: &&String| line.contains("WARN") && line.contains(&format!("{name} is set and has no effect: "));
            assert_eq!(lines.iter().filter(is_told).count(), 1, "{name}: {lines:#?}");
        }
    }
}
