//! The same for whatever else is accepted and carried out: several agents, traces of their own, an approval, a rollback, a deletion, work.

use brokkr_api::{
    Labels, Name, TargetSelector,
    policy::Approve,
    stacks::PutStack,
    suspension::Suspend,
    work_orders::{CreateWorkOrder, WorkState},
};
use brokkr_tests::{
    cluster::Cluster,
    control_plane::{ControlPlane, Options},
    fleet::{Agent, Engine, LIMIT, config_map},
    lab::until,
    otlp::{Receiver, traced},
};
use serde_json::json;
use tokio::{sync::OnceCell, task::spawn_blocking};

use super::{
    coverage::assert_explained,
    world::{APPLIED, Told, World, connected},
};

/// A trace that a caller begins, by a number of the test.
struct Caller {
    trace: String,
}

impl Caller {
    fn new(engine: Engine, number: u32) -> Self {
        Self { trace: format!("c0ffee{}{number:025}", if engine == Engine::Sqlite { 1 } else { 2 }) }
    }

    fn client(&self, world: &World) -> brokkr_api::client::Client {
        world.broker.traced(&format!("00-{}-00f067aa0ba902b7-01", self.trace))
    }

    /// What was accepted by a request whose span begins like this, until so many attempts ended in one of these phases.
    async fn told(&self, request: &'static str, phases: &'static [&'static str], outcomes: usize) -> super::world::Rollout {
        Told { request, span: "process deployment", phases, outcomes }.of(&self.trace).await
    }
}

/// An agent in a cluster of its own, which has the same namespace.
async fn second_agent(world: &World) -> Agent {
    static OTHER: OnceCell<ControlPlane> = OnceCell::const_new();
    let start = || async { spawn_blocking(|| ControlPlane::start(&Options::default())).await.unwrap().unwrap() };
    let other = OTHER.get_or_init(start).await;
    let cluster = Cluster::of(other).await.unwrap();
    cluster.kubectl(&["create", "namespace", &world.namespace]).unwrap();
    let endpoint = Receiver::shared().grpc_endpoint();
    let name = world.cluster.unique("second");
    let mut agent = world.broker.unconnected_agent(&name, cluster.kubeconfig(), &traced(&endpoint)).await.unwrap();
    connected(&mut agent).await;
    agent
}

async fn every_change_is_explained_on(engine: Engine) {
    let world = World::start(engine, "changes").await;
    let caller = |number| Caller::new(engine, number);
    let many = |count: u32, value: &str| {
        (0..count).map(|number| config_map(&world.namespace, &format!("c{number}"), value)).collect::<String>().into_bytes()
    };
    let stack = world.broker.stack("shop", &[&world.agent]).await;
    let put = async |caller: &Caller, manifests: Vec<u8>| {
        caller.client(&world).put_deployment_objects(&stack, "application/yaml", manifests).await.unwrap()
    };

    // Held back by a person, and let go.
    world.broker.admin().suspend_stack(&stack, &Suspend { reason: "a look".into() }).await.unwrap();
    let suspended = caller(1);
    put(&suspended, many(12, "1")).await;
    world.broker.admin().resume_stack(&stack).await.unwrap();
    assert_explained("suspended", &suspended.told("PUT ", APPLIED, 1).await);

    // Deletions that are held until somebody approves.
    let held = caller(2);
    put(&held, many(1, "2")).await;
    let rollout = world.broker.settle(&stack).await;
    let deployment = &rollout.deployments[0];
    let plan = deployment.held.clone().unwrap().plan;
    let approve = Approve { agent: world.agent.name.clone(), revision: deployment.revision, plan };
    world.broker.admin().approve(&stack, &approve).await.unwrap();
    let approved = held.told("PUT ", APPLIED, 2).await;
    assert_explained("approved", &approved);
    assert_eq!(approved.named("wait approval").count(), 1);

    // Back to the first generation.
    let back = caller(3);
    back.client(&world).rollback(&stack, Some(1), &brokkr_api::client::Conditions::default()).await.unwrap();
    assert_explained("rollback", &back.told("POST ", APPLIED, 1).await);

    // For another agent too, whose part is in the trace of the change of targets.
    let second = second_agent(&world).await;
    let targets = TargetSelector { labels: None, names: vec![world.agent.name.clone(), second.name.clone()] };
    let wider = caller(4);
    let stack_for_both = PutStack { labels: Labels::default(), targets, ..PutStack::default() };
    wider.client(&world).put_stack(&stack, &stack_for_both).await.unwrap();
    assert_explained("more targets", &wider.told("PUT ", APPLIED, 1).await);
    let both = caller(5);
    put(&both, many(12, "3")).await;
    let both = both.told("PUT ", APPLIED, 2).await;
    for part in both.parts() {
        assert_explained("each of two agents", &part);
    }

    let gone = caller(6);
    gone.client(&world).delete_stack(&stack).await.unwrap();
    assert_explained("deletion", &gone.told("DELETE ", &["deleted"], 2).await);
}

async fn work_is_explained_on(engine: Engine) {
    let world = World::start(engine, "work").await;
    let caller = Caller::new(engine, 7);
    let name: Name = "task".parse().unwrap();
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "task", "namespace": world.namespace}, "data": {"state": "done"}});
    let order: CreateWorkOrder = serde_json::from_value(json!({"name": name, "max_attempts": 1,
        "targets": {"names": [world.agent.name]},
        "work": {"apply": {"objects": [object], "success": "object.items[0].data.state == 'done'"}}}))
    .unwrap();
    let id = caller.client(&world).create_work_order(&order, None).await.unwrap().id;
    let look = || async {
        let found = world.broker.admin().work_order(id).await.unwrap();
        if found.state == WorkState::Succeeded { Ok(()) } else { Err(format!("{found:?}")) }
    };
    until("the order to succeed", LIMIT, look).await.unwrap();
    let told = Told { request: "POST ", span: "process work_order", phases: &[], outcomes: 1 }.of(&caller.trace).await;
    assert_explained("work order", &told);
}

/// Every attempt is a trace of its own that links to the change.
async fn linked_traces_are_explained_on(engine: Engine) {
    let world = World::start_with(engine, "linked", &[("BROKKR__TELEMETRY__HANDOFF", "link")]).await;
    let stack = world.broker.stack("shop", &[&world.agent]).await;
    let linked = world.roll(&stack, &config_map(&world.namespace, "a", "1")).await;
    assert_eq!(linked.trace.span("process deployment").map(|span| &span.name), None, "it is in a trace of its own");
    assert_explained("linked", &linked);
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_explain_every_kind_of_change_on_sqlite() {
    every_change_is_explained_on(Engine::Sqlite).await;
    work_is_explained_on(Engine::Sqlite).await;
    linked_traces_are_explained_on(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_explain_every_kind_of_change_on_postgres() {
    every_change_is_explained_on(Engine::Postgres).await;
    work_is_explained_on(Engine::Postgres).await;
    linked_traces_are_explained_on(Engine::Postgres).await;
}
