//! A broker that is killed between any two statements of a write: the write has happened entirely or not at all.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
};

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};

use super::schema;
use crate::{
    store::sql::fault,
    testing::{Answer, Engine, TestAgent, World},
};

/// What the dying process is told, as JSON.
const ORDER: &str = "BROKKR_TEST_DEATH";

/// A write, who makes it, and the events that belong to it. What people do is in the audit log too.
struct Write {
    name: &'static str,
    by: By,
    events: &'static [&'static str],
}

#[derive(PartialEq, Eq)]
enum By {
    Person,
    Agent,
}

const fn write(by: By, name: &'static str, events: &'static [&'static str]) -> Write {
    Write { name, by, events }
}

/// In this order, because each builds on those before.
const WRITES: [Write; 38] = [
    // It wants to know of all the others: their deliveries belong to them.
    write(By::Person, "make a webhook", &["webhook.created"]),
    write(By::Person, "make an agent", &["agent.created"]),
    write(By::Person, "make a key", &["key.created"]),
    write(By::Person, "make a generator", &["generator.created"]),
    write(By::Person, "make a stack", &["stack.created"]),
    write(By::Person, "send manifests", &["deployment_object.created"]),
    write(By::Person, "relabel an agent", &["agent.updated"]),
    write(By::Agent, "report applied", &["deployment.applied"]),
    write(By::Agent, "report held and drifted", &["deployment.failed", "deployment.drifted"]),
    write(By::Person, "approve what is held", &["deployment.approved"]),
    write(By::Person, "change the policy", &["stack.updated"]),
    write(By::Person, "suspend the stack", &["stack.suspended"]),
    write(By::Person, "send a Secret", &["deployment_object.created"]),
    write(By::Person, "roll back", &["deployment_object.created"]),
    write(By::Person, "resume the stack", &["stack.resumed"]),
    write(By::Person, "retarget the stack", &["stack.updated"]),
    write(By::Agent, "report deleted", &["deployment.deleted"]),
    write(By::Agent, "say hello", &[]),
    write(By::Person, "delete the stack", &["stack.deletion_requested"]),
    write(By::Agent, "report the last one deleted", &["deployment.deleted", "stack.deleted"]),
    write(By::Person, "ask for work", &["work_order.queued"]),
    write(By::Agent, "claim work", &[]),
    write(By::Agent, "start work", &["work_order.started"]),
    write(By::Agent, "renew leases", &[]),
    write(By::Person, "cancel work that runs", &["work_order.cancel_requested"]),
    write(By::Agent, "report work cancelled", &["work_order.cancelled"]),
    write(By::Person, "retry work", &["work_order.queued"]),
    write(By::Person, "cancel work that waits", &["work_order.cancelled"]),
    write(By::Person, "abandon an agent", &["agent.abandoned"]),
    write(By::Person, "set tracing", &["tracing.set"]),
    write(By::Agent, "report tracing", &[]),
    write(By::Person, "change a webhook", &["webhook.updated"]),
    write(By::Person, "replace a secret", &["webhook.secret_rotated"]),
    write(By::Person, "test a webhook", &["webhook.test"]),
    write(By::Agent, "claim a delivery", &[]),
    write(By::Agent, "report a delivery", &["webhook.disabled"]),
    write(By::Person, "send again", &["webhook.replayed"]),
    write(By::Person, "delete a webhook", &["webhook.deleted"]),
];

fn held_plan() -> String {
    format!("sha256:{}", "a".repeat(64))
}

/// A database with two agents in it, and what opens it.
#[derive(Clone, Serialize, Deserialize)]
struct Ground {
    url: String,
    admin: String,
    edge: TestAgent,
    other: TestAgent,
    /// The columns that are looked at.
    tables: BTreeMap<String, Vec<String>>,
}

#[derive(Serialize, Deserialize)]
struct Order {
    ground: Ground,
    write: usize,
    /// 0 survives.
    step: u64,
}

impl Ground {
    async fn prepare(url: &str) -> Self {
        let world = World::on(url, None, 7).await;
        let (edge, other) = (world.agent("edge", json!({"site": "a"})).await, world.agent("other", json!({"site": "b"})).await);
        let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for place in schema::columns(&world).await.into_keys() {
            let (table, column) = place.split_once('.').unwrap();
            // Trace ids are random, and when a key was used is told by the clock of each process.
            if !column.contains("trace") && !["presence", "key_use", "leases"].contains(&table) {
                tables.entry(table.to_owned()).or_default().push(column.to_owned());
            }
        }
        Self { url: url.to_owned(), admin: world.admin.clone(), edge, other, tables }
    }

    async fn open(&self, write: usize) -> World {
        // Other ids for each write, and the same ones whenever it is tried again.
        World::on(&self.url, Some(&self.admin), 100 + write as u64).await
    }

    async fn perform(&self, world: &World, write: usize) -> Answer {
        match WRITES[write].name {
            "make an agent" => {
                let body = json!({"name": "second", "cluster": "second", "labels": {"site": "c"}});
                world.post(&self.admin, "/api/v1/agents", body).await.expect(201)
            }
            "set tracing" => {
                let body = json!({"settings": {"enabled": true}});
                world.call(&self.admin, Method::PUT, "/api/v1/tracing", body).await.expect(200)
            }
            "report tracing" => {
                let pipeline = json!({"enabled": true, "values": [], "exported": 1, "failed": 0, "dropped": 0});
                let body = json!({"revision": 1, "pipeline": pipeline});
                world.call(&self.edge.key, Method::PUT, "/api/v1/agent/tracing", body).await.expect(204)
            }
            "make a webhook" => {
                let body = json!({"name": "chat", "url": "https://hooks.example.com/", "headers": {"authorization": "hunter2"}});
                world.post(&self.admin, "/api/v1/webhooks", body).await.expect(201)
            }
            "change a webhook" => {
                let body = json!({"settings": {"events": ["stack.*"], "ordered": true, "deliver_by": {"names": ["edge"]}}});
                world.call(&self.admin, Method::PATCH, "/api/v1/webhooks/chat", body).await.expect(200)
            }
            "replace a secret" => world.post(&self.admin, "/api/v1/webhooks/chat/rotate", json!({})).await.expect(200),
            "test a webhook" => world.post(&self.admin, "/api/v1/webhooks/chat/test", json!(null)).await.expect(202),
            "claim a delivery" => {
                world.post(&self.edge.key, "/api/v1/agent/webhook-deliveries:claim", json!({"limit": 4})).await.expect(200)
            }
            "report a delivery" => {
                let listed = world.get(&self.admin, "/api/v1/webhooks/chat/deliveries?state=pending").await.expect(200).json;
                let report =
                    json!({"id": listed["items"][0]["id"], "token": 1, "result": "gone", "status": 410, "latency_ms": 1});
                world
                    .post(&self.edge.key, "/api/v1/agent/webhook-deliveries:report", json!({"deliveries": [report]}))
                    .await
                    .expect(200)
            }
            "send again" => world.post(&self.admin, "/api/v1/webhooks/chat/replay", json!({"failed": true})).await.expect(200),
            "delete a webhook" => world.delete(&self.admin, "/api/v1/webhooks/chat").await.expect(204),
            "make a key" => world.post(&self.admin, "/api/v1/keys", json!({"name": "people", "role": "admin"})).await.expect(201),
            "make a generator" => world.post(&self.admin, "/api/v1/generators", json!({"name": "team"})).await.expect(201),
            "make a stack" => world.stack("shop", json!({"site": "a"})).await.expect(201),
            "send manifests" => world.apply("shop", "one").await.expect(201),
            "relabel an agent" => {
                let labels = json!({"labels": {"site": "a"}});
                world.call(&self.admin, Method::PATCH, "/api/v1/agents/other", labels).await.expect(200)
            }
            "report applied" => world.report_all(&self.edge, "applied").await.expect(200),
            "report held and drifted" => {
                let mut body = world.report_of(&self.edge, "failed").await;
                body["reports"][0]["held"] = json!({"plan": held_plan(), "objects": 3});
                body["reports"][0]["drift"] = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "fields": [".data"],
                    "outcome": "repaired"}]);
                world.post(&self.edge.key, "/api/v1/agent/reports", body).await.expect(200)
            }
            "approve what is held" => {
                let held = world.get(&self.admin, "/api/v1/stacks/shop/deployments/edge").await.expect(200).json;
                let body = json!({"agent": "edge", "revision": held["revision"], "plan": held_plan()});
                world.post(&self.admin, "/api/v1/stacks/shop/approvals", body).await.expect(200)
            }
            "change the policy" => {
                let settings = json!({"targets": {"labels": {"matchLabels": {"site": "a"}}}, "policy": {"conflicts": "force"}});
                world.put(&self.admin, "/api/v1/stacks/shop", settings).await.expect(200)
            }
            "suspend the stack" => {
                world.put(&self.admin, "/api/v1/stacks/shop/suspension", json!({"reason": "a test"})).await.expect(200)
            }
            "send a Secret" => {
                let secret = json!([{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a", "namespace": "shop"}}]);
                world.put(&self.admin, "/api/v1/stacks/shop/deployment-objects", secret).await.expect(201)
            }
            "roll back" => world.post(&self.admin, "/api/v1/stacks/shop/rollback", json!({"generation": 1})).await.expect(201),
            "resume the stack" => world.delete(&self.admin, "/api/v1/stacks/shop/suspension").await.expect(200),
            "retarget the stack" => world.stack("shop", json!({"site": "nowhere"})).await.expect(200),
            "report deleted" => world.report_all(&self.edge, "deleted").await.expect(200),
            "say hello" => {
                let hello = json!({"cluster_uid": "a-uid", "version": "1", "kubernetes_version": "1.33"});
                world.put(&self.edge.key, "/api/v1/agent/cluster", hello).await.expect(200)
            }
            "delete the stack" => world.delete(&self.admin, "/api/v1/stacks/shop").await.expect(202),
            "report the last one deleted" => world.report_all(&self.other, "deleted").await.expect(200),
            "ask for work" => {
                let manifest = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}});
                let body = json!({"name": "a", "targets": {"names": ["edge"]}, "work": {"job": {"manifest": manifest}}});
                world.post(&self.admin, "/api/v1/work-orders", body).await.expect(201)
            }
            "claim work" => {
                world.post(&self.edge.key, "/api/v1/agent/work-orders:claim", json!({"kinds": ["job"]})).await.expect(200)
            }
            "start work" => self.report_work(world, "started").await,
            "renew leases" => {
                let renewal = json!({"orders": [{"id": self.work(world).await, "token": 1, "progress": "half of it"}]});
                world.post(&self.edge.key, "/api/v1/agent/work-orders:renew", renewal).await.expect(200)
            }
            "report work cancelled" => self.report_work(world, "cancelled").await,
            "cancel work that runs" | "cancel work that waits" => {
                let path = format!("/api/v1/work-orders/{}/cancel", self.work(world).await);
                world.post(&self.admin, &path, json!(null)).await.expect(200)
            }
            "retry work" => {
                let path = format!("/api/v1/work-orders/{}/retry", self.work(world).await);
                world.post(&self.admin, &path, json!(null)).await.expect(200)
            }
            "abandon an agent" => world.post(&self.admin, "/api/v1/agents:abandon", json!({"agent": "second"})).await.expect(200),
            unknown => panic!("no such write: {unknown}"),
        }
    }

    /// The one work order.
    async fn work(&self, world: &World) -> String {
        let orders = world.get(&self.admin, "/api/v1/work-orders").await.expect(200).json;
        orders["items"][0]["id"].as_str().unwrap().to_owned()
    }

    async fn report_work(&self, world: &World, outcome: &str) -> Answer {
        let body = json!({"id": self.work(world).await, "token": 1, "outcome": outcome});
        world.post(&self.edge.key, "/api/v1/agent/work-orders:report", body).await.expect(200)
    }

    /// Performs a write in a process of its own that dies at this step; tells whether it did.
    fn dies(&self, write: usize, step: u64) -> bool {
        let order = serde_json::to_string(&Order { ground: self.clone(), write, step }).unwrap();
        let output = Command::new(env::current_exe().unwrap())
            .args(["--ignored", "--exact", "store::tests::deaths::a_write", "--nocapture"])
            .env(ORDER, order)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let died = output.status.signal() == Some(9);
        assert!(died || output.status.success(), "{}: {}", WRITES[write].name, String::from_utf8_lossy(&output.stderr));
        died
    }

    /// Everything that a write can have changed, row by row; what differs between two equal runs is left out.
    async fn rows(&self) -> BTreeSet<String> {
        let queries = self.tables.iter().map(|(table, columns)| {
            let columns: Vec<_> = match self.engine() {
                Engine::Postgres => columns.iter().map(|column| format!("COALESCE(CAST({column} AS text), 'NULL')")).collect(),
                Engine::Sqlite => columns.iter().map(|column| format!("quote({column})")).collect(),
            };
            format!("SELECT '{table}: ' || {} FROM {table}", columns.join(" || ' ' || "))
        });
        self.read(queries.collect()).await.concat().into_iter().collect()
    }

    /// What is told of it: the types of all events, and the actions of the audit log.
    async fn told(&self) -> Vec<Vec<String>> {
        self.read(vec!["SELECT type FROM events ORDER BY type".to_owned(), "SELECT action FROM audit ORDER BY action".to_owned()])
            .await
    }

    /// Opens the database and reads one column for each query.
    async fn read(&self, queries: Vec<String>) -> Vec<Vec<String>> {
        let mut answers = Vec::with_capacity(queries.len());
        match self.engine() {
            Engine::Postgres => {
                let mut connection = PgConnection::connect(&self.url).await.unwrap();
                for query in queries {
                    answers.push(sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(&mut connection).await.unwrap());
                }
            }
            Engine::Sqlite => {
                let mut connection = SqliteConnection::connect(&self.url).await.unwrap();
                for query in queries {
                    answers.push(sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(&mut connection).await.unwrap());
                }
            }
        }
        answers
    }

    fn engine(&self) -> Engine {
        if self.url.starts_with("sqlite:") { Engine::Sqlite } else { Engine::Postgres }
    }
}

/// Not a test of its own: the tests below start this executable with it, as a broker that is killed.
#[tokio::test]
#[ignore = "a broker that other tests start and kill"]
async fn a_write() {
    let Some(order) = env::var_os(ORDER) else { return };
    let Order { ground, write, step } = serde_json::from_slice(order.as_encoded_bytes()).unwrap();
    let world = ground.open(write).await;
    fault::die_at(step);
    ground.perform(&world, write).await;
}

/// Kills the broker at the steps of every write: at each in `make soak`, at every third in `make test`. An uninterrupted twin on a
/// database of its own says what the whole write is.
async fn kill_between_statements(engine: Engine) {
    let ((url, _folder), (twins_url, _twins_folder)) = (engine.database(), engine.database());
    let (ground, twin) = (Ground::prepare(&url).await, Ground::prepare(&twins_url).await);
    let every = if env::var_os("BROKKR_SOAK").is_some() { 1 } else { 3 };
    let mut deaths = 0;
    for (index, write) in WRITES.iter().enumerate() {
        let before = ground.rows().await;
        let [mut events, mut audit]: [_; 2] = ground.told().await.try_into().unwrap();
        assert_eq!(before, twin.rows().await, "before {:?}", write.name);
        assert!(!twin.dies(index, 0), "nobody told it to");
        let whole = twin.rows().await;
        assert_ne!(before, whole, "{:?} changes something", write.name);

        let mut step = 1 + index as u64 % every;
        let after = loop {
            let died = ground.dies(index, step);
            let after = ground.rows().await;
            if after != before {
                break after;
            }
            assert!(died, "{:?} has no step {step}, and did not happen", write.name);
            deaths += 1;
            step += every;
        };
        assert_eq!(after, whole, "{:?}, killed at step {step}, happened by halves", write.name);
        let told = write.events.iter().map(|&kind| kind.to_owned());
        audit.extend(told.clone().filter(|_| write.by == By::Person));
        events.extend(told);
        for list in [&mut events, &mut audit] {
            list.sort();
        }
        assert_eq!(ground.told().await, [events, audit], "{:?} happened without its events or its audit entry", write.name);
    }
    assert!(deaths > WRITES.len(), "{deaths} deaths are no proof");
}

#[tokio::test]
async fn a_broker_killed_between_any_two_statements_has_written_all_or_nothing_on_sqlite() {
    kill_between_statements(Engine::Sqlite).await;
}

#[tokio::test]
async fn a_broker_killed_between_any_two_statements_has_written_all_or_nothing_on_postgresql() {
    kill_between_statements(Engine::Postgres).await;
}
