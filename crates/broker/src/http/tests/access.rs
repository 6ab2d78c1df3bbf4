use std::{collections::BTreeSet, time::Duration};

use brokkr_api::keys::{Permission as P, Role};
use http::Method;
use serde_json::{Value, json};

use crate::{
    http::openapi,
    testing::{Answer, Engine, World},
};

/// What each route asks for: a permission, a registration token, or nothing. Which role has which permission is [`Role::allows`].
pub(super) const ROUTES: &[(&str, &str, Needs)] = &[
    ("POST", "/api/v1/keys", Needs::Permission(P::IdentitiesWrite)),
    ("GET", "/api/v1/keys", Needs::Permission(P::IdentitiesWrite)),
    ("DELETE", "/api/v1/keys/{key}", Needs::Permission(P::IdentitiesWrite)),
    ("POST", "/api/v1/generators", Needs::Permission(P::IdentitiesWrite)),
    ("GET", "/api/v1/generators", Needs::Permission(P::IdentitiesWrite)),
    ("GET", "/api/v1/generators/{generator}", Needs::Permission(P::IdentitiesWrite)),
    ("PATCH", "/api/v1/generators/{generator}", Needs::Permission(P::IdentitiesWrite)),
    ("POST", "/api/v1/registration-tokens", Needs::Permission(P::AgentsWrite)),
    ("GET", "/api/v1/registration-tokens", Needs::Permission(P::AgentsWrite)),
    ("DELETE", "/api/v1/registration-tokens/{token}", Needs::Permission(P::AgentsWrite)),
    ("POST", "/api/v1/enrolments", Needs::RegistrationToken),
    ("POST", "/api/v1/agents", Needs::Permission(P::AgentsWrite)),
    ("GET", "/api/v1/agents", Needs::Permission(P::AgentsRead)),
    ("GET", "/api/v1/agents/{agent}", Needs::Permission(P::AgentsRead)),
    ("PATCH", "/api/v1/agents/{agent}", Needs::Permission(P::AgentsWrite)),
    ("PUT", "/api/v1/agents/{agent}/suspension", Needs::Permission(P::AgentsWrite)),
    ("DELETE", "/api/v1/agents/{agent}/suspension", Needs::Permission(P::AgentsWrite)),
    ("PUT", "/api/v1/agents/{agent}/deactivation", Needs::Permission(P::AgentsWrite)),
    ("DELETE", "/api/v1/agents/{agent}/deactivation", Needs::Permission(P::AgentsWrite)),
    ("POST", "/api/v1/agents/{agent}/key-rotation", Needs::Permission(P::AgentsWrite)),
    ("GET", "/api/v1/agents/{agent}/deployments", Needs::Permission(P::AgentsRead)),
    ("POST", "/api/v1/agents:abandon", Needs::Permission(P::AgentsWrite)),
    ("GET", "/api/v1/fleet", Needs::Permission(P::AgentsRead)),
    ("PUT", "/api/v1/fleet/suspension", Needs::Permission(P::FleetWrite)),
    ("DELETE", "/api/v1/fleet/suspension", Needs::Permission(P::FleetWrite)),
    ("GET", "/api/v1/tracing", Needs::Permission(P::AgentsRead)),
    ("PUT", "/api/v1/tracing", Needs::Permission(P::FleetWrite)),
    ("DELETE", "/api/v1/tracing", Needs::Permission(P::FleetWrite)),
    ("GET", "/api/v1/tracing/agents", Needs::Permission(P::AgentsRead)),
    ("GET", "/api/v1/stacks", Needs::Permission(P::StacksRead)),
    ("PUT", "/api/v1/stacks/{stack}", Needs::Permission(P::StacksWrite)),
    ("GET", "/api/v1/stacks/{stack}", Needs::Permission(P::StacksRead)),
    ("DELETE", "/api/v1/stacks/{stack}", Needs::Permission(P::StacksWrite)),
    ("POST", "/api/v1/stacks/{stack}/targets:preview", Needs::Permission(P::StacksWrite)),
    ("PUT", "/api/v1/stacks/{stack}/suspension", Needs::Permission(P::StacksWrite)),
    ("DELETE", "/api/v1/stacks/{stack}/suspension", Needs::Permission(P::StacksWrite)),
    ("POST", "/api/v1/stacks/{stack}/approvals", Needs::Permission(P::StacksWrite)),
    ("POST", "/api/v1/stacks/{stack}/rollback", Needs::Permission(P::StacksWrite)),
    ("GET", "/api/v1/stacks/{stack}/deployments", Needs::Permission(P::StacksRead)),
    ("GET", "/api/v1/stacks/{stack}/deployments/{agent}", Needs::Permission(P::StacksRead)),
    ("PUT", "/api/v1/stacks/{stack}/deployment-objects", Needs::Permission(P::StacksWrite)),
    ("GET", "/api/v1/stacks/{stack}/deployment-objects", Needs::Permission(P::StacksRead)),
    ("GET", "/api/v1/stacks/{stack}/deployment-objects/{generation}", Needs::Permission(P::ContentRead)),
    ("GET", "/api/v1/stacks/{stack}/rollout", Needs::Permission(P::StacksRead)),
    ("POST", "/api/v1/work-orders", Needs::Permission(P::WorkOrdersWrite)),
    ("GET", "/api/v1/work-orders", Needs::Permission(P::WorkOrdersRead)),
    ("GET", "/api/v1/work-orders/{order}", Needs::Permission(P::WorkOrdersRead)),
    ("GET", "/api/v1/work-orders/{order}/log", Needs::Permission(P::ContentRead)),
    ("POST", "/api/v1/work-orders/{order}/cancel", Needs::Permission(P::WorkOrdersWrite)),
    ("POST", "/api/v1/work-orders/{order}/retry", Needs::Permission(P::WorkOrdersWrite)),
    ("POST", "/api/v1/webhooks", Needs::Permission(P::WebhooksWrite)),
    ("GET", "/api/v1/webhooks", Needs::Permission(P::WebhooksRead)),
    ("GET", "/api/v1/webhooks/{webhook}", Needs::Permission(P::WebhooksRead)),
    ("PATCH", "/api/v1/webhooks/{webhook}", Needs::Permission(P::WebhooksWrite)),
    ("DELETE", "/api/v1/webhooks/{webhook}", Needs::Permission(P::WebhooksWrite)),
    ("POST", "/api/v1/webhooks/{webhook}/test", Needs::Permission(P::WebhooksWrite)),
    ("POST", "/api/v1/webhooks/{webhook}/rotate", Needs::Permission(P::WebhooksWrite)),
    ("GET", "/api/v1/webhooks/{webhook}/deliveries", Needs::Permission(P::WebhooksRead)),
    ("GET", "/api/v1/webhooks/{webhook}/deliveries/{delivery}", Needs::Permission(P::WebhooksRead)),
    ("POST", "/api/v1/webhooks/{webhook}/replay", Needs::Permission(P::WebhooksWrite)),
    ("GET", "/api/v1/event-types", Needs::Permission(P::WebhooksRead)),
    ("GET", "/api/v1/event-types/{type}", Needs::Permission(P::WebhooksRead)),
    ("GET", "/api/v1/events", Needs::Permission(P::EventsRead)),
    ("GET", "/api/v1/audit", Needs::Permission(P::AuditRead)),
    ("PUT", "/api/v1/agent/cluster", Needs::Permission(P::AgentWork)),
    ("POST", "/api/v1/agent/key", Needs::Permission(P::AgentWork)),
    ("GET", "/api/v1/agent/desired-state", Needs::Permission(P::AgentWork)),
    ("GET", "/api/v1/agent/stacks/{stack}/content/{digest}", Needs::Permission(P::AgentWork)),
    ("PUT", "/api/v1/agent/tracing", Needs::Permission(P::AgentWork)),
    ("POST", "/api/v1/agent/reports", Needs::Permission(P::AgentWork)),
    ("POST", "/api/v1/agent/work-orders:claim", Needs::Permission(P::AgentWork)),
    ("POST", "/api/v1/agent/work-orders:renew", Needs::Permission(P::AgentWork)),
    ("POST", "/api/v1/agent/work-orders:report", Needs::Permission(P::AgentWork)),
    ("POST", "/api/v1/agent/webhook-deliveries:claim", Needs::Permission(P::AgentWork)),
    ("POST", "/api/v1/agent/webhook-deliveries:report", Needs::Permission(P::AgentWork)),
];

/// What a route asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    Permission(P),
    RegistrationToken,
}

/// Whoever may call: a role with all or one of its permissions, or a registration token.
struct Principal {
    what: &'static str,
    key: String,
    has: Box<dyn Fn(Needs) -> bool>,
}

#[test]
fn every_documented_route_has_a_row() {
    let document: Value = serde_json::from_str(&openapi()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let methods = ["get", "put", "post", "delete", "patch"];
    let documented: BTreeSet<_> = paths
        .iter()
        .filter(|(path, _)| !PUBLIC.contains(&path.as_str()))
        .flat_map(|(path, of_path)| {
            let methods = of_path.as_object().unwrap().keys().filter(|key| methods.contains(&key.as_str()));
            methods.map(move |method| (method.to_uppercase(), path.clone()))
        })
        .collect();
    let rows: BTreeSet<_> = ROUTES.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
    assert_eq!(rows, documented);
}

/// Open to everybody.
pub(super) const PUBLIC: &[&str] = &["/api/v1/openapi.json", "/docs", "/healthz", "/readyz", "/metrics"];

async fn principals(world: &World) -> Vec<Principal> {
    let of_role = |role: Role| Box::new(move |needs| matches!(needs, Needs::Permission(wanted) if role.allows(wanted))) as _;
    let make = async |role: Role| {
        let name = format!("test-{}", role.as_str());
        let made = world.post(&world.admin, "/api/v1/keys", json!({"name": name, "role": role})).await.expect(201).json;
        made["secret"].as_str().unwrap().to_owned()
    };
    let narrow = json!({"name": "narrow", "role": "admin", "scopes": ["stacks:read"]});
    let narrow = world.post(&world.admin, "/api/v1/keys", narrow).await.expect(201).json;
    let token =
        world.post(&world.admin, "/api/v1/registration-tokens", json!({"name": "t", "max_uses": 100})).await.expect(201).json;
    let text = |made: &Value| made["secret"].as_str().unwrap().to_owned();
    vec![
        Principal { what: "admin", key: make(Role::Admin).await, has: of_role(Role::Admin) },
        Principal { what: "operator", key: make(Role::Operator).await, has: of_role(Role::Operator) },
        Principal { what: "viewer", key: make(Role::Viewer).await, has: of_role(Role::Viewer) },
        Principal { what: "generator", key: world.generator("team").await, has: of_role(Role::Generator) },
        Principal { what: "agent", key: world.agent("edge", json!({})).await.key, has: of_role(Role::Agent) },
        Principal {
            what: "an admin's key for reading stacks",
            key: text(&narrow),
            has: Box::new(|needs| needs == Needs::Permission(P::StacksRead)),
        },
        Principal { what: "token", key: text(&token), has: Box::new(|needs| needs == Needs::RegistrationToken) },
    ]
}

#[tokio::test]
async fn each_route_is_open_to_those_who_have_its_permission_and_closed_to_everybody_else() {
    let world = World::start(Engine::Sqlite).await;
    let principals = principals(&world).await;
    for (method, template, needs) in ROUTES {
        let path = brokkr_api::routes::fill(template, &["00000000-0000-7000-8000-000000000000", "1"]);
        let method: Method = method.parse().unwrap();
        let body = if method == Method::GET || method == Method::DELETE { Value::Null } else { json!({}) };
        let answer = world.call("", method.clone(), &path, body.clone()).await.expect(401);
        assert_eq!((answer.code(), answer.header("www-authenticate")), ("unauthenticated", "Bearer"), "{method} {path}");
        for principal in &principals {
            // The newest entry of the audit log is the one of this request.
            world.clock.advance(Duration::from_millis(1));
            let answer = world.call(&principal.key, method.clone(), &path, body.clone()).await;
            let status = answer.status.as_u16();
            let open = status != 403 && status != 401 && status < 500;
            assert_eq!(open, (principal.has)(*needs), "{} calls {method} {path}: {}", principal.what, answer.json);
            if status == 403 {
                let page = world.get(&world.admin, "/api/v1/audit?limit=1&action=request.denied").await.expect(200).json;
                let entry = &page["items"][0];
                assert_eq!(entry["request_id"], answer.header("x-request-id"), "the refusal is in the audit log");
                assert_eq!(entry["resource_name"], format!("{method} {template}"));
            }
        }
    }
}

#[test]
fn an_admin_does_no_agents_work_and_a_viewer_reads_no_content() {
    for permission in [P::StacksWrite, P::ContentRead, P::AgentsWrite, P::FleetWrite, P::AuditRead, P::IdentitiesWrite] {
        assert!(!Role::Viewer.allows(permission) && Role::Admin.allows(permission), "{permission:?}");
    }
    assert!(!Role::Operator.allows(P::IdentitiesWrite) && !Role::Operator.allows(P::AuditRead));
    for role in Role::ALL {
        assert_eq!(role.allows(P::AgentWork), role == Role::Agent, "{role:?}");
    }
}

#[tokio::test]
async fn a_made_up_key_costs_no_query_and_an_unknown_one_opens_nothing() {
    let world = World::start(Engine::Sqlite).await;
    let elsewhere = World::start(Engine::Postgres).await;
    // Another installation's key, with other randomness than this one's.
    let unknown = elsewhere.generator("team").await;
    for key in ["brokkr_admin_", "hunter2", &world.admin[1..]] {
        let answer = world.get(key, "/api/v1/stacks").await.expect(401);
        assert_eq!(answer.code(), "unauthenticated");
        assert_eq!(world.statements(&answer), [""; 0], "{key}");
    }
    assert_eq!(world.get(&unknown, "/api/v1/stacks").await.expect(401).code(), "unauthenticated");
}

#[tokio::test]
async fn what_belongs_to_another_generator_does_not_exist() {
    Engine::each(async |world: World| {
        let (mine, yours) = (world.generator("mine").await, world.generator("yours").await);
        let settings = json!({"labels": {}, "targets": {"labels": {}}});
        let made = world.put(&yours, "/api/v1/stacks/shop", settings.clone()).await.expect(201).json;
        world.put(&yours, "/api/v1/stacks/shop/deployment-objects", crate::testing::config_map("one")).await.expect(201);
        world.stack("house", json!({})).await.expect(201);

        for name in ["shop", "house", "never-was"] {
            let stack = format!("/api/v1/stacks/{name}");
            let same = |answer: Answer| {
                let answer = answer.expect(404);
                assert_eq!((answer.code(), &answer.json["detail"]), ("not_found", &json!(format!("there is no stack {name}"))));
            };
            same(world.get(&mine, &stack).await);
            same(world.delete(&mine, &stack).await);
            for below in ["rollout", "deployment-objects", "deployment-objects/1"] {
                same(world.get(&mine, &format!("{stack}/{below}")).await);
            }
            same(world.put(&mine, &format!("{stack}/deployment-objects"), crate::testing::config_map("two")).await);
        }
        assert_eq!(world.get(&mine, "/api/v1/stacks").await.expect(200).json["items"], json!([]));

        let own = world.put(&mine, "/api/v1/stacks/shop", settings).await.expect(201).json;
        assert_ne!(own["id"], made["id"], "names belong to their owner");
        let listed = world.get(&yours, "/api/v1/stacks").await.expect(200).json;
        assert_eq!(listed["items"].as_array().unwrap().len(), 1);
        assert_eq!(listed["items"][0]["id"], made["id"]);
        let all = world.get(&world.admin, "/api/v1/stacks").await.expect(200).json;
        assert_eq!(all["items"].as_array().unwrap().len(), 3, "an admin sees everybody's");
    })
    .await;
}

#[tokio::test]
async fn a_revoked_key_opens_nothing_more() {
    Engine::each(async |world: World| {
        let body = json!({"name": "second", "role": "admin"});
        let made = world.post(&world.admin, "/api/v1/keys", body).await.expect(201).json;
        let key = made["secret"].as_str().unwrap();
        world.get(key, "/api/v1/stacks").await.expect(200);
        let path = format!("/api/v1/keys/{}", made["id"].as_str().unwrap());
        world.delete(&world.admin, &path).await.expect(204);

        super::ends(async {
            // The feed follows its database; on this broker it is told at once.
            while world.get(key, "/api/v1/stacks").await.status != 401 {
                tokio::task::yield_now().await;
            }
        })
        .await;

        world.delete(&world.admin, &path).await.expect(404);
        let listed = world.get(&world.admin, "/api/v1/keys").await.expect(200).json.to_string();
        assert!(!listed.contains(key) && !listed.contains("digest"), "{listed}");
    })
    .await;
}
