use brokkr_api::{ErrorCode, Problem, page::PageQuery};
use brokkr_tests::{
    fleet::{Broker, Engine},
    http::client,
};
use reqwest::{Method, Response};

/// Stands in every body that must be stored and logged nowhere.
const MARK: &str = "hunter2-in-the-body";

struct Case {
    what: &'static str,
    method: Method,
    path: &'static str,
    content_type: &'static str,
    body: String,
    code: ErrorCode,
    place: Option<&'static str>,
}

fn put(
    what: &'static str,
    path: &'static str,
    content_type: &'static str,
    body: &str,
    code: ErrorCode,
    place: Option<&'static str>,
) -> Case {
    Case { what, method: Method::PUT, path, content_type, body: body.replace("MARK", MARK), code, place }
}

fn cases() -> Vec<Case> {
    let (stack, objects) = ("/api/v1/stacks/shop", "/api/v1/stacks/shop/deployment-objects");
    let (json, yaml) = ("application/json", "application/yaml");
    let two = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: MARK}\n";
    let large = format!("# {MARK}\n{}", "x: y\n".repeat(4_000_000));
    vec![
        put("malformed JSON", stack, json, r#"{"labels": {"a": "MARK""#, ErrorCode::MalformedBody, Some("line 1, column 38")),
        put("an unknown key", stack, json, r#"{"MARK": 1}"#, ErrorCode::InvalidField, Some(MARK)),
        put("a wrong type", stack, json, r#"{"targets": {"names": [7]}}"#, ErrorCode::InvalidField, Some("targets.names[0]")),
        put("malformed YAML", objects, yaml, "a: [MARK\nb: }", ErrorCode::MalformedBody, Some("line 2, column 2")),
        put("malformed JSON manifests", objects, json, "[{MARK", ErrorCode::MalformedBody, Some("line 1, column 3")),
        put("no kind", objects, yaml, "apiVersion: v1\nmetadata: {name: MARK}\n", ErrorCode::InvalidManifest, Some("[0].kind")),
        put(
            "no name",
            objects,
            yaml,
            "apiVersion: v1\nkind: MARK\nmetadata: {}\n",
            ErrorCode::InvalidManifest,
            Some("[0].metadata.name"),
        ),
        put("a duplicate", objects, yaml, &format!("{two}---\n{two}"), ErrorCode::DuplicateObject, Some("[1]")),
        put("nothing", objects, yaml, "# MARK\n", ErrorCode::NoObjects, None),
        put("20 MB", objects, yaml, &large, ErrorCode::BodyTooLarge, None),
        put("another content type", objects, "text/csv", "MARK", ErrorCode::UnsupportedMediaType, Some("header Content-Type")),
        put("an unknown stack", "/api/v1/stacks/nobodys/deployment-objects", yaml, two, ErrorCode::NotFound, None),
        put("a name that is none", "/api/v1/stacks/Not_A_Name", json, "{}", ErrorCode::NotFound, Some("path")),
        Case {
            what: "an unknown key id",
            method: Method::DELETE,
            path: "/api/v1/keys/01890a5d-ac96-774b-bcce-b302099a8057",
            content_type: json,
            body: String::new(),
            code: ErrorCode::NotFound,
            place: None,
        },
        Case {
            what: "an unknown query key",
            method: Method::GET,
            path: "/api/v1/stacks?limt=1",
            content_type: json,
            body: String::new(),
            code: ErrorCode::InvalidQuery,
            place: Some("query"),
        },
    ]
}

async fn problem(what: &str, response: Response) -> Problem {
    let status = response.status().as_u16();
    assert!((400..500).contains(&status), "{what}: status {status}");
    assert_eq!(response.headers()["content-type"], "application/problem+json", "{what}");
    let problem: Problem = response.json().await.unwrap();
    assert_eq!(problem.status, status, "{what}");
    assert!(problem.request_id.is_some() && !problem.detail.is_empty(), "{what}: {problem:?}");
    problem
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_a_problem_that_names_the_place_and_nothing_is_stored_or_logged() {
    for engine in Engine::ALL {
        let broker = Broker::start(engine, &[("BROKKR__TELEMETRY__LOG__LEVEL", "debug")]).await.unwrap();
        let stack = broker.stack("shop", &[]).await;
        for case in cases() {
            let url = format!("{}{}", broker.base, case.path);
            let request =
                client().unwrap().request(case.method, url).header("content-type", case.content_type).bearer_auth(broker.key());
            let problem = problem(case.what, request.body(case.body).send().await.unwrap()).await;
            assert_eq!(problem.code, case.code, "{engine:?}: {}: {problem:?}", case.what);
            if case.place.is_some() {
                assert_eq!(problem.place.as_deref(), case.place, "{engine:?}: {}: {problem:?}", case.what);
            }
        }
        let stored = broker.admin().list_deployment_objects(&stack, &PageQuery::default()).await.unwrap();
        assert!(stored.items.is_empty(), "{stored:?}");
        let stacks = broker.admin().list_stacks(&brokkr_api::stacks::StacksQuery::default()).await.unwrap();
        assert_eq!(stacks.items.len(), 1);
        assert!(!broker.process.output().lines().iter().any(|line| line.contains(MARK)), "the log has something of a body");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_a_missing_and_a_revoked_key_open_nothing() {
    use brokkr_api::keys::{CreateKey, Role};
    for engine in Engine::ALL {
        let broker = Broker::start(engine, &[]).await.unwrap();
        let url = format!("{}/api/v1/stacks", broker.base);
        let ask = async |key: Option<&str>| {
            let request = client().unwrap().get(&url);
            key.map_or_else(|| request.try_clone().unwrap(), |key| client().unwrap().get(&url).bearer_auth(key))
                .send()
                .await
                .unwrap()
        };
        let request = CreateKey {
            name: "temporary".parse().unwrap(),
            role: Role::Admin,
            generator: None,
            agent: None,
            scopes: Vec::new(),
            expires_at: None,
        };
        let temporary = broker.admin().create_key(&request).await.unwrap();
        assert!(ask(Some(&temporary.secret)).await.status().is_success());
        broker.admin().revoke_key(temporary.key.id).await.unwrap();
        let deadline = tokio::time::Instant::now() + brokkr_tests::fleet::LIMIT;
        while ask(Some(&temporary.secret)).await.status().is_success() {
            assert!(tokio::time::Instant::now() < deadline, "{engine:?}: the revoked key still opens");
        }
        let mistyped = broker.key().replace("brokkr_admin_", "brokkr_admin_x");
        for (what, key) in
            [("missing", None), ("mistyped", Some(mistyped.as_str())), ("revoked", Some(temporary.secret.as_str()))]
        {
            let problem = problem(what, ask(key).await).await;
            assert_eq!(problem.code, ErrorCode::Unauthenticated, "{engine:?}: {what}");
            assert_eq!(problem.place.as_deref(), Some("header Authorization"));
        }
        let log = broker.process.output().lines().join("\n");
        assert!(!log.contains(&temporary.secret) && !log.contains(&broker.key()), "a key is in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cluster_refuses_is_reported_by_field_and_its_value_is_told_nowhere() {
    let cluster = brokkr_tests::cluster::Cluster::shared().await.unwrap();
    let namespace = cluster.create_namespace("refused").await.unwrap();
    let broker = Broker::start(Engine::Sqlite, &[("BROKKR__TELEMETRY__LOG__LEVEL", "debug")]).await.unwrap();
    let agent = broker.agent(&cluster.unique("refuser"), &[("BROKKR__TELEMETRY__LOG__LEVEL", "debug")]).await.unwrap();
    let stack = broker.stack("shop", &[&agent]).await;
    for (kind, field) in
        [("ConfigMap", "data: {a: [MARK]}"), ("Secret", "stringData: {a: {b: MARK}}"), ("Secret", "data: {a: MARK}")]
    {
        let field = field.replace("MARK", MARK);
        let manifest = format!("apiVersion: v1\nkind: {kind}\nmetadata: {{name: a, namespace: {namespace}}}\n{field}\n");
        broker.send(&stack, &manifest).await;
        let rollout = broker.settle(&stack).await;
        let error = rollout.deployments[0].error.as_ref().unwrap();
        assert_eq!(error.reason, "invalid", "{error:?}");
        assert!(!format!("{rollout:?}").contains(MARK), "{rollout:?}");
    }
    for output in [broker.process.output(), agent.process.output()] {
        assert!(!output.lines().iter().any(|line| line.contains(MARK)), "a value is in a log");
    }
}
