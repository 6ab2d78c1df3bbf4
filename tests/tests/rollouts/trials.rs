//! Seeded fault trials: whatever is killed and whenever, at the end the cluster equals the desired state and nothing foreign
//! was touched. `make test` runs a sample; `make soak` runs them all and leaves its evidence in `target/soak/trials.json`.

use std::{collections::BTreeMap, time::Instant};

use brokkr_api::Name;
use brokkr_tests::{
    cluster::Cluster,
    evidence::{count, leave},
    fleet::{Agent, Broker, Engine, LIMIT, config_map},
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, PostParams};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde::Serialize;

const SAMPLE: u64 = 4;
const ALL: u64 = 100;
const STEPS: usize = 12;
const STACKS: usize = 2;
const OBJECTS: usize = 6;
/// Removals of one stack: three at once would rightly wait for an approval.
const REMOVALS: usize = 2;

/// What one trial did, for the evidence.
#[derive(Debug, Serialize)]
struct Trial {
    seed: u64,
    engine: &'static str,
    steps: Vec<String>,
    objects: usize,
    milliseconds: u128,
}

/// The objects of one stack, by name.
type Desired = BTreeMap<String, String>;

struct Ground<'a> {
    cluster: &'a Cluster,
    namespace: String,
    broker: Broker,
    agent: Agent,
    stacks: Vec<(Name, Desired)>,
    removals: [usize; STACKS],
}

impl Ground<'_> {
    /// One random step, and its name.
    async fn step(&mut self, random: &mut StdRng) -> String {
        match random.random_range(0..10) {
            0 => {
                self.agent.process.kill();
                self.agent.process.start().unwrap();
                "kill the agent".to_owned()
            }
            1 => {
                self.broker.process.kill();
                self.broker.again().await.unwrap();
                "kill the broker".to_owned()
            }
            2 => {
                self.agent.process.kill();
                self.broker.process.kill();
                self.broker.again().await.unwrap();
                self.agent.process.start().unwrap();
                "kill both".to_owned()
            }
            _ => self.change(random).await,
        }
    }

    /// Adds, changes or removes one object of a stack; nobody waits for it to arrive.
    async fn change(&mut self, random: &mut StdRng) -> String {
        let stack = random.random_range(0..self.stacks.len());
        let object = format!("s{stack}-o{}", random.random_range(0..OBJECTS));
        let value = random.random_range(0..1_000).to_string();
        let (name, desired) = &mut self.stacks[stack];
        let removable = self.removals[stack] < REMOVALS && desired.contains_key(&object);
        let step = if removable && random.random_bool(0.6) {
            self.removals[stack] += 1;
            desired.remove(&object);
            format!("remove {object}")
        } else {
            let step = format!("set {object} to {value}");
            desired.insert(object, value);
            step
        };
        let manifests: String = desired.iter().map(|(name, value)| config_map(&self.namespace, name, value)).collect();
        self.broker.send(&name.clone(), &manifests).await;
        step
    }

    /// Waits until the rollouts are done. A failed attempt is tried again by the agent, and the trial waits for it.
    async fn settle(&self) {
        let deadline = Instant::now() + LIMIT;
        for (stack, _) in &self.stacks {
            while !self.broker.settle(stack).await.done {
                assert!(Instant::now() < deadline, "{stack} does not settle");
            }
        }
    }

    async fn objects(&self) -> Desired {
        let found = self.cluster.api::<ConfigMap>(&self.namespace).list(&ListParams::default()).await.unwrap();
        let ours = found.items.into_iter().filter(|object| object.metadata.name.as_deref() != Some("kube-root-ca.crt"));
        ours.map(|object| (object.metadata.name.unwrap(), object.data.unwrap()["value"].clone())).collect()
    }
}

async fn trial(cluster: &Cluster, seed: u64) -> Trial {
    let mut random = StdRng::seed_from_u64(seed);
    let (began, engine) = (Instant::now(), Engine::ALL[usize::try_from(seed % 2).unwrap()]);
    let namespace = cluster.create_namespace("trial").await.unwrap();
    let broker = Broker::start(engine, &[]).await.unwrap();
    let agent = broker.agent(&cluster.unique("trial"), &[]).await.unwrap();
    let mut stacks = Vec::new();
    for stack in 0..STACKS {
        stacks.push((broker.stack(&format!("s{stack}"), &[&agent]).await, Desired::new()));
    }
    let mut ground = Ground { cluster, namespace, broker, agent, stacks, removals: [0; STACKS] };
    for stack in 0..STACKS {
        let first = Desired::from([(format!("s{stack}-first"), "0".to_owned())]);
        let manifests: String = first.iter().map(|(name, value)| config_map(&ground.namespace, name, value)).collect();
        ground.broker.apply(&ground.stacks[stack].0, &manifests).await;
        ground.stacks[stack].1 = first;
    }
    // A stranger with a copied label: it must be there at the end as it was.
    let ours: ConfigMap = cluster.get(&ground.namespace, "s0-first").await.unwrap().unwrap();
    let stranger = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"value": "theirs"},
        "metadata": {"name": "stranger", "labels": ours.metadata.labels}});
    let stranger: ConfigMap = serde_json::from_value(stranger).unwrap();
    let stranger = cluster.api::<ConfigMap>(&ground.namespace).create(&PostParams::default(), &stranger).await.unwrap();

    let mut steps = Vec::new();
    for _ in 0..STEPS {
        steps.push(ground.step(&mut random).await);
    }
    ground.settle().await;

    let mut expected: Desired = ground.stacks.iter().flat_map(|(_, desired)| desired.clone()).collect();
    expected.insert("stranger".to_owned(), "theirs".to_owned());
    assert_eq!(ground.objects().await, expected, "seed {seed}: {steps:#?}");
    let after: ConfigMap = cluster.get(&ground.namespace, "stranger").await.unwrap().unwrap();
    assert_eq!(after.metadata.resource_version, stranger.metadata.resource_version, "seed {seed}: the stranger was touched");
    let engine = if engine == Engine::Sqlite { "sqlite" } else { "postgresql" };
    Trial { seed, engine, steps, objects: expected.len(), milliseconds: began.elapsed().as_millis() }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_killed_the_cluster_ends_as_desired_and_nothing_foreign_is_touched() {
    let cluster = Cluster::shared().await.unwrap();
    let mut trials = Vec::new();
    for seed in 0..count(SAMPLE, ALL) {
        trials.push(trial(&cluster, seed).await);
        leave("trials", &trials);
    }
}
