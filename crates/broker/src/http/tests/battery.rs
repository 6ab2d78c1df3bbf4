//! Wrong input on every route of the document, by rules and not by chance: a new route is covered by being documented.

mod cases;

use axum::body::Body;
use http::{HeaderValue, Request, header};
use serde_json::{Value, json};

use crate::{
    http::openapi,
    testing::{Answer, Engine, World, config_map, request},
};
use cases::{Case, Operation, operations};

/// What every answer is, whatever was sent.
#[track_caller]
fn fits(operation: &Operation, case: &Case, answer: &Answer) {
    let what = format!("{} {}: {}", operation.method, operation.path, case.what);
    let status = answer.status.as_u16();
    assert!(status < 500, "{what}: {status} {}", answer.json);
    let documented = |status: &str| operation.responses.iter().any(|known| known == status);
    assert!(documented(&status.to_string()) || documented(&format!("{}XX", status / 100)), "{what}: {status} is not documented");
    assert_eq!(answer.header("x-request-id").len(), 36, "{what}");
    if status >= 400 {
        assert_eq!(answer.header(header::CONTENT_TYPE), "application/problem+json", "{what}");
        assert_eq!(answer.json["status"], status, "{what}: {}", answer.json);
        let code = answer.code();
        assert!(brokkr_api::ErrorCode::ALL.iter().any(|(known, _)| known.as_str() == code), "{what}: {code}");
        assert_eq!(answer.json["request_id"], answer.header("x-request-id"), "{what}");
    } else {
        assert!(!case.must_be_refused, "{what}: {status} {}", answer.json);
        if status < 300 {
            let tagged = answer.headers.contains_key(header::ETAG);
            assert_eq!(tagged, operation.is_tagged(status), "{what}: an ETag is documented where there is one");
        }
    }
}

async fn send(world: &World, key: &str, operation: &Operation, case: &Case) -> Answer {
    let mut sent = request(key, operation.method.clone(), "/", &Value::Null);
    *sent.uri_mut() = case.target.parse().unwrap_or_else(|_| panic!("{}", case.target));
    *sent.body_mut() = Body::from(case.body.clone());
    if let Some(content_type) = case.content_type {
        sent.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    if let Some((name, value)) = &case.header {
        sent.headers_mut().insert(*name, HeaderValue::from_bytes(value).unwrap());
    }
    world.send(sent).await
}

async fn furnish(world: &World) -> [(&'static str, String); 3] {
    let agent = world.agent("edge", json!({"a": "b"})).await;
    world.agent("spare", json!({})).await;
    for name in ["shop", "spare"] {
        world.stack(name, json!({})).await.expect(201);
        world.put(&world.admin, &format!("/api/v1/stacks/{name}/deployment-objects"), config_map("one")).await.expect(201);
    }
    [("admin", world.admin.clone()), ("generator", world.generator("team").await), ("agent", agent.key)]
}

#[tokio::test]
async fn whatever_is_wrong_on_any_route_is_a_problem_and_never_a_5xx() {
    let document: Value = serde_json::from_str(&openapi()).unwrap();
    let operations = operations(&document);
    assert!(operations.len() > 20);
    Engine::each(async |world: World| {
        let callers = furnish(&world).await;
        let mut sent = 0;
        for operation in &operations {
            let own = if operation.path.starts_with("/api/v1/agent/") { "agent" } else { "admin" };
            for (role, key) in &callers {
                for case in operation.cases(&document) {
                    // What differs between callers is decided before the body is read: one wrong body is enough for the others.
                    if *role != own && !case.for_everybody {
                        continue;
                    }
                    let answer = send(&world, key, operation, &case).await;
                    fits(operation, &case, &answer);
                    sent += 1;
                }
            }
        }
        assert!(sent > 50 * operations.len(), "only {sent} requests");
        world.get(&world.admin, "/api/v1/stacks").await.expect(200);
        let errors: Vec<_> = world.capture.logs().into_iter().filter(|line| line.contains("\"ERROR\"")).collect();
        assert_eq!(errors, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn a_key_that_is_none_opens_nothing_however_it_is_written() {
    let world = World::start(Engine::Sqlite).await;
    let long = "x".repeat(16 * 1024);
    let bearer = |key: &str| format!("Bearer {key}").into_bytes();
    let cut = &world.admin[..world.admin.len() - 1];
    for value in [
        b"Bearer".to_vec(),
        b"Bearer ".to_vec(),
        bearer(&long),
        bearer("\u{fffd}"),
        b"Bearer \xff\xfe".to_vec(),
        bearer(cut),
        format!("Basic {}", world.admin).into_bytes(),
        bearer(&format!("{0}, {0}", world.admin)),
    ] {
        let mut request = Request::builder().uri("/api/v1/stacks").body(Body::empty()).unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, HeaderValue::from_bytes(&value).unwrap());
        assert_eq!(world.send(request).await.expect(401).code(), "unauthenticated");
    }
}
