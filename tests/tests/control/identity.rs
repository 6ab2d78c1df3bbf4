//! How an agent gets its key and takes a new one, whatever is lost on the way. The broker is played by the test, so that it can lose
//! its answer or stop at any step.

use std::{path::Path, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use brokkr_api::{
    CLUSTER_HEADER, Name,
    agents::{Hello, NewAgentKey, Welcome},
    desired_state::DesiredState,
    enrolment::{Enrol, Enrolled},
    routes,
};
use brokkr_tests::{
    cluster::Cluster,
    fleet::LIMIT,
    lab::{Scratch, free_port, until},
    process::{Daemon, Process},
};
use k8s_openapi::{
    ByteString,
    api::core::v1::{Namespace, Secret},
};
use kube::api::{Api, PostParams};
use parking_lot::Mutex;
use tokio::{net::TcpListener, sync::watch};

const TOKEN: &str = "brokkr_registration_test";

/// What the broker of this test knows and does.
#[derive(Debug, Default)]
struct Book {
    /// The agent's key.
    key: Option<String>,
    /// Given out, and not used yet.
    pending: Option<String>,
    /// How many keys were made.
    made: u32,
    /// Answers of enrolments and rotations that get lost.
    lost: u32,
    rotate: bool,
    /// Polls are refused, so that a new key is not used.
    closed: bool,
    /// The next new key closes it.
    closes: bool,
    enrolled: Vec<Enrol>,
    clusters: Vec<String>,
    capabilities: Vec<String>,
}

#[derive(Clone)]
struct Played {
    book: Arc<Mutex<Book>>,
    changed: watch::Sender<u64>,
}

impl Played {
    /// Starts it; it ends with the test's runtime.
    async fn start() -> (Self, String) {
        let played = Self { book: Arc::default(), changed: watch::Sender::new(1) };
        let router = Router::new()
            .route(routes::ENROLMENTS, post(enrol))
            .route(routes::AGENT_CLUSTER, put(hello))
            .route(routes::DESIRED_STATE, get(desired_state))
            .route(routes::AGENT_KEY, post(new_key))
            .with_state(played.clone());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (played, base)
    }

    fn change(&self, change: impl FnOnce(&mut Book)) {
        change(&mut self.book.lock());
        self.changed.send_modify(|number| *number += 1);
    }

    async fn until(&self, what: &str, wanted: impl Fn(&Book) -> bool) {
        let look = || async {
            let book = self.book.lock();
            if wanted(&book) { Ok(()) } else { Err(format!("{book:?}")) }
        };
        until(what, LIMIT, look).await.unwrap();
    }
}

impl Book {
    fn make(&mut self) -> String {
        self.made += 1;
        format!("brokkr_agent_{}", self.made)
    }

    /// Whether the key opens anything; the first use of a pending one makes it the agent's.
    fn admits(&mut self, headers: &HeaderMap) -> bool {
        let given = bearer(headers);
        if given.is_some() && given == self.pending {
            self.key = self.pending.take();
            self.rotate = false;
        }
        given.is_some() && given == self.key
    }
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    headers.get("authorization")?.to_str().ok()?.strip_prefix("Bearer ").map(str::to_owned)
}

async fn enrol(State(played): State<Played>, headers: HeaderMap, Json(request): Json<Enrol>) -> Response {
    if bearer(&headers).as_deref() != Some(TOKEN) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let mut book = played.book.lock();
    let secret = book.make();
    book.key = Some(secret.clone());
    book.enrolled.push(request.clone());
    if book.lost > 0 {
        book.lost -= 1;
        return StatusCode::BAD_GATEWAY.into_response();
    }
    Json(Enrolled { agent_id: "00000000-0000-7000-8000-000000000001".parse().unwrap(), agent: request.name, secret })
        .into_response()
}

async fn hello(State(played): State<Played>, headers: HeaderMap, Json(hello): Json<Hello>) -> Response {
    let mut book = played.book.lock();
    if !book.admits(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    book.capabilities = hello.capabilities;
    let name: Name = "edge".parse().unwrap();
    Json(Welcome {
        agent_id: "00000000-0000-7000-8000-000000000001".parse().unwrap(),
        agent: name.clone(),
        cluster: name,
        installation: "i".to_owned(),
        epoch: "e".to_owned(),
    })
    .into_response()
}

async fn desired_state(State(played): State<Played>, headers: HeaderMap) -> Response {
    let mut changed = played.changed.subscribe();
    let known: Option<u64> = headers.get("if-none-match").and_then(|tag| tag.to_str().ok()?.trim_matches('"').parse().ok());
    if known.is_some() {
        let newer = changed.wait_for(|number| Some(*number) != known);
        drop(tokio::time::timeout(Duration::from_secs(1), newer).await);
    }
    let mut book = played.book.lock();
    if book.closed {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    if !book.admits(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let cluster = headers.get(CLUSTER_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    book.clusters.push(cluster);
    let number = *changed.borrow();
    if known == Some(number) {
        return StatusCode::NOT_MODIFIED.into_response();
    }
    let state = DesiredState {
        tracing: None,
        protocol: 2,
        installation: "i".to_owned(),
        epoch: "e".to_owned(),
        rotate_key: book.rotate,
        deployments: Vec::new(),
    };
    ([("etag", format!("\"{number}\""))], Json(state)).into_response()
}

async fn new_key(State(played): State<Played>, headers: HeaderMap) -> Response {
    let mut book = played.book.lock();
    if !book.admits(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let secret = book.make();
    book.pending = Some(secret.clone());
    book.closed = book.closes;
    if book.lost > 0 {
        book.lost -= 1;
        return StatusCode::BAD_GATEWAY.into_response();
    }
    Json(NewAgentKey { secret }).into_response()
}

fn agent(cluster: &Cluster, base: &str, settings: &[(&str, &str)]) -> Process {
    let port = free_port().unwrap();
    let mut daemon = Daemon::new("brokkr-agent")
        .unwrap()
        .args(["run"])
        .env("BROKKR__SERVER__LISTEN", format!("127.0.0.1:{port}"))
        .env("BROKKR__BROKER__URL", base)
        .env("BROKKR__BROKER__WAIT_SECONDS", "1")
        .env("BROKKR__KUBERNETES__KUBECONFIG", cluster.kubeconfig())
        .env("BROKKR__KUBERNETES__NAMESPACE", cluster.unique("brokkr"))
        .env("BROKKR__AGENT__NAME", "edge");
    for (key, value) in settings {
        daemon = daemon.env(key, value);
    }
    daemon.start().unwrap()
}

fn kept(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_without_a_key_enrols_even_if_the_answer_is_lost_and_names_its_cluster_in_every_poll() {
    let cluster = Cluster::shared().await.unwrap();
    let scratch = Scratch::new("enrolment").unwrap();
    let (token, key) = (scratch.write("token", format!("{TOKEN}\n")).unwrap(), scratch.path().join("agent.key"));
    let (played, base) = Played::start().await;
    played.change(|book| book.lost = 1);
    let settings = [
        ("BROKKR__BROKER__KEY_FILE", key.to_str().unwrap()),
        ("BROKKR__ENROLMENT__TOKEN_FILE", token.to_str().unwrap()),
        ("BROKKR__AGENT__CLUSTER", "cellar"),
    ];
    let mut agent = agent(&cluster, &base, &settings);
    played.until("a poll", |book| !book.clusters.is_empty()).await;

    let namespaces: Api<Namespace> = Api::all(cluster.client().clone());
    let uid = namespaces.get("kube-system").await.unwrap().metadata.uid.unwrap();
    {
        let book = played.book.lock();
        assert_eq!(book.enrolled.len(), 2, "asked again after the lost answer");
        assert_eq!(book.enrolled[0], book.enrolled[1]);
        assert_eq!((book.enrolled[0].name.as_str(), book.enrolled[0].cluster.as_str()), ("edge", "cellar"));
        assert_eq!(book.enrolled[0].cluster_uid, uid);
        assert!(book.clusters.iter().all(|cluster| *cluster == uid), "{:?}", book.clusters);
        assert_eq!(book.capabilities, ["suspension", "key-rotation", "webhooks"]);
        assert_eq!(kept(&key), book.key, "the key is kept");
    }
    agent.kill();
    agent.start().unwrap();
    let polls = played.book.lock().clusters.len();
    played.until("a poll after the restart", |book| book.clusters.len() > polls).await;
    assert_eq!(played.book.lock().enrolled.len(), 2, "an agent with a key does not enrol again");
    for secret in [TOKEN, kept(&key).unwrap().as_str()] {
        assert!(!agent.output().lines().iter().any(|line| line.contains(secret)), "a secret is in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_kept_before_it_is_used_and_a_kill_at_any_step_loses_nothing() {
    let cluster = Cluster::shared().await.unwrap();
    let scratch = Scratch::new("rotation").unwrap();
    let key = scratch.write("agent.key", "brokkr_agent_first\n").unwrap();
    let (played, base) = Played::start().await;
    played.change(|book| book.key = Some("brokkr_agent_first".to_owned()));
    let mut agent = agent(&cluster, &base, &[("BROKKR__BROKER__KEY_FILE", key.to_str().unwrap())]);
    played.until("a poll", |book| !book.clusters.is_empty()).await;

    // The answer with the first new key is lost, and the agent is killed: the old key still opens.
    played.change(|book| (book.rotate, book.lost) = (true, u32::MAX));
    played.until("a key that got lost", |book| book.made >= 1).await;
    agent.kill();
    assert_eq!(kept(&key).as_deref(), Some("brokkr_agent_first"));
    played.change(|book| book.lost = 0);
    agent.start().unwrap();
    played.until("the use of a new key", |book| !book.rotate).await;
    let second = played.book.lock().key.clone();
    assert!(kept(&key) == second && second.as_deref() != Some("brokkr_agent_first"), "{second:?}");

    // The next one is kept and cannot be used, and the agent is killed: after the restart it uses it.
    played.change(|book| (book.rotate, book.closes) = (true, true));
    let look = || async {
        let (kept, pending) = (kept(&key), played.book.lock().pending.clone());
        if kept.is_some() && kept == pending { Ok(()) } else { Err(format!("{kept:?} {pending:?}")) }
    };
    until("the third key", LIMIT, look).await.unwrap();
    agent.kill();
    assert_eq!(played.book.lock().key, second, "not used yet");
    played.change(|book| (book.closes, book.closed) = (false, false));
    agent.start().unwrap();
    let polls = played.book.lock().clusters.len();
    played.until("a poll with the third key", |book| !book.rotate && book.clusters.len() > polls).await;
    assert_eq!(kept(&key), played.book.lock().key);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_holds_the_token_and_then_the_key_and_nobody_elses_fields_are_touched() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.create_namespace("identity").await.unwrap();
    let secrets: Api<Secret> = Api::namespaced(cluster.client().clone(), &namespace);
    let mut secret = Secret::default();
    secret.metadata.name = Some("agent".to_owned());
    secret.data = Some([("token".to_owned(), ByteString(TOKEN.into()))].into());
    secrets.create(&PostParams::default(), &secret).await.unwrap();
    let (played, base) = Played::start().await;
    let place = format!("{namespace}/agent");
    let mut agent = agent(&cluster, &base, &[("BROKKR__BROKER__KEY_SECRET", place.as_str())]);
    played.until("a poll", |book| !book.clusters.is_empty()).await;
    let data = || async { secrets.get("agent").await.unwrap().data.unwrap() };
    let first = played.book.lock().key.clone().unwrap();
    assert_eq!(data().await["key"].0, first.as_bytes());
    assert_eq!(data().await["token"].0, TOKEN.as_bytes());

    played.change(|book| book.rotate = true);
    played.until("the use of a new key", |book| !book.rotate).await;
    let second = played.book.lock().key.clone().unwrap();
    assert!(second != first && data().await["key"].0 == second.as_bytes());
    agent.kill();
    agent.start().unwrap();
    let polls = played.book.lock().clusters.len();
    played.until("a poll after the restart", |book| book.clusters.len() > polls).await;
    assert_eq!(played.book.lock().enrolled.len(), 1);
}
