//! The database is away: what needs none of it goes on, everything else says so in time, and nobody has to do anything when it
//! is back.

use std::{
    future::Future,
    io::Write,
    pin::Pin,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use brokkr_api::{
    Labels, PROTOCOL_HEADER, PROTOCOL_VERSION, Problem, TargetSelector,
    agents::{CreateAgent, CreatedAgent},
    client::Polled,
    readiness::Readiness,
    stacks::PutStack,
};
use brokkr_tests::{
    fleet::{Broker, Engine, LIMIT, config_map},
    http::client,
    lab::{LabError, until},
    postgres::Postgres,
};
use reqwest::{Method, RequestBuilder, Response};
use serde::Serialize;

use brokkr_tests::evidence::leave;

/// How a database goes away, and comes back.
#[derive(Debug, Clone, Copy)]
enum Outage {
    /// Nothing listens.
    Stopped,
    /// Connections are open, new ones are accepted by the kernel, and nobody ever answers.
    Frozen,
}

impl Outage {
    fn begin(self, postgres: &Postgres) -> Result<(), LabError> {
        match self {
            Self::Stopped => postgres.stop_server(),
            Self::Frozen => postgres.freeze_server(),
        }
    }

    fn end(self, postgres: &Postgres) -> Result<(), LabError> {
        match self {
            Self::Stopped => postgres.start_server(),
            Self::Frozen => postgres.thaw_server(),
        }
    }
}

type Pending = Pin<Box<dyn Future<Output = Result<Response, reqwest::Error>> + Send>>;

fn request(broker: &Broker, key: &str, method: Method, path: &str) -> RequestBuilder {
    let request = client().unwrap().request(method, format!("{}{path}", broker.base));
    request.header(PROTOCOL_HEADER, PROTOCOL_VERSION).bearer_auth(key)
}

/// Begins a request and gives it the time to reach the broker, if it is not answered before.
fn begin(request: RequestBuilder) -> Pending {
    let task = tokio::spawn(request.send());
    Box::pin(async move { task.await.unwrap() })
}

/// One agent that knows all there is to know.
async fn settled(broker: &Broker) -> (CreatedAgent, String) {
    let admin = broker.admin();
    let name = "edge".parse().unwrap();
    let agent =
        admin.create_agent(&CreateAgent { name, cluster: "edge".parse().unwrap(), labels: Labels::default() }).await.unwrap();
    let targets = TargetSelector { labels: None, names: vec![agent.agent.name.clone()] };
    admin.put_stack(&"shop".parse().unwrap(), &PutStack { targets, ..PutStack::default() }).await.unwrap();
    let Polled::Changed { etag, .. } = broker.client(&agent.secret).desired_state(None, Duration::ZERO).await.unwrap() else {
        unreachable!("a poll that knows nothing is answered in full")
    };
    (agent, etag)
}

/// How long the probes took while the database was away, in microseconds.
#[derive(Debug, Serialize)]
struct Evidence {
    outage: String,
    healthz: Vec<u128>,
    metrics: Vec<u128>,
    failed_after_milliseconds: u128,
}

/// Asks the probes while this request waits for the database. Were they to wait for it too, the request would be answered first.
async fn probe(broker: &Broker, outage: Outage, waiting: &mut Pending) -> Evidence {
    let mut evidence = Evidence { outage: format!("{outage:?}"), healthz: vec![], metrics: vec![], failed_after_milliseconds: 0 };
    let client = client().unwrap();
    let probes = async {
        for _ in 0..20 {
            for (path, times) in [("/healthz", &mut evidence.healthz), ("/metrics", &mut evidence.metrics)] {
                let began = Instant::now();
                let answer = client.get(format!("{}{path}", broker.base)).send().await.unwrap();
                assert_eq!(answer.status(), 200, "{path}");
                assert!(!answer.text().await.unwrap().is_empty());
                times.push(began.elapsed().as_micros());
            }
        }
    };
    tokio::select! {
        biased;
        answer = waiting => panic!("{outage:?}: answered before the probes: {answer:?}"),
        () = probes => {}
    }
    evidence
}

async fn assert_unavailable(answer: Response) {
    assert_eq!(answer.status(), 503);
    let seconds = answer.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap();
    assert!((1..=60).contains(&seconds));
    let problem: Problem = answer.json().await.unwrap();
    assert!(["database_unavailable", "timeout"].contains(&problem.code.as_str()), "{problem:?}");
}

/// Waits until `/readyz` says that the database is as `ok` says; returns what it says.
async fn wait_for_readiness(broker: &Broker, ok: bool) -> String {
    let look = || async {
        let ready: Readiness =
            request(broker, "", Method::GET, "/readyz").send().await.map_err(|error| error.to_string())?.json().await.unwrap();
        assert!(ready.ready, "a replica without its database still answers polls");
        let database = &ready.checks["database"];
        if database.ok == ok { Ok(database.detail.clone()) } else { Err(format!("{ready:?}")) }
    };
    until("/readyz to tell of the database", LIMIT, look).await.unwrap()
}

/// A poll that an agent makes, again and again whatever happens, until it is told of generation 1.
async fn poll_until_told(broker: &Broker, agent: &CreatedAgent, mut etag: String) -> usize {
    let client = broker.client(&agent.secret);
    let mut unchanged = 0;
    loop {
        match client.desired_state(Some(&etag), Duration::from_secs(1)).await {
            Ok(Polled::Unchanged) => unchanged += 1,
            Ok(Polled::Changed { state, .. }) if state.deployments.iter().any(|deployment| deployment.generation == 1) => {
                return unchanged;
            }
            Ok(Polled::Changed { etag: new, .. }) => etag = new,
            Err(error) => assert!(error.is_transient(), "an agent does not survive this: {error}"),
        }
    }
}

async fn survive(outage: Outage) {
    let postgres = Postgres::start().unwrap();
    let broker = Broker::at(&postgres.create_database().unwrap(), &[]).await.unwrap();
    let (agent, etag) = settled(&broker).await;
    let poll = format!("{}?wait=2s", brokkr_api::routes::DESIRED_STATE);
    let poll = || request(&broker, &agent.secret, Method::GET, &poll).header("if-none-match", &etag);
    let parked = begin(poll());

    outage.begin(&postgres).unwrap();
    let began = Instant::now();
    let (key, settings) = (broker.key(), serde_json::json!({"labels": {}, "targets": {"labels": {}}}));
    let mut reading = begin(request(&broker, &key, Method::GET, "/api/v1/stacks"));
    let mut evidence = match outage {
        Outage::Frozen => probe(&broker, outage, &mut reading).await,
        // Refused at once, so that nothing can be seen to wait.
        Outage::Stopped => probe(&broker, outage, &mut (Box::pin(std::future::pending()) as Pending)).await,
    };
    let writing = begin(request(&broker, &key, Method::PUT, "/api/v1/stacks/other").json(&settings));
    assert!(wait_for_readiness(&broker, false).await.starts_with("database_unavailable"), "it says why");
    assert_eq!(parked.await.unwrap().status(), 304, "it was parked before");
    assert_eq!(poll().send().await.unwrap().status(), 304, "it came meanwhile");
    assert_unavailable(reading.await.unwrap()).await;
    assert_unavailable(writing.await.unwrap()).await;
    evidence.failed_after_milliseconds = began.elapsed().as_millis();
    leave(&format!("database-{outage:?}").to_lowercase(), &evidence);

    let told = poll_until_told(&broker, &agent, etag.clone());
    let back = async {
        outage.end(&postgres).unwrap();
        wait_for_readiness(&broker, true).await;
        broker.send(&"shop".parse().unwrap(), &config_map("shop", "a", "1")).await;
    };
    tokio::time::timeout(LIMIT, async { tokio::join!(told, back) }).await.expect("polls resume by themselves");
}

// Side by side: each of them mostly waits for limits to run out.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_stopped_or_frozen_is_told_in_time_and_polls_go_on() {
    tokio::join!(Box::pin(survive(Outage::Stopped)), Box::pin(survive(Outage::Frozen)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_ends_when_it_is_asked_to_although_its_database_is_frozen() {
    let postgres = Postgres::start().unwrap();
    let mut broker = Broker::at(&postgres.create_database().unwrap(), &[]).await.unwrap();
    settled(&broker).await;
    postgres.freeze_server().unwrap();
    wait_for_readiness(&broker, false).await;
    assert!(broker.process.terminate(LIMIT).await.unwrap().success());
}

/// Somebody who holds the one lock for writing in a file of SQLite.
struct Writer(Child);

impl Writer {
    fn lock(broker: &Broker) -> Self {
        let file = broker.database.strip_prefix("sqlite:").unwrap();
        let mut child = Command::new("sqlite3").arg(file).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.as_mut().unwrap().write_all(b".timeout 5000\nBEGIN IMMEDIATE;\nSELECT 'locked';\n").unwrap();
        let mut line = [0; 7];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        assert_eq!(&line, b"locked\n");
        Self(child)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_somebody_else_has_locked_holds_up_writes_only_and_they_say_so_in_time() {
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let (agent, etag) = settled(&broker).await;
    let writer = Writer::lock(&broker);
    let settings = serde_json::json!({"labels": {}, "targets": {"labels": {}}});
    let put = || request(&broker, &broker.key(), Method::PUT, "/api/v1/stacks/other").json(&settings);
    let mut writing = begin(put());
    probe(&broker, Outage::Frozen, &mut writing).await;
    let poll = format!("{}?wait=1s", brokkr_api::routes::DESIRED_STATE);
    let poll = request(&broker, &agent.secret, Method::GET, &poll).header("if-none-match", &etag).send().await.unwrap();
    assert_eq!(poll.status(), 304);
    assert_eq!(request(&broker, &broker.key(), Method::GET, "/api/v1/stacks").send().await.unwrap().status(), 200);
    assert_unavailable(writing.await.unwrap()).await;
    drop(writer);
    assert_eq!(put().send().await.unwrap().status(), 201);
}
