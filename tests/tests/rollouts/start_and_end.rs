use std::{fs, os::unix::fs::PermissionsExt, process::Command, time::Duration};

use brokkr_tests::{
    cluster::Cluster,
    fleet::{Broker, Engine, LIMIT, config_map},
    lab::{Scratch, free_port},
    otlp::Receiver,
    process::Daemon,
};
use rustix::process::Signal;

#[tokio::test(flavor = "multi_thread")]
async fn without_configuration_it_serves_from_a_file_in_the_working_folder_and_shows_one_key_once() {
    let port = free_port().unwrap();
    let mut broker = Daemon::new("brokkr-broker")
        .unwrap()
        .args(["serve"])
        .env("BROKKR__SERVER__LISTEN", format!("127.0.0.1:{port}"))
        .start()
        .unwrap();
    broker.wait_until_ok(&format!("http://127.0.0.1:{port}/readyz"), LIMIT).await.unwrap();
    let file = broker.directory().join("brokkr.db");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "it holds Secrets");
    broker.restart(LIMIT).await.unwrap();
    broker.wait_until_ok(&format!("http://127.0.0.1:{port}/readyz"), LIMIT).await.unwrap();
    let keys = broker.output().lines().iter().filter(|line| line.contains("brokkr_admin_")).count();
    assert_eq!(keys, 1, "at the first start, and not at the second");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_key_goes_into_a_file_that_nobody_else_can_read_when_asked() {
    for engine in Engine::ALL {
        let broker = Broker::start(engine, &[]).await.unwrap();
        assert!(broker.key().starts_with("brokkr_admin_"));
        let line = broker.process.output().line(|line| line.contains("the first admin key is in ")).await;
        let path = line.rsplit(' ').next().unwrap();
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(
            !broker.process.output().lines().iter().any(|line| line.contains("brokkr_admin_")),
            "{engine:?}: it is not printed too"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_answers_the_parked_poll_ends_with_0_and_loses_no_span() {
    for engine in Engine::ALL {
        let endpoint = Receiver::shared().grpc_endpoint();
        // Spans would wait for a minute: only the flush at the end sends them in time.
        let telemetry = [
            ("BROKKR__TELEMETRY__ENABLED", "true"),
            ("BROKKR__TELEMETRY__ENDPOINT", endpoint.as_str()),
            ("BROKKR__TELEMETRY__BATCH__DELAY", "60s"),
        ];
        let cluster = Cluster::shared().await.unwrap();
        let mut broker = Broker::start(engine, &telemetry).await.unwrap();
        let mut agent = broker.agent(&cluster.unique("parked"), &[("BROKKR__BROKER__WAIT_SECONDS", "60")]).await.unwrap();
        let trace_id =
            format!("{:032x}", 0xabc0_0000_0000_0000_0000_0000_0000_0000_u128 + u128::from(broker.process.pid().unwrap()));
        let client = broker.traced(&format!("00-{trace_id}-00f067aa0ba902b7-01"));
        client.list_stacks(&brokkr_api::stacks::StacksQuery::default()).await.unwrap();

        let status = broker.process.terminate(Duration::from_secs(10)).await.unwrap();

        assert!(status.success(), "{engine:?}: {status}: a poll that waits for a minute does not hold it up");
        Receiver::shared().wait_for_trace(&trace_id, &["GET /api/v1/stacks"], LIMIT).await.unwrap();
        assert!(agent.process.terminate(LIMIT).await.unwrap().success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_configuration_is_named_with_its_path() {
    for (program, command, key, value, path) in [
        ("brokkr-broker", "serve", "BROKKR__SERVER__LISTEN", "somewhere", "server.listen"),
        ("brokkr-broker", "serve", "BROKKR__SERVER__PROT", "1", "prot"),
        ("brokkr-agent", "run", "BROKKR__KUBERNETES__CONCURRENCY", "many", "kubernetes.concurrency"),
        ("brokkr-agent", "run", "BROKKR__TELEMETRY__SAMPLING_RATE", "often", "telemetry.sampling_rate"),
    ] {
        let mut process = Daemon::new(program).unwrap().args([command]).env(key, value).start().unwrap();
        assert_eq!(process.wait(LIMIT).await.unwrap().code(), Some(64), "{program} {key}");
        let line = process.output().line(|line| line.starts_with("error: configuration")).await;
        assert!(line.contains(path), "{line}");
    }
}

/// Processes whose environment says that this port is theirs.
fn left_over(port: u16) -> bool {
    let listening =
        Command::new("/bin/sh").arg("-c").arg(format!("grep -i ':{port:04X} ' /proc/net/tcp | grep -q ' 0A '")).status().unwrap();
    listening.success()
}

#[tokio::test(flavor = "multi_thread")]
async fn brokkr_dev_runs_both_and_ends_both() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.create_namespace("dev").await.unwrap();
    let folder = Scratch::new("dev").unwrap();
    let (broker_port, agent_port) = (free_port().unwrap(), free_port().unwrap());
    let listen = [format!("127.0.0.1:{broker_port}"), format!("127.0.0.1:{agent_port}")];
    let name = cluster.unique("dev");
    let args = ["dev", "--listen", &listen[0], "--agent-listen", &listen[1], "--agent", &name];
    let daemon = Daemon::new("brokkr").unwrap().args(args).env("KUBECONFIG", cluster.kubeconfig()).directory(folder.path());
    let mut dev = daemon.start().unwrap();
    dev.wait_for_line("the connection", LIMIT, |line| line.contains("the agent is connected")).await.unwrap();

    folder.write("cm.yaml", config_map(&namespace, "a", "1")).unwrap();
    let cli = |args: &[&str]| Daemon::new("brokkr").unwrap().args(args).directory(folder.path()).start().unwrap();
    let mut apply = cli(&["apply", "-f", "cm.yaml", "--stack", "shop", "--wait"]);
    assert_eq!(apply.wait(LIMIT).await.unwrap().code(), Some(0));
    let mut status = cli(&["rollout", "status", "shop", "-o", "json"]);
    assert_eq!(status.wait(LIMIT).await.unwrap().code(), Some(0));
    let mut wrong = cli(&["rollout", "status", "nothing"]);
    assert_eq!(wrong.wait(LIMIT).await.unwrap().code(), Some(1));

    dev.signal(Signal::INT);
    assert_eq!(dev.wait(LIMIT).await.unwrap().code(), Some(0));
    let lines = dev.output().lines();
    let ended =
        |who: &str| lines.iter().position(|line| line.contains(who) && line.contains("ended")).unwrap_or_else(|| panic!("{who}"));
    assert!(ended("agent") < ended("broker"), "the agent's last report still finds the broker");
    assert!(!left_over(broker_port) && !left_over(agent_port), "nothing is left running");
}
