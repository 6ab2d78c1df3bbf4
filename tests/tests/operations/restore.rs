use std::path::Path;

use brokkr_api::{Labels, Name, agents::CreateAgent};
use brokkr_tests::{
    fleet::{Broker, Engine, LIMIT, config_map},
    http::client,
    lab::{Scratch, until},
    postgres::Postgres,
    process::Daemon,
};
use reqwest::{Method, StatusCode, header};
use serde_json::Value;

/// An agent that is only its requests.
struct Edge {
    key: String,
}

impl Edge {
    async fn of(broker: &Broker) -> Self {
        let name: Name = "edge".parse().unwrap();
        let request = CreateAgent { name: name.clone(), cluster: name, labels: Labels::default() };
        Self { key: broker.admin().create_agent(&request).await.unwrap().secret }
    }

    /// Status, `ETag` and body of a poll that does not wait.
    async fn poll(&self, broker: &Broker, etag: &str) -> (StatusCode, String, Value) {
        let request = client().unwrap().get(format!("{}/api/v1/agent/desired-state", broker.base)).bearer_auth(&self.key);
        let request = request.header(brokkr_api::PROTOCOL_HEADER, brokkr_api::PROTOCOL_VERSION.to_string());
        let answer = request.header(header::IF_NONE_MATCH, etag).send().await.unwrap();
        let tag = answer.headers().get(header::ETAG).map_or("", |value| value.to_str().unwrap()).to_owned();
        (answer.status(), tag, answer.json().await.unwrap_or_default())
    }
}

async fn call(broker: &Broker, key: &str, method: Method, path: &str) -> Value {
    let request = client().unwrap().request(method, format!("{}{path}", broker.base)).bearer_auth(key);
    request.send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
}

/// A copy of the database of a broker that has ended.
fn back_up(database: &str, folder: &Path) -> String {
    match database.strip_prefix("sqlite:") {
        Some(file) => {
            let copy = folder.join("restored.db");
            std::fs::copy(file, &copy).unwrap();
            format!("sqlite:{}", copy.display())
        }
        None => {
            let name = database.rsplit('/').next().unwrap().split('?').next().unwrap();
            let copy = format!("{name}_restored");
            let other = Postgres::shared().create_database().unwrap();
            Postgres::shared().query(&other, &format!("CREATE DATABASE {copy} TEMPLATE {name}")).unwrap();
            Postgres::shared().description().url(&copy)
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_backup_deletes_nothing_and_mixes_up_no_generations() {
    for engine in Engine::ALL {
        let folder = Scratch::new("restore").unwrap();
        let mut broker = Broker::start(engine, &[]).await.unwrap();
        let (key, edge) = (broker.key(), Edge::of(&broker).await);
        let stack: Name = "shop".parse().unwrap();
        let targets = brokkr_api::TargetSelector { labels: None, names: vec!["edge".parse().unwrap()] };
        let put = brokkr_api::stacks::PutStack { targets, ..brokkr_api::stacks::PutStack::default() };
        broker.admin().put_stack(&stack, &put).await.unwrap();
        broker.send(&stack, &config_map("shop", "a", "before the backup")).await;

        assert!(broker.process.terminate(LIMIT).await.unwrap().success());
        let backup = back_up(&broker.database, folder.path());
        broker.again().await.unwrap();
        let lost = broker.send(&stack, &config_map("shop", "a", "lost")).await;
        let known = {
            let look = || async {
                let (_, etag, state) = edge.poll(&broker, "").await;
                if state["deployments"][0]["generation"] == 2 { Ok((etag, state)) } else { Err(state.to_string()) }
            };
            until("the second generation", LIMIT, look).await.unwrap()
        };
        drop(broker);

        // Somebody starts a broker on the backup and thinks of nothing.
        let restored = Broker::at(&backup, &[]).await.unwrap();
        let (status, _, problem) = edge.poll(&restored, &known.0).await;
        assert_eq!((status.is_success(), &problem["code"]), (false, &Value::from("database_restored")), "{engine:?}: {problem}");
        let epoch = || Daemon::new("brokkr-broker").unwrap().args(["restore-epoch"]).env("BROKKR__DATABASE__URL", &backup);
        let mut command = epoch().start().unwrap();
        assert_eq!(command.wait(LIMIT).await.unwrap().code(), Some(0), "{:#?}", command.output().lines());
        let said = command.output().lines().join("\n");
        assert!(said.contains("the whole fleet is suspended") && said.contains("resume"), "{said}");

        // The running broker notices; the agent is given everything, suspended, under numbers that it has never seen.
        let look = || async {
            let (status, _, state) = edge.poll(&restored, &known.0).await;
            if status == StatusCode::OK { Ok(state) } else { Err(state.to_string()) }
        };
        let state = until("the new epoch", LIMIT, look).await.unwrap();
        assert_ne!(state["epoch"], known.1["epoch"]);
        let (old, new) = (&known.1["deployments"][0], &state["deployments"][0]);
        assert_eq!(new["generation"], 1, "the content of the backup");
        assert!(new["revision"].as_u64().unwrap() > old["revision"].as_u64().unwrap(), "{new}");
        assert_eq!(new["suspended"]["scope"], "fleet", "{new}");

        call(&restored, &key, Method::DELETE, "/api/v1/fleet/suspension").await;
        let url = format!("{}/api/v1/stacks/shop/deployment-objects", restored.base);
        let manifests = config_map("shop", "a", "after the restore");
        let sent = client().unwrap().put(url).bearer_auth(&key).header(header::CONTENT_TYPE, "application/yaml").body(manifests);
        let accepted: Value = sent.send().await.unwrap().error_for_status().unwrap().json().await.unwrap();
        assert!(accepted["generation"].as_u64().unwrap() > lost.deployment_object.generation, "{engine:?}: {accepted}");

        let mut quiet = epoch().args(["--no-suspend", "--jump", "5"]).start().unwrap();
        assert_eq!(quiet.wait(LIMIT).await.unwrap().code(), Some(0));
        assert!(call(&restored, &key, Method::GET, "/api/v1/fleet").await["suspended"].is_null());
    }
}
