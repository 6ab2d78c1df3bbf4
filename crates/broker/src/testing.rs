//! The broker in process, for its own tests: on either engine, with a clock that is moved by hand and a captured telemetry.

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body};
use brokkr_api::{Timestamp, keys::Role};
use brokkr_runtime::{Ids, Lifecycle, ManualClock, SeededIds};
use brokkr_telemetry::{
    capture::{Capture, CapturedSpan},
    config::Handoff,
    http::ServerTelemetry,
};
use brokkr_tests::postgres::Postgres;
use brokkr_webhooks::Guard;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Notify;
use tower::ServiceExt;
use tracing::{dispatcher::DefaultGuard, instrument::WithSubscriber};

use crate::{
    board::Board,
    bootstrap::{Bootstrap, first_admin_key},
    config::{DatabaseConfig, LimitsConfig},
    domain::seal::Keyring,
    feed::Feed,
    http::{self as api, AppState},
    presence::Presence,
    store,
};

/// Where a test keeps its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

impl Engine {
    /// Runs a test on both engines, each time with a world of its own.
    pub(crate) async fn each(test: impl AsyncFn(World)) {
        for engine in [Self::Sqlite, Self::Postgres] {
            // Shown when the test fails.
            eprintln!("on {engine:?}");
            Box::pin(test(World::start(engine).await)).await;
        }
    }

    /// The URL of an empty database, and the folder that holds it where it is a file.
    pub(crate) fn database(self) -> (String, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let url = match self {
            Self::Sqlite => format!("sqlite:{}", folder.path().join("brokkr.db").display()),
            Self::Postgres => Postgres::shared().create_database().unwrap(),
        };
        (url, folder)
    }
}

/// A broker without a port.
pub(crate) struct World {
    pub(crate) state: AppState,
    pub(crate) router: Router,
    pub(crate) capture: Capture,
    pub(crate) clock: Arc<ManualClock>,
    /// A key of an admin.
    pub(crate) admin: String,
    url: String,
    lifecycle: Lifecycle,
    _capturing: DefaultGuard,
    _folder: Option<TempDir>,
}

/// An agent with its key.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct TestAgent {
    pub(crate) id: String,
    pub(crate) key: String,
}

/// What the broker answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Null where the body is no JSON.
    pub(crate) json: Value,
    pub(crate) bytes: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: impl header::AsHeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The code of a problem.
    pub(crate) fn code(&self) -> &str {
        self.json["code"].as_str().unwrap_or_default()
    }

    /// The same answer, if it has this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.json);
        self
    }
}

impl World {
    pub(crate) async fn start(engine: Engine) -> Self {
        let (url, folder) = engine.database();
        Box::pin(Self::open(url, Some(folder), None, 7)).await
    }

    /// A broker on a database that outlives it, with ids that follow from `seed`; `admin` is the key that the first one made.
    pub(crate) async fn on(url: &str, admin: Option<&str>, seed: u64) -> Self {
        Box::pin(Self::open(url.to_owned(), None, admin.map(str::to_owned), seed)).await
    }

    /// `database.url`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Another broker on the same database. Drop it first: it captures what happens on this thread.
    pub(crate) async fn replica(&self) -> Self {
        Self::on(&self.url, Some(&self.admin), 8).await
    }

    async fn open(url: String, folder: Option<TempDir>, admin: Option<String>, seed: u64) -> Self {
        let capture = Capture::start();
        let capturing = capture.enter();
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_767_225_600_000_000)));
        let ids: Arc<dyn Ids> = Arc::new(SeededIds::new(seed));
        let config = DatabaseConfig { url: url.clone(), ..DatabaseConfig::default() };
        let (db, _) = store::open(&config, capture.telemetry().broker_metrics(), &*clock, &*ids).await.unwrap();
        let admin = match (first_admin_key(&db, &*clock, &*ids, None).await.unwrap(), admin) {
            (Bootstrap::Show(new), None) => new,
            (Bootstrap::Unneeded, Some(known)) => known,
            _ => panic!("a first key is made once for each database"),
        };
        let feed = Feed::load(db.clone()).await.unwrap();
        let (lifecycle, _) = Lifecycle::new();
        // Of its own, whatever another world enters on this thread meanwhile: a span is begun and ended under one subscriber.
        let follow = Arc::clone(&feed).follow(lifecycle.stopping().clone()).with_subscriber(capture.dispatch());
        lifecycle.spawn("change-feed", follow);
        let board = Arc::new(Board::default());
        let follow = Arc::clone(&board).follow(db.clone(), lifecycle.stopping().clone());
        lifecycle.spawn("work-orders-board", follow.with_subscriber(capture.dispatch()));
        let state = AppState::new(api::Shared {
            db,
            feed,
            presence: Arc::new(Presence::default()),
            board,
            depot: Arc::default(),
            clock: Arc::clone(&clock) as _,
            ids,
            keyring: Arc::new(Keyring::parse(&Keyring::new_line("test", &SeededIds::new(9))).unwrap()),
            guard: Arc::default(),
            webhooks_changed: Arc::default(),
            settings: api::Settings {
                handoff: Handoff::Auto,
                active: Duration::from_secs(75),
                lease: Duration::from_secs(60),
                requests: api::RequestLimits::default(),
                allowed_origins: Arc::default(),
                metrics_path: brokkr_api::routes::METRICS.into(),
            },
            // The clock stands still here: a quota that is used up would never fill again.
            limits: Arc::new(api::Limits::new(LimitsConfig::off())),
            tracing: capture.telemetry().control(),
            totals_changed: Arc::new(Notify::new()),
            draining: lifecycle.draining().clone(),
            stopping: lifecycle.stopping().clone(),
        });
        let router = Self::route(&state, &capture);
        Self { state, router, capture, clock, admin, url, lifecycle, _capturing: capturing, _folder: folder }
    }

    /// The same broker with other limits and origins, and nothing used of the limits.
    pub(crate) fn with_manners(&mut self, limits: LimitsConfig, origins: &[&str]) {
        self.state.shared_mut().limits = Arc::new(api::Limits::new(limits));
        self.state.shared_mut().settings.allowed_origins =
            origins.iter().map(|origin| (*origin).to_owned().try_into().unwrap()).collect();
        self.router = Self::route(&self.state, &self.capture);
    }

    /// The same broker, whose webhooks may lead elsewhere.
    pub(crate) fn with_guard(&mut self, guard: Guard) {
        self.state.shared_mut().guard = Arc::new(guard);
        self.router = Self::route(&self.state, &self.capture);
    }

    fn route(state: &AppState, capture: &Capture) -> Router {
        let telemetry = capture.telemetry();
        let server = ServerTelemetry::new(telemetry, Some(telemetry.broker_metrics()));
        api::router(state, server, telemetry.status_handle(), telemetry.metrics_endpoint())
    }

    /// What a broker is that has no key to seal Secrets with.
    pub(crate) fn forget_keys(&mut self) {
        self.state.shared_mut().keyring = Arc::new(Keyring::default());
        self.router = Self::route(&self.state, &self.capture);
    }

    /// What a broker does when it is asked to end.
    pub(crate) fn drain(&self) {
        self.lifecycle.stop();
    }

    /// Sends a request that was made by hand.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let json = serde_json::from_slice(&bytes).unwrap_or_default();
        Answer { status: parts.status, headers: parts.headers, json, bytes }
    }

    /// Sends JSON, or nothing for null.
    pub(crate) async fn call(&self, key: &str, method: Method, path: &str, body: Value) -> Answer {
        self.send(request(key, method, path, &body)).await
    }

    pub(crate) async fn get(&self, key: &str, path: &str) -> Answer {
        self.call(key, Method::GET, path, Value::Null).await
    }

    pub(crate) async fn put(&self, key: &str, path: &str, body: Value) -> Answer {
        self.call(key, Method::PUT, path, body).await
    }

    pub(crate) async fn post(&self, key: &str, path: &str, body: Value) -> Answer {
        self.call(key, Method::POST, path, body).await
    }

    pub(crate) async fn delete(&self, key: &str, path: &str) -> Answer {
        self.call(key, Method::DELETE, path, Value::Null).await
    }

    pub(crate) async fn agent(&self, name: &str, labels: Value) -> TestAgent {
        let body = json!({"name": name, "cluster": name, "labels": labels});
        let made = self.post(&self.admin, "/api/v1/agents", body).await.expect(201).json;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        TestAgent { id: text(&made["id"]), key: text(&made["secret"]) }
    }

    pub(crate) async fn generator(&self, name: &str) -> String {
        self.post(&self.admin, "/api/v1/generators", json!({"name": name})).await.expect(201);
        let body = json!({"name": name, "role": Role::Generator, "generator": name});
        self.post(&self.admin, "/api/v1/keys", body).await.expect(201).json["secret"].as_str().unwrap().to_owned()
    }

    /// A stack for the agents with these labels.
    pub(crate) async fn stack(&self, name: &str, labels: Value) -> Answer {
        let targets = json!({"labels": {"matchLabels": labels}});
        self.put(&self.admin, &format!("/api/v1/stacks/{name}"), json!({"labels": {}, "targets": targets})).await
    }

    /// Sends one ConfigMap as the content of a stack.
    pub(crate) async fn apply(&self, stack: &str, value: &str) -> Answer {
        self.put(&self.admin, &format!("/api/v1/stacks/{stack}/deployment-objects"), config_map(value)).await
    }

    /// Polls without knowing anything.
    pub(crate) async fn desired(&self, agent: &TestAgent) -> Answer {
        self.get(&agent.key, "/api/v1/agent/desired-state").await.expect(200)
    }

    /// Polls with what was answered before.
    pub(crate) fn poll(&self, agent: &TestAgent, etag: &str, wait: &str) -> impl Future<Output = Answer> {
        let mut request = request(&agent.key, Method::GET, &format!("/api/v1/agent/desired-state?wait={wait}"), &Value::Null);
        request.headers_mut().insert(header::IF_NONE_MATCH, etag.parse().unwrap());
        self.send(request)
    }

    /// Reports a phase of every deployment that the agent has.
    pub(crate) async fn report_all(&self, agent: &TestAgent, phase: &str) -> Answer {
        let body = self.report_of(agent, phase).await;
        self.post(&agent.key, "/api/v1/agent/reports", body).await
    }

    /// What [`World::report_all`] sends.
    pub(crate) async fn report_of(&self, agent: &TestAgent, phase: &str) -> Value {
        let desired = self.desired(agent).await.json;
        let deployments = desired["deployments"].as_array().unwrap();
        let report = |deployment: &Value| json!({"stack_id": deployment["stack_id"], "revision": deployment["revision"], "phase": phase, "attempt": 1});
        let reports: Vec<_> = deployments.iter().map(report).collect();
        json!({"epoch": desired["epoch"], "reports": reports})
    }

    /// The SQL statements of the request that was answered like this, by name.
    pub(crate) fn statements(&self, answer: &Answer) -> Vec<String> {
        self.spans_of(answer).iter().filter_map(|span| span.attribute("db.query.summary")).collect()
    }

    /// The spans of the trace of the request that was answered like this.
    pub(crate) fn spans_of(&self, answer: &Answer) -> Vec<CapturedSpan> {
        let trace = answer.header("x-trace-id");
        assert_eq!(trace.len(), 32, "the answer is not traced");
        self.capture.spans().into_iter().filter(|span| span.trace_id() == trace).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The cause of a 5xx is here and nowhere else.
            let told = |line: &String| line.contains("\"WARN\"") || line.contains("\"ERROR\"");
            eprintln!("{}", self.capture.logs().into_iter().filter(told).collect::<Vec<_>>().join("\n"));
        }
        self.lifecycle.stop();
    }
}

/// One ConfigMap, as a client sends it.
pub(crate) fn config_map(value: &str) -> Value {
    json!([{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "shop"}, "data": {"key": value}}])
}

/// A request of a program that speaks the protocol; an empty key sends none.
pub(crate) fn request(key: &str, method: Method, path: &str, body: &Value) -> Request<Body> {
    let mut request =
        Request::builder().method(method).uri(path).header(brokkr_api::PROTOCOL_HEADER, brokkr_api::PROTOCOL_VERSION.to_string());
    if !key.is_empty() {
        request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
    }
    if body.is_null() {
        return request.body(Body::empty()).unwrap();
    }
    request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_string())).unwrap()
}
