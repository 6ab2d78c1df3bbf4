//! A power cut: the process and its unsynchronised pages are gone, and no acknowledged write with them.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use brokkr_api::{
    Labels, Name, TargetSelector,
    agents::{CreateAgent, CreatedAgent},
    client::{Client, ClientError, Polled},
    deployment_objects::DeploymentObject,
    page::PageQuery,
    reports::{Report, ReportResult, Reports},
    rollouts::Phase,
    stacks::{PutStack, Stack},
};
use brokkr_tests::evidence::{count, leave};
use brokkr_tests::fleet::{Broker, LIMIT, borrowed, config_map};
use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde::Serialize;
use tokio::{sync::watch, time::timeout};

use crate::disk::Disk;

const WRITERS: usize = 4;
/// They all use one key.
const UNLIMITED: (&str, &str) = ("BROKKR__LIMITS__REQUESTS_PER_SECOND", "0");

/// A write that the broker has acknowledged.
#[derive(Clone)]
enum Written {
    Agent(CreatedAgent),
    Stack(Stack),
    Generation { stack: Stack, object: DeploymentObject, value: String },
    Report { stack: Stack, agent: Name, revision: u64, generation: u64 },
}

/// What was acknowledged so far.
#[derive(Clone)]
struct Acknowledged {
    writes: Arc<Mutex<Vec<Written>>>,
    count: watch::Sender<usize>,
}

impl Acknowledged {
    fn new() -> Self {
        Self { writes: Arc::default(), count: watch::Sender::new(0) }
    }

    fn add(&self, write: Written) {
        let mut writes = self.writes.lock();
        writes.push(write);
        self.count.send_replace(writes.len());
    }
}

/// Writes all the time, until the broker does not answer any more.
struct Writer {
    number: usize,
    admin: Client,
    agent: CreatedAgent,
    as_agent: Client,
    stack: Stack,
    acknowledged: Acknowledged,
}

impl Writer {
    async fn start(number: usize, broker: &Broker, acknowledged: &Acknowledged) -> Self {
        let admin = broker.admin();
        let agent = create_agent(&admin, &format!("agent-{number}")).await.unwrap();
        let stack = put_stack(&admin, &format!("stack-{number}"), &agent.agent.name).await.unwrap();
        acknowledged.add(Written::Agent(agent.clone()));
        acknowledged.add(Written::Stack(stack.clone()));
        let as_agent = broker.client(&agent.secret);
        Self { number, admin, agent, as_agent, stack, acknowledged: acknowledged.clone() }
    }

    async fn write(self) -> ClientError {
        for round in 0_usize.. {
            if let Err(error) = self.round(round).await {
                return error;
            }
        }
        unreachable!("numbers do not end")
    }

    async fn round(&self, round: usize) -> Result<(), ClientError> {
        let name = format!("{}-{round}", self.number);
        match round % 5 {
            3 => {
                let agent = create_agent(&self.admin, &format!("agent-{name}")).await?;
                self.acknowledged.add(Written::Agent(agent));
            }
            4 => {
                let stack = put_stack(&self.admin, &format!("stack-{name}"), &self.agent.agent.name).await?;
                self.acknowledged.add(Written::Stack(stack));
            }
            _ => {
                // Every other one is sealed, and the key that opens it must be there too.
                let kind = if round.is_multiple_of(2) { "Secret" } else { "ConfigMap" };
                let manifests = config_map("shop", "a", &name).replace("ConfigMap", kind).into_bytes();
                let sent = self.admin.put_deployment_objects(&self.stack.name, "application/yaml", manifests).await?;
                let (stack, object) = (self.stack.clone(), sent.deployment_object);
                self.acknowledged.add(Written::Generation { stack, object, value: name });
                self.report().await?;
            }
        }
        Ok(())
    }

    async fn report(&self) -> Result<(), ClientError> {
        let Polled::Changed { state, .. } = self.as_agent.desired_state(None, Duration::ZERO).await? else {
            unreachable!("a poll that knows nothing is answered in full")
        };
        let deployment = state.deployments.into_iter().find(|deployment| deployment.stack_id == self.stack.id).unwrap();
        let (revision, generation) = (deployment.revision, deployment.generation);
        let report = Report {
            stack_id: self.stack.id,
            revision,
            phase: Phase::Applied,
            attempt: 1,
            objects: Vec::new(),
            error: None,
            scope: None,
            held: None,
            drift: Vec::new(),
            health: None,
        };
        let answer = self.as_agent.report(&Reports { epoch: state.epoch, reports: vec![report] }).await?;
        assert_eq!(answer.results, [ReportResult::Accepted], "nobody else changes this stack");
        let (stack, agent) = (self.stack.clone(), self.agent.agent.name.clone());
        self.acknowledged.add(Written::Report { stack, agent, revision, generation });
        Ok(())
    }
}

async fn create_agent(admin: &Client, name: &str) -> Result<CreatedAgent, ClientError> {
    let name: Name = name.parse().unwrap();
    admin.create_agent(&CreateAgent { name: name.clone(), cluster: name, labels: Labels::default() }).await
}

async fn put_stack(admin: &Client, name: &str, agent: &Name) -> Result<Stack, ClientError> {
    let targets = TargetSelector { labels: None, names: vec![agent.clone()] };
    admin.put_stack(&name.parse().unwrap(), &PutStack { targets, ..PutStack::default() }).await
}

/// What a recovered broker has lost.
async fn lost(broker: &Broker, writes: &[Written]) -> Vec<String> {
    let admin = broker.admin();
    let mut lost = broker.query("PRAGMA integrity_check; PRAGMA foreign_key_check").unwrap();
    lost.retain(|line| line != "ok");
    let events = "SELECT type || ' ' || COALESCE(stack_id, agent_id) || ' ' || COALESCE(generation, 0) FROM events";
    let events: HashSet<_> = broker.query(events).unwrap().into_iter().collect();
    let event = |expected: String, lost: &mut Vec<String>| {
        if !events.contains(&expected) {
            lost.push(format!("event {expected}"));
        }
    };
    for write in writes {
        match write {
            Written::Agent(made) => {
                event(format!("agent.created {} 0", made.agent.id), &mut lost);
                let found = admin.agent(&made.agent.name).await.is_ok_and(|found| found.id == made.agent.id);
                let polls = broker.client(&made.secret).desired_state(None, Duration::ZERO).await;
                if !found || polls.is_err() {
                    lost.push(format!("{} or its key", made.agent.name));
                }
            }
            Written::Stack(made) => {
                event(format!("stack.created {} 0", made.id), &mut lost);
                if !admin.stack(&made.name).await.is_ok_and(|found| found.id == made.id && found.targets == made.targets) {
                    lost.push(made.name.to_string());
                }
            }
            Written::Generation { stack, object, value } => {
                event(format!("deployment_object.created {} {}", stack.id, object.generation), &mut lost);
                let content = admin.deployment_object(&stack.name, object.generation).await;
                if !content.is_ok_and(|content| content.objects[0]["data"]["value"] == value.as_str()) {
                    lost.push(format!("{} generation {}", stack.name, object.generation));
                }
            }
            Written::Report { stack, agent, revision, generation } => {
                event(format!("deployment.applied {} {generation}", stack.id), &mut lost);
                let deployments = admin.rollout(&stack.name, None).await.map(|rollout| rollout.deployments).unwrap_or_default();
                if !deployments.iter().any(|found| found.agent == *agent && found.observed_revision >= *revision) {
                    lost.push(format!("the report of {agent} on revision {revision}"));
                }
            }
        }
    }
    lost
}

/// What one trial did, for the evidence.
#[derive(Debug, Serialize)]
struct Trial {
    seed: u64,
    lucky: bool,
    acknowledged: usize,
    lost: Vec<String>,
    milliseconds: u128,
}

/// Writes, cuts the power at a random moment, and starts a broker on what the disk has kept. A disk may lie after so many calls.
async fn trial(seed: u64, lies: Option<u64>) -> Trial {
    let (mut random, began) = (StdRng::seed_from_u64(seed), Instant::now());
    let disk = Disk::new();
    let mut environment = disk.environment();
    environment.push((UNLIMITED.0, UNLIMITED.1.to_owned()));
    environment.extend(lies.map(|after| ("POWERCUT_LIES", after.to_string())));
    let mut broker = Broker::in_folder(&disk.folder(), &borrowed(&environment)).await.unwrap();
    let acknowledged = Acknowledged::new();
    let mut count = acknowledged.count.subscribe();
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..WRITERS {
        writers.spawn(Writer::start(number, &broker, &acknowledged).await.write());
    }
    // Several writers are at it, so that this finds them anywhere in their writes.
    let moment = random.random_range(20..200);
    timeout(LIMIT, count.wait_for(|count| *count >= moment)).await.expect("writes are acknowledged").unwrap();
    broker.process.kill();
    for error in writers.join_all().await {
        assert!(matches!(error, ClientError::Unreachable(_) | ClientError::Answer(_)), "seed {seed}: {error}");
    }
    assert!(disk.is_at_work(), "nothing was synchronised at all");

    let lucky = random.random_bool(0.5);
    let recovered = disk.after_power_cut(&mut random, lucky);
    let writes = acknowledged.writes.lock().clone();
    let lost = match Broker::in_folder(&recovered, &[UNLIMITED]).await {
        Ok(broker) => lost(&broker, &writes).await,
        Err(error) => vec![error.to_string()],
    };
    Trial { seed, lucky, acknowledged: writes.len(), lost, milliseconds: began.elapsed().as_millis() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_loses_no_acknowledged_write() {
    let mut trials = Vec::new();
    for seed in 0..count(4, 100) {
        let trial = trial(seed, None).await;
        trials.push(trial);
        leave("power-cuts", &trials);
        assert_eq!(trials.last().unwrap().lost, [""; 0], "{trials:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_lies_loses_writes_and_the_trial_notices() {
    let trial = trial(0, Some(60)).await;
    assert!(!trial.lost.is_empty(), "{trial:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_at_any_moment_of_the_first_start_leaves_a_broker_that_starts_and_a_key_that_works() {
    let mut cuts = 0;
    for call in 1_u32.. {
        let disk = Disk::new();
        let mut environment = disk.environment();
        environment.push(("POWERCUT_DIES", call.to_string()));
        if Broker::in_folder(&disk.folder(), &borrowed(&environment)).await.is_ok() {
            break;
        }
        cuts += 1;
        let recovered = disk.after_power_cut(&mut StdRng::seed_from_u64(call.into()), false);
        let broker = Broker::in_folder(&recovered, &[]).await.unwrap();
        assert!(broker.admin().list_keys(&PageQuery::default()).await.is_ok(), "cut at call {call}: the key is lost");
    }
    leave("power-cuts-at-start", &cuts);
    assert!(cuts >= 4, "only {cuts} power cuts before the broker was ready");
}
