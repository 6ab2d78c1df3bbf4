//! Off means off: with tracing off, nothing is allocated for tracing. Counted by an allocator that counts, in a process of its own.
#![expect(clippy::unwrap_used, reason = "the ways of a test to fail")]

use std::alloc::System;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{Method, StatusCode},
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::get,
};
use brokkr_telemetry::{
    Service, Telemetry,
    capture::options,
    http::{ClientTelemetry, ServerTelemetry},
    metrics::{DbOperation, HttpMethod},
    sampler::Class,
    spans::{self, DbStatement, KubernetesCall, PollOutcome},
};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Middleware};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::{Service as _, ServiceExt};

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const POLL: &str = "/api/v1/agent/desired-state";
const TIMES: usize = 100;

fn telemetry(service: Service, enabled: bool) -> Telemetry {
    let mut options = options(service);
    options.telemetry.enabled = enabled;
    options.telemetry.exporter = brokkr_telemetry::config::Exporter::None;
    options.metrics.enabled = false;
    // What is logged is another matter.
    options.telemetry.log.level = "error".to_owned();
    brokkr_telemetry::init(options).unwrap()
}

/// Allocations of so many rounds, the first of which are not counted.
async fn count(mut round: impl AsyncFnMut()) -> usize {
    for _ in 0..TIMES {
        round().await;
    }
    let region = Region::new(COUNTING);
    for _ in 0..TIMES {
        round().await;
    }
    let change = region.change();
    change.allocations + change.reallocations
}

/// A poll to which nothing is new, as the router serves it.
async fn served(router: Router) -> usize {
    let mut service = router.into_service::<Body>();
    count(async || {
        let request = Request::builder().method(Method::GET).uri(POLL).header("if-none-match", "\"1.1\"").body(Body::empty());
        let answer = service.ready().await.unwrap().call(request.unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_MODIFIED);
    })
    .await
}

/// A layer of the same make that observes nothing.
async fn nothing(State(_nobody): State<std::sync::Arc<()>>, request: Request, next: Next) -> Response {
    next.run(request).await
}

fn polls() -> Router {
    Router::new().route(POLL, get(|| async { StatusCode::NOT_MODIFIED }))
}

async fn broker(telemetry: &Telemetry) -> usize {
    let layer = ServerTelemetry::new(telemetry, None).with_class(Method::GET, POLL, Class::Poll).trusting(|_| true);
    served(layer.wrap(polls())).await
}

/// A middleware of the same make that observes nothing.
struct Nothing;

#[async_trait::async_trait]
impl Middleware for Nothing {
    async fn handle(
        &self,
        request: reqwest::Request,
        extensions: &mut http::Extensions,
        next: reqwest_middleware::Next<'_>,
    ) -> reqwest_middleware::Result<reqwest::Response> {
        next.run(request, extensions).await
    }
}

/// Answers without a network, whose allocations vary.
struct Unchanged;

#[async_trait::async_trait]
impl Middleware for Unchanged {
    async fn handle(
        &self,
        _: reqwest::Request,
        _: &mut http::Extensions,
        _: reqwest_middleware::Next<'_>,
    ) -> reqwest_middleware::Result<reqwest::Response> {
        Ok(http::Response::builder().status(304).body(Vec::new()).unwrap().into())
    }
}

/// A poll as an agent makes it, inside of its span.
async fn asked(client: ClientWithMiddleware) -> usize {
    let url = format!("http://broker{POLL}");
    count(async || {
        let span = spans::poll();
        let answer = client.get(&url).with_extension(POLL).send().await.unwrap();
        assert_eq!(answer.status(), 304);
        spans::record_poll(&span, PollOutcome::Unchanged);
    })
    .await
}

fn client(middleware: impl Middleware) -> ClientWithMiddleware {
    drop(rustls::crypto::ring::default_provider().install_default());
    ClientBuilder::new(reqwest::Client::builder().build().unwrap()).with(middleware).with(Unchanged).build()
}

/// Spans of the paths where the most is done.
async fn hot_spans() -> usize {
    count(async || {
        let statement = DbStatement {
            name: "agents.presence",
            operation: DbOperation::Update,
            collection: "presence",
            system: "postgresql",
            namespace: "brokkr|public",
            server_address: Some("database"),
        };
        let call = KubernetesCall {
            verb: "apply",
            resource: "configmaps",
            namespace: Some("shop"),
            name: Some("web"),
            method: HttpMethod::Patch,
            server_address: "kubernetes",
            server_port: 443,
        };
        drop((
            spans::db_statement(statement),
            spans::kubernetes_call(call),
            spans::job("presence"),
            spans::plan(),
            spans::report(),
        ));
    })
    .await
}

// One test: whatever else ran in this process would be counted too.
#[tokio::test]
async fn an_unchanged_poll_allocates_nothing_for_tracing_that_is_off() {
    let off = telemetry(Service::Broker, false);
    let here = tracing::dispatcher::set_default(off.dispatch());
    let bare = served(polls().layer(from_fn_with_state(std::sync::Arc::new(()), nothing))).await;
    let served_off = broker(&off).await;
    assert_eq!(served_off, bare, "the broker, in {TIMES} polls");
    assert_eq!(asked(client(ClientTelemetry)).await, asked(client(Nothing)).await, "the agent, in {TIMES} polls");
    assert_eq!(hot_spans().await, 0, "spans, {TIMES} times");
    drop(here);
    // Proof that it would be seen.
    let on = telemetry(Service::Broker, true);
    let _here = tracing::dispatcher::set_default(on.dispatch());
    assert!(hot_spans().await >= TIMES && broker(&on).await > served_off, "spans that are made are counted");
}
