//! Where a trial takes place: a broker, an agent behind a proxy, stacks, and what the cluster should hold in the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use brokkr_api::{ErrorCode, Name, policy::Approve};
use brokkr_tests::{
    cluster::Cluster,
    fleet::{Agent, Broker, Engine, LIMIT},
    kube_proxy::KubeProxy,
    lab::{Scratch, until},
};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, PostParams},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::Value;

use crate::objects::{Key, Kind, Objects, look, manifests, value_of};

const STACKS: usize = 3;
/// PostgreSQL's broker has no place of its own for the key that Secrets are encrypted with.
const KEYS: &str = "trial:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// A stack and what was wanted of it.
pub(crate) struct Stack {
    pub(crate) name: Name,
    pub(crate) desired: Objects,
    pub(crate) history: Vec<Objects>,
    pub(crate) removals: usize,
    pub(crate) deleted: bool,
}

/// A copy of the broker's database.
pub(crate) struct Backup {
    pub(crate) file: PathBuf,
}

pub(crate) struct Ground<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) seed: u64,
    pub(crate) random: StdRng,
    pub(crate) namespace: String,
    pub(crate) proxy: KubeProxy,
    pub(crate) broker: Broker,
    pub(crate) agent: Agent,
    pub(crate) stacks: Vec<Stack>,
    pub(crate) strangers: BTreeMap<Key, Value>,
    /// Objects that were wanted all the time, by UID: nobody may have deleted them, not even to make them again.
    pub(crate) lasting: BTreeMap<Key, String>,
    pub(crate) backup: Option<Backup>,
    pub(crate) folder: Scratch,
}

impl<'a> Ground<'a> {
    /// Everything started, and the first generation of each stack applied without faults.
    pub(crate) async fn start(cluster: &'a Cluster, seed: u64, engine: Engine) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let namespace = cluster.create_namespace("trial").await.unwrap();
        let broker = Broker::start(engine, &[("BROKKR__ENCRYPTION__KEYS", KEYS)]).await.unwrap();
        let proxy = KubeProxy::start(cluster.kubeconfig()).await.unwrap();
        let settings = [("BROKKR__KUBERNETES__CALL_TIMEOUT_SECONDS", "2")];
        let agent = broker.unconnected_agent(&cluster.unique("trial"), proxy.kubeconfig(), &settings).await.unwrap();
        let mut stacks = Vec::new();
        for stack in 0..STACKS {
            let name = broker.stack(&format!("s{stack}"), &[&agent]).await;
            let mut desired = Objects::new();
            for kind in Kind::ALL {
                desired.insert((kind, format!("s{stack}-first")), digits(&mut random));
            }
            stacks.push(Stack { name, desired, history: Vec::new(), removals: 0, deleted: false });
        }
        let folder = Scratch::new("trial").unwrap();
        let (strangers, lasting) = (BTreeMap::new(), BTreeMap::new());
        let mut ground =
            Self { cluster, seed, random, namespace, proxy, broker, agent, stacks, strangers, lasting, backup: None, folder };
        for stack in 0..STACKS {
            ground.send(stack).await;
        }
        ground.settle("the first generation").await;
        let uid = |object: &Value| object["metadata"]["uid"].as_str().unwrap().to_owned();
        ground.lasting = look(cluster, &ground.namespace).await.iter().map(|(key, object)| (key.clone(), uid(object))).collect();
        ground
    }

    pub(crate) fn digits(&mut self) -> String {
        digits(&mut self.random)
    }

    /// A stack that is not deleted.
    pub(crate) fn any_stack(&mut self) -> usize {
        let alive: Vec<_> = (0..self.stacks.len()).filter(|stack| !self.stacks[*stack].deleted).collect();
        alive[self.random.random_range(0..alive.len())]
    }

    /// Sends what is wanted of a stack; nobody waits for it to arrive.
    pub(crate) async fn send(&mut self, stack: usize) {
        let Stack { name, desired, history, .. } = &mut self.stacks[stack];
        history.push(desired.clone());
        self.broker.send(name, &manifests(&self.namespace, desired)).await;
    }

    /// Waits until every stack is as it should be by the agent's own word. A failed attempt is tried again by the agent.
    pub(crate) async fn settle(&self, what: &str) {
        self.settled(what, false).await;
    }

    /// The same after a restoration, where a person approves what waits for that: a deletion that was under way in the backup.
    pub(crate) async fn settle_restored(&self) {
        self.settled("the restored backup", true).await;
    }

    async fn settled(&self, what: &str, approves: bool) {
        for stack in &self.stacks {
            let (admin, name) = (self.broker.admin(), &stack.name);
            let look = || async {
                match admin.rollout(name, None).await {
                    Ok(rollout) if rollout.done => Ok(()),
                    Ok(rollout) => {
                        for held in rollout.deployments.iter().filter(|held| approves && rollout.deleting && !held.approved) {
                            if let Some(plan) = &held.held {
                                let (agent, plan) = (held.agent.clone(), plan.plan.clone());
                                // Refused when the agent has planned anew meanwhile: then there is another look.
                                drop(admin.approve(name, &Approve { agent, revision: held.revision, plan }).await);
                            }
                        }
                        Err(format!("{rollout:#?}"))
                    }
                    Err(error) if error.code() == Some(ErrorCode::NotFound) => Ok(()),
                    Err(error) => Err(format!("{error:?}")),
                }
            };
            until(&format!("seed {}: {what}: {name}", self.seed), LIMIT, look).await.unwrap();
        }
    }

    /// Another's object with the membership label of one of ours, which must stay as it is.
    pub(crate) async fn add_stranger(&mut self) -> String {
        let ours: Vec<_> = self.lasting.keys().cloned().collect();
        let (kind, name) = ours[self.random.random_range(0..ours.len())].clone();
        let api = kind.api(self.cluster, &self.namespace);
        let Some(member) = api.get_opt(&name).await.unwrap() else { return format!("{kind:?} {name} is on its way out") };
        let stranger = (kind, format!("stranger-{}", self.strangers.len()));
        let mut copy = crate::objects::manifest(&self.namespace, &stranger, "0000");
        copy["metadata"]["labels"] = serde_json::to_value(&member.metadata.labels).unwrap();
        let copy: DynamicObject = serde_json::from_value(copy).unwrap();
        let made = api.create(&PostParams::default(), &copy).await.unwrap();
        let said = format!("copy the label of {name} to a foreign {kind:?}");
        // Lists leave the kind out of their items.
        let made = DynamicObject { types: None, ..made };
        self.strangers.insert(stranger, serde_json::to_value(made).unwrap());
        said
    }

    /// Fails unless the cluster holds what is wanted, with what lasted never deleted and strangers as they were made.
    pub(crate) async fn judge(&self, steps: &[String]) -> usize {
        let seed = self.seed;
        let alive = self.stacks.iter().filter(|stack| !stack.deleted);
        let mut expected: Objects = alive.flat_map(|stack| stack.desired.clone()).collect();
        expected.extend(self.strangers.keys().map(|key| (key.clone(), "0000".to_owned())));
        let compare = || async {
            let found = look(self.cluster, &self.namespace).await;
            let values: Objects = found.iter().map(|(key, object)| (key.clone(), value_of(key.0, object))).collect();
            if values == expected { Ok(found) } else { Err(differences(&values, &expected)) }
        };
        // What others changed is repaired after the agent has said that the revision is carried out.
        let found = until(&format!("seed {seed}: the cluster to be as desired after {steps:#?}"), LIMIT, compare).await.unwrap();
        for (key, stranger) in &self.strangers {
            let mut now = found[key].clone();
            let mut before = stranger.clone();
            // The deployment controller answers each Deployment with its status.
            if key.0 == Kind::Deployment {
                forget_status(&mut now);
                forget_status(&mut before);
            }
            assert_eq!(now, before, "seed {seed}: {key:?} is foreign and was touched: {steps:#?}");
        }
        let again: BTreeSet<_> =
            self.lasting.iter().filter(|(key, uid)| found[key]["metadata"]["uid"] != uid.as_str()).map(|(key, _)| key).collect();
        assert!(again.is_empty(), "seed {seed}: deleted and made again: {again:?}: {steps:#?}");
        expected.len()
    }

    /// Leaves nothing in the cluster; nobody waits for it to be gone.
    pub(crate) async fn clear(self) {
        let namespaces: Api<Namespace> = Api::all(self.cluster.client().clone());
        for namespace in [self.namespace.clone(), format!("brokkr-{}", self.agent.name)] {
            namespaces.delete(&namespace, &DeleteParams::background()).await.unwrap();
        }
    }
}

fn differences(found: &Objects, expected: &Objects) -> String {
    let keys: BTreeSet<_> = found.keys().chain(expected.keys()).collect();
    let differing = keys.into_iter().filter(|key| found.get(key) != expected.get(key));
    differing.map(|key| format!("{key:?}: {:?} instead of {:?}; ", found.get(key), expected.get(key))).collect()
}

fn forget_status(object: &mut Value) {
    for (parent, field) in [("", "status"), ("/metadata", "resourceVersion"), ("/metadata", "managedFields")] {
        object.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(field);
    }
    // Given by the controller with the status.
    if let Some(annotations) = object.pointer_mut("/metadata/annotations") {
        annotations.as_object_mut().unwrap().remove("deployment.kubernetes.io/revision");
    }
    if object.pointer("/metadata/annotations") == Some(&serde_json::json!({})) {
        object["metadata"].as_object_mut().unwrap().remove("annotations");
    }
}

fn digits(random: &mut StdRng) -> String {
    format!("{:04}", random.random_range(0..10_000))
}
