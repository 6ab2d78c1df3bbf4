use axum::body::Body;
use http::{HeaderValue, Method, Request, header};
use serde_json::{Value, json};

use crate::testing::{Answer, Engine, World, request};

/// Stands in bodies where a secret may stand.
const SECRET: &str = "hunter2";

fn is_complete(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status.as_u16(), answer.code()), (status, code), "{}", answer.json);
    let problem = &answer.json;
    assert_eq!(answer.header(header::CONTENT_TYPE), "application/problem+json", "{code}");
    assert_eq!(problem["type"], format!("urn:brokkr:problem:{code}"));
    assert_eq!(problem["status"], status);
    assert_eq!(problem["request_id"], answer.header("x-request-id"), "{code}");
    assert_eq!(problem["trace_id"], answer.header("x-trace-id"), "{code}");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 5), "{code}");
    assert!(!problem.to_string().contains(SECRET), "{problem}");
}

/// One wrong thing: what is sent, and the status, code and place of the answer.
struct Case {
    request: Request<Body>,
    status: u16,
    code: &'static str,
    place: &'static str,
}

fn case(request: Request<Body>, status: u16, code: &'static str, place: &'static str) -> Case {
    Case { request, status, code, place }
}

fn text(key: &str, method: Method, path: &str, media_type: &'static str, body: impl Into<Body>) -> Request<Body> {
    let mut request = request(key, method, path, &Value::Null);
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    *request.body_mut() = body.into();
    request
}

fn bodies(admin: &str) -> Vec<Case> {
    let stack = |body: &str| text(admin, Method::PUT, "/api/v1/stacks/shop", "application/json", body.to_owned());
    let yaml = |body: String| text(admin, Method::PUT, "/api/v1/stacks/shop/deployment-objects", "application/yaml", body);
    let map = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata: {{key: {SECRET}}}\n");
    vec![
        case(stack(&format!("{{\"labels\": {SECRET}")), 400, "malformed_body", "line 1, column 12"),
        case(stack(r#"{"targets": {"lables": {}}}"#), 400, "invalid_field", "targets.lables"),
        case(stack("{}x"), 400, "malformed_body", "line 1, column 3"),
        case(
            text(admin, Method::PUT, "/api/v1/stacks/shop", "text/plain", "{}"),
            415,
            "unsupported_media_type",
            "header Content-Type",
        ),
        case(yaml(format!("a: [{SECRET}\nb: }}")), 400, "malformed_body", ""),
        case(yaml(map.replace("kind: ConfigMap\n", "")), 422, "invalid_manifest", "[0].kind"),
        case(yaml(map.replace("metadata: {name: a}", "metadata: {}")), 422, "invalid_manifest", "[0].metadata.name"),
        case(yaml(format!("{map}---\n{map}")), 422, "duplicate_object", "[1]"),
        case(yaml(String::new()), 422, "no_objects", ""),
        case(yaml(format!("{map}# {}", "x".repeat(20 * 1024 * 1024))), 413, "body_too_large", ""),
    ]
}

fn requests(admin: &str, agent: &str) -> Vec<Case> {
    let get = |path: &str| request(admin, Method::GET, path, &Value::Null);
    let desired = "/api/v1/agent/desired-state";
    let with_protocol = |version: Option<&'static str>| {
        let mut request = request(agent, Method::GET, desired, &Value::Null);
        request.headers_mut().remove(brokkr_api::PROTOCOL_HEADER);
        if let Some(version) = version {
            request.headers_mut().insert(brokkr_api::PROTOCOL_HEADER, HeaderValue::from_static(version));
        }
        request
    };
    let reports = |body: Value| request(agent, Method::POST, "/api/v1/agent/reports", &body);
    let create = |path: &str, body: Value| request(admin, Method::POST, path, &body);
    vec![
        case(get("/api/v1/stacks/never-was"), 404, "not_found", ""),
        case(get("/api/v1/stacks/Not_A_Name"), 404, "not_found", "path"),
        case(get("/api/v1/stacks/shop/deployment-objects/77"), 404, "not_found", ""),
        case(get("/nowhere"), 404, "not_found", ""),
        case(request(admin, Method::DELETE, "/api/v1/stacks", &Value::Null), 405, "method_not_allowed", ""),
        case(get("/api/v1/stacks?limit=0"), 400, "invalid_query", "query limit"),
        case(get("/api/v1/stacks?limits=1"), 400, "invalid_query", "query"),
        case(
            request(admin, Method::DELETE, "/api/v1/keys/00000000-0000-7000-8000-000000000000", &Value::Null),
            404,
            "not_found",
            "",
        ),
        case(request("", Method::GET, "/api/v1/stacks", &Value::Null), 401, "unauthenticated", "header Authorization"),
        case(request(SECRET, Method::GET, "/api/v1/stacks", &Value::Null), 401, "unauthenticated", "header Authorization"),
        case(request(agent, Method::GET, "/api/v1/stacks", &Value::Null), 403, "forbidden", ""),
        case(with_protocol(None), 400, "invalid_header", "header brokkr-protocol"),
        case(with_protocol(Some("99")), 400, "protocol_unsupported", "header brokkr-protocol"),
        case(reports(json!({"epoch": "older", "reports": []})), 409, "epoch_changed", "epoch"),
        case(create("/api/v1/agents", json!({"name": "edge", "cluster": "edge"})), 409, "name_taken", ""),
        case(create("/api/v1/keys", json!({"name": "key", "role": "agent"})), 400, "invalid_field", "agent"),
        case(create("/api/v1/keys", json!({"name": "key", "role": "admin", "agent": "edge"})), 400, "invalid_field", "agent"),
    ]
}

#[tokio::test]
async fn every_wrong_request_is_a_problem_that_names_the_place_and_leaves_nothing_behind() {
    Engine::each(async |world: World| {
        let agent = world.agent("edge", json!({})).await;
        world.stack("shop", json!({})).await.expect(201);
        let before = (world.state.db.last_change().await.unwrap(), world.state.db.totals().await.unwrap());

        for case in bodies(&world.admin).into_iter().chain(requests(&world.admin, &agent.key)) {
            let what = format!("{} {}", case.request.method(), case.request.uri());
            let answer = world.send(case.request).await;
            is_complete(&answer, case.status, case.code);
            if !case.place.is_empty() {
                assert_eq!(answer.json["place"], case.place, "{what}");
            }
        }

        let after = (world.state.db.last_change().await.unwrap(), world.state.db.totals().await.unwrap());
        assert_eq!(before, after);
        let logs = world.capture.logs().join("\n");
        assert!(!logs.contains(SECRET), "{logs}");
        assert!(!logs.contains(&world.admin) && !logs.contains(&agent.key), "a key is in the log");
    })
    .await;
}

#[tokio::test]
async fn a_report_is_bounded() {
    let world = World::start(Engine::Sqlite).await;
    let agent = world.agent("edge", json!({})).await;
    world.stack("shop", json!({})).await.expect(201);
    world.apply("shop", "one").await.expect(201);
    let valid = world.report_of(&agent, "applied").await;
    let object = |name: &str, message: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "outcome": "failed", "message": message});
    let too_many = vec![object("a", ""); 2 * brokkr_api::deployment_objects::MAX_OBJECTS + 1];
    for objects in [vec![object(&"x".repeat(400), "")], vec![object("a", &"x".repeat(1_025))], too_many] {
        let mut body = valid.clone();
        body["reports"][0]["objects"] = json!(objects);
        let answer = world.post(&agent.key, "/api/v1/agent/reports", body).await;
        is_complete(&answer, 400, "invalid_field");
        assert_eq!(answer.json["place"], "reports[0]");
    }
    let mut body = valid.clone();
    body["reports"] = json!(vec![valid["reports"][0].clone(); brokkr_api::reports::MAX_REPORTS + 1]);
    is_complete(&world.post(&agent.key, "/api/v1/agent/reports", body).await, 400, "invalid_field");
}

#[tokio::test]
async fn a_phase_that_an_agent_may_not_report_refuses_the_whole_request() {
    Engine::each(async |world: World| {
        let agent = world.agent("edge", json!({})).await;
        for name in ["one", "two"] {
            world.stack(name, json!({})).await.expect(201);
            world.apply(name, "x").await.expect(201);
        }
        let desired = world.desired(&agent).await.json;
        let report = |at: usize, phase: &str| {
            let deployment = &desired["deployments"][at];
            json!({"stack_id": deployment["stack_id"], "revision": deployment["revision"], "phase": phase, "attempt": 1})
        };
        let body = json!({"epoch": desired["epoch"], "reports": [report(0, "applied"), report(1, "orphaned")]});
        let answer = world.post(&agent.key, "/api/v1/agent/reports", body).await;
        is_complete(&answer, 400, "invalid_field");
        assert_eq!(answer.json["place"], "reports[1].phase");
        for name in ["one", "two"] {
            let rollout = world.get(&world.admin, &format!("/api/v1/stacks/{name}/rollout")).await.expect(200).json;
            assert_eq!(rollout["finished"], 0, "nothing of it was stored");
        }
    })
    .await;
}
