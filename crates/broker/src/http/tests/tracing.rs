use std::{collections::BTreeSet, time::Duration};

use brokkr_telemetry::{capture::CapturedSpan, config::Rates};
use http::{HeaderValue, Method};
use opentelemetry::trace::SpanKind;
use serde_json::{Value, json};

use super::access::{PUBLIC, ROUTES};
use crate::{
    http::openapi,
    testing::{Answer, Engine, World, config_map, request},
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

#[tokio::test]
async fn one_trace_runs_from_the_caller_through_the_statements_to_what_the_agent_is_given() {
    Engine::each(async |world: World| {
        let agent = world.agent("edge", json!({})).await;
        world.stack("shop", json!({})).await.expect(201);
        let mut put = request(&world.admin, Method::PUT, "/api/v1/stacks/shop/deployment-objects", &config_map("one"));
        put.headers_mut().insert("traceparent", HeaderValue::from_str(&format!("00-{TRACE}-{CALLER}-01")).unwrap());
        put.headers_mut().insert("tracestate", HeaderValue::from_static("vendor=1"));

        let accepted = world.send(put).await.expect(201);

        assert_eq!((accepted.header("x-trace-id"), &accepted.json["trace_id"]), (TRACE, &json!(TRACE)));
        let spans = world.spans_of(&accepted);
        let server = spans.iter().find(|span| *span.kind() == SpanKind::Server).unwrap();
        assert_eq!(server.parent_id(), CALLER);
        assert_eq!(server.name(), "PUT /api/v1/stacks/{stack}/deployment-objects");
        let send = spans.iter().find(|span| *span.kind() == SpanKind::Producer).unwrap();
        assert_eq!(send.parent_id(), server.span_id());
        for sql in spans.iter().filter(|span| span.attribute("db.system.name").is_some()) {
            let plan = spans.iter().find(|span| span.name() == "plan rollout").unwrap();
            assert!([server.span_id(), send.span_id(), plan.span_id()].contains(&sql.parent_id()), "{}", sql.name());
            assert_eq!(sql.attribute("db.query.text"), None);
        }
        assert_eq!(world.statements(&accepted).len(), 7);

        let work = world.desired(&agent).await.json["deployments"][0]["trace"].clone();
        assert_eq!(work["traceparent"], format!("00-{TRACE}-{}-01", send.span_id()));
        assert_eq!((&work["tracestate"], &work["relation"]), (&json!("vendor=1"), &json!("parent")));
    })
    .await;
}

async fn relation(world: &World, agent: &crate::testing::TestAgent) -> Value {
    world.desired(agent).await.json["deployments"][0]["trace"]["relation"].clone()
}

#[tokio::test]
async fn only_first_attempts_at_small_and_recent_changes_join_the_trace() {
    Engine::each(async |world: World| {
        let agent = world.agent("edge", json!({"site": "a"})).await;
        world.stack("shop", json!({"site": "a"})).await.expect(201);

        world.apply("shop", "one").await.expect(201);
        assert_eq!(relation(&world, &agent).await, "parent");
        world.clock.advance(Duration::from_secs(15 * 60));
        assert_eq!(relation(&world, &agent).await, "link", "it is too old");

        world.apply("shop", "two").await.expect(201);
        assert_eq!(relation(&world, &agent).await, "parent");
        world.report_all(&agent, "failed").await.expect(200);
        assert_eq!(relation(&world, &agent).await, "link", "it is the second attempt");

        for number in 0..10 {
            world.agent(&format!("more-{number}"), json!({"site": "a"})).await;
        }
        world.apply("shop", "three").await.expect(201);
        assert_eq!(relation(&world, &agent).await, "link", "eleven agents are too many for one trace");
    })
    .await;
}

#[tokio::test]
async fn the_labels_of_metrics_are_closed_whatever_is_asked_for() {
    let world = World::start(Engine::Sqlite).await;
    for method in ["GET", "BREW", "PROPFIND", "OPTIONS"] {
        for path in ["/api/v1/stacks/hunter2", "/hunter2", "/api/v1/hunter2/x?y=hunter2", "/api/v1/agents/hunter2"] {
            world.send(request(&world.admin, method.parse().unwrap(), path, &Value::Null)).await;
        }
    }
    let metrics = world.capture.metrics();
    assert!(!metrics.contains("hunter2") && !metrics.contains("BREW"), "{metrics}");

    let document: Value = serde_json::from_str(&openapi()).unwrap();
    let mut endpoints: BTreeSet<_> = document["paths"].as_object().unwrap().keys().cloned().collect();
    endpoints.insert("unmatched".to_owned());
    let mut seen = BTreeSet::new();
    for line in metrics.lines().filter(|line| line.starts_with("brokkr_http_requests_total{")) {
        let endpoint = line.split_once("endpoint=\"").unwrap().1.split_once('"').unwrap().0;
        assert!(endpoints.contains(endpoint), "{line}");
        seen.insert(endpoint.to_owned());
    }
    assert!(seen.contains("unmatched") && seen.contains("/api/v1/stacks/{stack}"), "{seen:?}");
}

/// The one SERVER span of a request. It ends with the last of what it began, which may be the end of a transaction that nobody waits for.
async fn server_of(world: &World, answer: &Answer) -> CapturedSpan {
    let find = async {
        loop {
            let mut found = world.spans_of(answer);
            found.retain(|span| *span.kind() == SpanKind::Server);
            assert!(found.len() < 2, "{found:#?}");
            match found.pop() {
                Some(server) => return server,
                None => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), find).await.unwrap()
}

/// <https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-server-span>
#[tokio::test]
async fn every_route_has_a_server_span_by_the_conventions_and_nothing_of_what_was_asked_for_is_in_it() {
    let world = World::start(Engine::Sqlite).await;
    let routes = ROUTES.iter().map(|(method, template, _)| (*method, *template));
    for (method, template) in routes.chain(PUBLIC.iter().map(|path| ("GET", *path))) {
        let path = brokkr_api::routes::fill(template, &["hunter2", "hunter2"]);
        let body = if method == "GET" || method == "DELETE" { Value::Null } else { json!({}) };
        let answer = world.send(request(&world.admin, method.parse().unwrap(), &format!("{path}?wait=hunter2"), &body)).await;
        let server = server_of(&world, &answer).await;
        assert_eq!(server.name(), format!("{method} {template}"));
        let status = answer.status.as_u16();
        for (key, value) in [
            ("http.request.method", method),
            ("http.route", template),
            ("url.path", template),
            ("url.scheme", "http"),
            ("http.response.status_code", &status.to_string()),
        ] {
            assert_eq!(server.attribute(key).as_deref(), Some(value), "{key} of {method} {template}");
        }
        assert_eq!(server.is_error(), status >= 500, "{method} {template} is answered {status}");
        assert!(!format!("{server:?}").contains("hunter2"), "{method} {template}: {server:#?}");
    }
    let strange = world.send(request(&world.admin, Method::GET, "/hunter2", &Value::Null)).await;
    let server = server_of(&world, &strange).await;
    assert_eq!((server.name(), server.attribute("url.path").as_deref()), ("GET", Some("/REDACTED")), "{server:?}");
}

#[tokio::test]
async fn only_those_who_have_a_key_decide_whether_their_trace_is_kept() {
    let world = World::start(Engine::Sqlite).await;
    let agent = world.agent("edge", json!({})).await;
    world.capture.telemetry().sampler().set_rates(0.0, Rates::default());
    let made_up = world.admin.replace("brokkr_admin_", "brokkr_admin_x");
    for (key, flag, kept) in [
        (world.admin.as_str(), "01", true),
        (&agent.key, "01", true),
        (&world.admin, "00", false),
        (&made_up, "01", false),
        ("brokkr_admin_", "01", false),
        ("", "01", false),
    ] {
        for path in ["/api/v1/agent/desired-state", "/api/v1/stacks", "/nowhere"] {
            let mut asked = request(key, Method::GET, path, &Value::Null);
            let from = HeaderValue::from_str(&format!("00-{TRACE}-{CALLER}-{flag}")).unwrap();
            asked.headers_mut().insert("traceparent", from);
            let seen = world.capture.spans().len();
            let answer = world.send(asked).await;
            assert_eq!(answer.header("x-trace-id"), TRACE, "whoever asks is answered in their own trace");
            let of_request = |span: &CapturedSpan| span.parent_id() == CALLER;
            let is_kept = world.capture.spans().split_off(seen).iter().any(of_request);
            assert_eq!(is_kept, kept, "{path} with {flag} by {key:?}");
        }
    }
}
