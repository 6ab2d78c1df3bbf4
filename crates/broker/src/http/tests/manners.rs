use axum::body::Body;
use http::{HeaderName, HeaderValue, Method, Request, header};
use serde_json::{Value, json};

use crate::{
    config::LimitsConfig,
    testing::{Answer, Engine, World, request},
};

const STACKS: &str = "/api/v1/stacks";

fn anonymous(method: Method, path: &str) -> Request<Body> {
    request("", method, path, &Value::Null)
}

fn with(mut request: Request<Body>, name: HeaderName, value: &'static str) -> Request<Body> {
    request.headers_mut().insert(name, HeaderValue::from_static(value));
    request
}

/// A problem of the envelope's: ids that the header repeats, and what every answer carries.
#[track_caller]
fn is_problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status.as_u16(), answer.code()), (status, code), "{}", answer.json);
    assert_eq!(answer.header(header::CONTENT_TYPE), "application/problem+json");
    assert_eq!(answer.json["request_id"], answer.header("x-request-id"));
    assert_eq!(answer.json["trace_id"], answer.header("x-trace-id"));
    assert_eq!(answer.header("x-trace-id").len(), 32);
    assert_eq!((answer.header("x-content-type-options"), answer.header(header::CACHE_CONTROL)), ("nosniff", "no-store"));
}

#[tokio::test]
async fn a_key_is_limited_by_itself_and_told_when_to_go_on() {
    let mut world = World::start(Engine::Sqlite).await;
    let limits = LimitsConfig { requests_per_second: 1, burst: 2, ..LimitsConfig::off() };
    let second = world.generator("team").await;
    world.get(&second, STACKS).await.expect(200);
    world.with_manners(limits, &[]);
    for _ in 0..2 {
        world.get(&world.admin, STACKS).await.expect(200);
    }
    let refused = world.get(&world.admin, STACKS).await;
    is_problem(&refused, 429, "rate_limited");
    assert_eq!(refused.header(header::RETRY_AFTER), "1");
    assert!(world.statements(&refused).is_empty(), "a refused request costs no query");
    world.get(&second, STACKS).await.expect(200);
    world.clock.advance(std::time::Duration::from_secs(1));
    world.get(&world.admin, STACKS).await.expect(200);
    world.get(&world.admin, STACKS).await.expect(429);
    assert!(!world.capture.logs().join("\n").contains(&world.admin), "a key is in the log");
}

#[tokio::test]
async fn agents_have_limits_of_their_own() {
    let mut world = World::start(Engine::Sqlite).await;
    let agent = world.agent("edge", json!({})).await;
    // A key that was just made counts as nobody's until memory has it.
    world.desired(&agent).await;
    world.with_manners(LimitsConfig { agent_requests_per_second: 1, agent_burst: 1, ..LimitsConfig::off() }, &[]);
    world.desired(&agent).await;
    is_problem(&world.get(&agent.key, "/api/v1/agent/desired-state").await, 429, "rate_limited");
    for _ in 0..50 {
        world.get(&world.admin, STACKS).await.expect(200);
    }
}

#[tokio::test]
async fn a_generator_has_its_quota_for_all_its_keys_together() {
    let mut world = World::start(Engine::Sqlite).await;
    let body = json!({"name": "team", "quota": {"requests_per_minute": 20}});
    world.post(&world.admin, "/api/v1/generators", body).await.expect(201);
    let mut keys = Vec::new();
    for name in ["one", "two"] {
        let body = json!({"name": name, "role": "generator", "generator": "team"});
        let made = world.post(&world.admin, "/api/v1/keys", body).await.expect(201).json;
        keys.push(made["secret"].as_str().unwrap().to_owned());
    }
    for key in &keys {
        world.get(key, STACKS).await.expect(200);
    }
    world.with_manners(LimitsConfig::off(), &[]);
    // A tenth of it at once.
    for key in &keys {
        world.get(key, STACKS).await.expect(200);
    }
    let refused = world.get(&keys[0], STACKS).await;
    is_problem(&refused, 429, "rate_limited");
    assert_eq!(refused.header(header::RETRY_AFTER), "4");
    world.get(&world.admin, STACKS).await.expect(200);
}

#[tokio::test]
async fn whoever_has_no_valid_key_is_limited_by_address_and_probes_never_are() {
    let mut world = World::start(Engine::Sqlite).await;
    let limits = LimitsConfig { anonymous_requests_per_second: 1, anonymous_burst: 3, ..LimitsConfig::off() };
    world.with_manners(limits, &[]);
    let made_up = world.admin.replace("brokkr_admin_", "brokkr_admin_x");
    world.get("", STACKS).await.expect(401);
    world.get(&made_up, STACKS).await.expect(401);
    world.get("", "/nowhere").await.expect(404);
    is_problem(&world.get("", "/nowhere/else").await, 429, "rate_limited");
    is_problem(&world.get(&made_up, STACKS).await, 429, "rate_limited");
    for probe in ["/healthz", "/readyz", "/metrics"] {
        world.get("", probe).await.expect(200);
    }
    let address = "192.0.2.7:1234".parse::<std::net::SocketAddr>().unwrap();
    let mut elsewhere = anonymous(Method::GET, STACKS);
    elsewhere.extensions_mut().insert(axum::extract::ConnectInfo(address));
    world.send(elsewhere).await.expect(401);
    world.get(&world.admin, STACKS).await.expect(200);
}

#[tokio::test]
async fn pages_of_other_origins_are_nobodys_unless_allowed() {
    let mut world = World::start(Engine::Sqlite).await;
    let preflight = |origin: &'static str| {
        let request = with(anonymous(Method::OPTIONS, STACKS), header::ORIGIN, origin);
        with(request, header::ACCESS_CONTROL_REQUEST_METHOD, "PUT")
    };
    let silent = world.send(preflight("https://console.example.com")).await;
    assert!(!silent.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));

    world.with_manners(LimitsConfig::off(), &["https://console.example.com", "http://localhost:5173"]);
    for origin in ["https://console.example.com", "http://localhost:5173"] {
        let answer = world.send(preflight(origin)).await;
        assert!(answer.status.is_success(), "{}", answer.status);
        assert_eq!(answer.header(header::ACCESS_CONTROL_ALLOW_ORIGIN), origin);
        assert!(answer.header(header::ACCESS_CONTROL_ALLOW_HEADERS).contains("authorization"));
        assert!(answer.header(header::ACCESS_CONTROL_ALLOW_METHODS).contains("PUT"));
        assert!(!answer.headers.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
    }
    for origin in ["https://evil.example.com", "https://console.example.com.evil.com", "http://console.example.com", "null"] {
        let answer = world.send(preflight(origin)).await;
        assert!(!answer.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN), "{origin}");
    }
    // A page reads errors as well, and the headers that it needs.
    let refused = world.send(with(anonymous(Method::GET, STACKS), header::ORIGIN, "http://localhost:5173")).await;
    is_problem(&refused, 401, "unauthenticated");
    assert_eq!(refused.header(header::ACCESS_CONTROL_ALLOW_ORIGIN), "http://localhost:5173");
    assert!(refused.header(header::ACCESS_CONTROL_EXPOSE_HEADERS).contains("x-request-id"));
}

#[tokio::test]
async fn the_document_and_its_page_are_for_anybody_and_are_sent_once() {
    let world = World::start(Engine::Sqlite).await;
    for path in ["/api/v1/openapi.json", "/docs"] {
        let first = world.get("", path).await.expect(200);
        let etag = first.header(header::ETAG).to_owned();
        assert!(etag.len() > 10 && !first.bytes.is_empty(), "{path}");
        for tag in [etag.clone(), format!("W/{etag}"), format!("\"other\", {etag}"), "*".to_owned()] {
            let mut again = anonymous(Method::GET, path);
            again.headers_mut().insert(header::IF_NONE_MATCH, tag.parse().unwrap());
            let again = world.send(again).await.expect(304);
            assert!(again.bytes.is_empty() && again.header(header::ETAG) == etag, "{path}");
        }
        let head = world.send(anonymous(Method::HEAD, path)).await.expect(200);
        assert!(head.bytes.is_empty() && head.header(header::ETAG) == etag, "{path}");
        let other = with(anonymous(Method::GET, path), header::IF_NONE_MATCH, "\"other\"");
        world.send(other).await.expect(200);
    }
    let served = world.get("", "/api/v1/openapi.json").await.json;
    assert_eq!(served, serde_json::from_str::<Value>(&crate::http::openapi()).unwrap());
    let page = world.get("", "/docs").await;
    let policy = page.header(header::CONTENT_SECURITY_POLICY);
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
}

#[tokio::test]
async fn paths_methods_and_heads_are_answered_as_http_says() {
    let world = World::start(Engine::Sqlite).await;
    let admin = world.admin.clone();
    let ask = |method: Method, path: &str| request(&admin, method, path, &Value::Null);
    is_problem(&world.send(ask(Method::GET, "/nowhere")).await, 404, "not_found");
    is_problem(&world.send(ask(Method::GET, "/api/v1/stacks/")).await, 404, "not_found");
    let not_allowed = world.send(ask(Method::PATCH, STACKS)).await;
    is_problem(&not_allowed, 405, "method_not_allowed");
    assert_eq!(not_allowed.header(header::ALLOW), "GET,HEAD");
    let options = world.send(ask(Method::OPTIONS, "/api/v1/stacks/shop")).await.expect(204);
    for method in ["GET", "HEAD", "PUT", "DELETE"] {
        assert!(options.header(header::ALLOW).split(',').any(|allowed| allowed == method), "{}", options.header(header::ALLOW));
    }
    is_problem(&world.send(ask(Method::OPTIONS, "/nowhere")).await, 404, "not_found");
    let head = world.send(ask(Method::HEAD, STACKS)).await.expect(200);
    assert!(head.bytes.is_empty() && head.header(header::CONTENT_TYPE) == "application/json");
    let head = world.send(ask(Method::HEAD, "/api/v1/stacks/never-was")).await.expect(404);
    assert!(head.bytes.is_empty() && head.header(header::CONTENT_TYPE) == "application/problem+json");
    let listed = world.get(&admin, STACKS).await.expect(200);
    assert_eq!((listed.header(header::CACHE_CONTROL), listed.header("x-content-type-options")), ("no-store", "nosniff"));
}
