//! `docker-compose.yml`, as the real Compose reads it; what of it has its program here is run as it stands there.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use brokkr_tests::{
    cluster::Cluster,
    fleet::LIMIT,
    http,
    lab::{self, Scratch, free_port, on_path, until},
    otlp::{Receiver, Where},
    postgres::Postgres,
    process::{Daemon, Process},
    prometheus,
};
use serde_json::Value;

use crate::text::replace;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The file with all that Compose adds and resolves.
struct Compose {
    services: Value,
    /// A folder for each volume, one for scripts, and an empty one as somebody's home.
    root: Scratch,
    /// Names and ports of the services, and what they are here.
    addresses: Vec<(String, String)>,
}

impl Compose {
    async fn read() -> Self {
        let program = lab::compose().await.unwrap();
        let root = Scratch::new("compose").unwrap();
        let mut command = Command::new(program);
        command.args(["config", "--format", "json"]).current_dir(repository()).env_clear().env("HOME", root.path());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.is_empty(), "warnings: {said}");
        let mut read: Value = serde_json::from_slice(&output.stdout).unwrap();
        Self { services: read["services"].take(), root, addresses: Vec::new() }
    }

    fn names(&self) -> Vec<&str> {
        self.services.as_object().unwrap().keys().map(String::as_str).collect()
    }

    fn list<'a>(&'a self, service: &str, key: &str) -> impl Iterator<Item = &'a Value> {
        self.services[service][key].as_array().into_iter().flatten()
    }

    /// A port of the service is another one here.
    fn address(&mut self, service: &str, port: u16) -> u16 {
        let local = free_port().unwrap();
        self.addresses.push((format!("{service}:{port}"), format!("127.0.0.1:{local}")));
        local
    }

    /// Where a volume is.
    fn volume(&self, name: &str) -> PathBuf {
        let folder = self.root.path().join(name);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// A text of the service, with the folders and addresses of this machine in it.
    fn here(&self, service: &str, text: &str) -> String {
        let mut pairs = self.addresses.clone();
        for mount in self.list(service, "volumes") {
            let (source, target) = (mount["source"].as_str().unwrap(), mount["target"].as_str().unwrap());
            let place = if mount["type"] == "bind" { PathBuf::from(source) } else { self.volume(source) };
            pairs.push((target.to_owned(), place.display().to_string()));
        }
        replace(text, &pairs)
    }

    fn arguments(&self, service: &str, key: &str) -> Vec<String> {
        self.list(service, key).map(|word| self.here(service, word.as_str().unwrap())).collect()
    }

    /// One of our programs with the arguments and the environment of the service.
    fn daemon(&self, service: &str, program: &str, arguments: &[&str]) -> Daemon {
        let mut daemon = Daemon::new(program).unwrap().args(arguments).args(self.arguments(service, "command"));
        for (name, value) in self.services[service]["environment"].as_object().into_iter().flatten() {
            daemon = daemon.env(name, self.here(service, value.as_str().unwrap()));
        }
        daemon
    }

    /// A script of the service. Who owns what it makes is the container's business.
    fn script(&self, service: &str) {
        let [shell, script] = &self.arguments(service, "entrypoint")[..] else { panic!("a shell and a script") };
        let text = self.here(service, &fs::read_to_string(script).unwrap());
        let folder = self.volume("scripts");
        let (script, stub) = (folder.join("script.sh"), folder.join("chown"));
        fs::write(&script, text).unwrap();
        fs::write(&stub, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&stub, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
        let output = Command::new(shell).arg(script).env("PATH", path).output().unwrap();
        assert!(output.status.success(), "{service}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// A file that the service mounts, as it is to be here.
    fn file(&self, service: &str, target: &str, more: &[(&str, String)]) -> PathBuf {
        let mount = self.list(service, "volumes").find(|mount| mount["target"] == target).unwrap();
        let text = self.here(service, &fs::read_to_string(mount["source"].as_str().unwrap()).unwrap());
        let more: Vec<_> = more.iter().map(|(from, to)| ((*from).to_owned(), to.clone())).collect();
        let place = self.volume("files").join(format!("{service}.yaml"));
        fs::write(&place, replace(&text, &more)).unwrap();
        place
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn compose_accepts_the_file_and_everything_that_it_names_is_there() {
    let compose = Compose::read().await;
    for service in compose.names() {
        for mount in compose.list(service, "volumes").filter(|mount| mount["type"] == "bind") {
            let source = Path::new(mount["source"].as_str().unwrap());
            assert!(source.exists(), "{service} mounts {}", source.display());
        }
        let image = compose.services[service]["image"].as_str().unwrap();
        let (_, tag) = image.rsplit_once(':').unwrap_or_else(|| panic!("{service}: {image} is not pinned"));
        assert!(tag != "latest" && tag.contains(|character: char| character.is_ascii_digit()), "{service}: {image}");
        for name in compose.services[service]["depends_on"].as_object().into_iter().flatten().map(|(name, _)| name.as_str()) {
            assert!(compose.names().contains(&name), "{service} waits for {name}");
        }
    }
    prometheus::check_config(&repository().join("deploy/compose/prometheus.yml")).unwrap();
    let needed = ["agent", "broker", "collector", "grafana", "k3s", "postgres", "prometheus", "rollout", "tempo"];
    assert!(needed.iter().all(|name| compose.names().contains(name)), "{:?}", compose.names());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_services_of_compose_deliver_the_examples_and_are_seen() {
    let cluster = Cluster::shared().await.unwrap();
    let mut compose = Compose::read().await;
    let database = Postgres::shared().create_database().unwrap();
    compose.addresses.push(("postgres://brokkr:brokkr@postgres/brokkr".to_owned(), database));
    let tempo = Receiver::start(Where::default()).unwrap();
    compose.addresses.push(("tempo:4317".to_owned(), tempo.grpc_address().to_string()));
    let (broker_port, agent_port) = (compose.address("broker", 3000), compose.address("agent", 8080));
    let collector = collector(&mut compose).await;

    compose.script("keys");
    let broker = compose.daemon("broker", "brokkr-broker", &["serve"]);
    let mut broker = broker.env("BROKKR__SERVER__LISTEN", format!("127.0.0.1:{broker_port}")).start().unwrap();
    broker.wait_until_ok(&format!("http://127.0.0.1:{broker_port}/readyz"), LIMIT).await.unwrap();
    // What k3s would write there.
    fs::copy(cluster.kubeconfig(), compose.volume("kubeconfig").join("k3s.yaml")).unwrap();
    compose.script("enrolment");
    let agent = compose.daemon("agent", "brokkr-agent", &["run"]);
    let agent = agent.env("BROKKR__KUBERNETES__NAMESPACE", cluster.unique("compose"));
    let mut agent = agent.env("BROKKR__SERVER__LISTEN", format!("127.0.0.1:{agent_port}")).start().unwrap();
    agent.wait_for_line("the connection", LIMIT, |line| line.contains("the agent is connected")).await.unwrap();

    let mut rollout = compose.daemon("rollout", "brokkr", &[]).start().unwrap();
    let ended = rollout.wait(LIMIT).await.unwrap();
    let said = rollout.output().lines();
    assert!(ended.success(), "{said:#?}");
    let id = said.iter().find_map(|line| line.strip_prefix("trace ")).unwrap();
    tempo.wait_for_trace(id, &["send deployment", "process deployment"], LIMIT).await.unwrap();
    is_scraped(&compose).await;
    // A restart finds what the first start has made.
    compose.script("keys");
    compose.script("enrolment");
    assert!(agent.terminate(LIMIT).await.unwrap().success());
    assert!(broker.terminate(LIMIT).await.unwrap().success());
    drop(collector);
}

async fn collector(compose: &mut Compose) -> Process {
    let [grpc, http, spans, own] = [4317, 4318, 8889, 8888].map(|port| compose.address("collector", port));
    let health = free_port().unwrap();
    let local = |port: u16| format!("127.0.0.1:{port}");
    let more = [
        ("0.0.0.0:4317", local(grpc)),
        ("0.0.0.0:4318", local(http)),
        ("0.0.0.0:8889", local(spans)),
        ("0.0.0.0:13133", local(health)),
        ("host: 0.0.0.0", "host: 127.0.0.1".to_owned()),
        ("port: 8888", format!("port: {own}")),
    ];
    let file = compose.file("collector", "/etc/otelcol/config.yaml", &more);
    let collector = Daemon::at("collector", lab::collector().await.unwrap()).args([format!("--config={}", file.display())]);
    let mut process = collector.start().unwrap();
    process.wait_until_ok(&format!("http://127.0.0.1:{health}"), LIMIT).await.unwrap();
    process
}

/// The Prometheus of the file finds both daemons and the collector, and takes the rules.
async fn is_scraped(compose: &Compose) {
    let port = free_port().unwrap();
    let more = [("scrape_interval: 15s", "scrape_interval: 1s".to_owned())];
    let file = compose.file("prometheus", "/etc/prometheus/prometheus.yml", &more);
    let arguments = compose.arguments("prometheus", "command").into_iter();
    let arguments = arguments.map(|argument| match argument.strip_prefix("--config.file=") {
        Some(_) => format!("--config.file={}", file.display()),
        None => argument,
    });
    let prometheus = Daemon::at("prometheus", on_path("prometheus").unwrap()).args(arguments);
    let mut prometheus = prometheus.args([format!("--web.listen-address=127.0.0.1:{port}")]).start().unwrap();
    let base = format!("http://127.0.0.1:{port}");
    prometheus.wait_until_ok(&format!("{base}/-/ready"), LIMIT).await.unwrap();
    let client = http::client().unwrap();
    let ask = async |path: &str| -> Result<Value, String> {
        let answer = client.get(format!("{base}/api/v1/{path}")).send().await.map_err(|error| error.to_string())?;
        answer.json().await.map_err(|error| error.to_string())
    };
    let look = || async {
        let up = ask("query?query=up%7Bjob%21%3D%22tempo%22%7D").await?;
        let samples = up["data"]["result"].as_array().cloned().unwrap_or_default();
        let well = samples.iter().filter(|sample| sample["value"][1] == "1").count();
        if samples.len() == 4 && well == 4 { Ok(()) } else { Err(up.to_string()) }
    };
    until("Prometheus to reach both daemons and the collector's two ports", LIMIT, look).await.unwrap();
    let rules = ask("rules").await.unwrap();
    assert!(rules["data"]["groups"].as_array().is_some_and(|groups| groups.len() > 2), "{rules}");
}
