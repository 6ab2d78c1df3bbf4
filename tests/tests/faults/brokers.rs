//! Two brokers on one PostgreSQL under load, one of them killed again and again: no wake-up is lost, no event is told twice, no
//! work is claimed twice.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use brokkr_api::{
    Labels, Name, TargetSelector,
    agents::CreateAgent,
    client::{Client, ClientError, Polled},
    desired_state::DesiredState,
    reports::{Report, Reports},
    rollouts::Phase,
    stacks::PutStack,
};
use brokkr_tests::{
    fleet::{Broker, Engine, LIMIT, config_map},
    lab::until,
};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;

use brokkr_tests::evidence::{count, leave};

const STACKS: usize = 4;
const AGENTS: usize = 12;
/// Acknowledged changes between two kills.
const CHANGES: usize = 25;
/// Much longer than a broker needs to notice a change without a hint, so that only a lost wake-up lasts so long.
const WAIT: Duration = Duration::from_secs(10);

/// What the database keeps watch over while the trial runs: whatever somebody does twice is written down.
const WATCH: &str = "
    CREATE TABLE lease_log (number BIGSERIAL, name TEXT, holder TEXT, token BIGINT, was_holder TEXT, was_token BIGINT, was_until BIGINT,
        until BIGINT);
    CREATE FUNCTION log_lease() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO lease_log (name, holder, token, was_holder, was_token, was_until, until)
            VALUES (NEW.name, NEW.holder, NEW.token, OLD.holder, OLD.token, OLD.expires_at, NEW.expires_at);
        RETURN NEW; END $$;
    CREATE TRIGGER log_lease AFTER INSERT OR UPDATE ON leases FOR EACH ROW EXECUTE FUNCTION log_lease();
    CREATE TABLE second_positions (id TEXT, was BIGINT, is_now BIGINT);
    CREATE FUNCTION log_position() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO second_positions VALUES (NEW.id, OLD.position, NEW.position);
        RETURN NEW; END $$;
    CREATE TRIGGER log_position AFTER UPDATE OF position ON events FOR EACH ROW WHEN (OLD.position IS NOT NULL)
        EXECUTE FUNCTION log_position();";

/// The clients of one key at both brokers; whoever does not answer is left for the other one.
#[derive(Clone)]
struct Either {
    clients: [Client; 2],
    at: usize,
}

impl Either {
    fn of(brokers: [&Broker; 2], key: &str, first: usize) -> Self {
        Self { clients: brokers.map(|broker| broker.client(key)), at: first % 2 }
    }

    fn client(&self) -> &Client {
        &self.clients[self.at]
    }

    /// Goes to the other broker after a failure that the death of one explains; every other failure is one of the broker.
    fn turn(&mut self, error: &ClientError) {
        assert!(
            matches!(error, ClientError::Unreachable(_) | ClientError::Answer(_)),
            "only a killed broker does not answer: {error}"
        );
        self.at = 1 - self.at;
    }
}

/// The newest generation of each stack that was acknowledged to its writer.
type Newest = [watch::Receiver<u64>; STACKS];

/// An agent that polls, reports and counts what it should have been told and was not.
struct Agent {
    broker: Either,
    newest: Newest,
    seen: [u64; STACKS],
    etag: Option<String>,
    lost: Arc<Mutex<Vec<String>>>,
    polls: usize,
}

impl Agent {
    /// Polls until it has seen the last change of everything after `done`; returns how often it polled.
    async fn run(mut self, done: Arc<AtomicBool>) -> usize {
        loop {
            let known_before = self.newest.each_ref().map(|newest| *newest.borrow());
            let was_done = done.load(Ordering::Acquire);
            match self.broker.client().desired_state(self.etag.as_deref(), WAIT).await {
                Ok(Polled::Changed { etag, state }) => {
                    self.etag = Some(etag);
                    self.take(&state).await;
                }
                // It was parked for the whole wait, and what it has not seen was acknowledged before it began.
                Ok(Polled::Unchanged) if !self.has_seen(&known_before) => {
                    self.lost.lock().push(format!("told nothing new at {:?}, while {known_before:?} was out", self.seen));
                }
                Ok(Polled::Unchanged) => {}
                Err(error) => self.broker.turn(&error),
            }
            self.polls += 1;
            if was_done && self.has_seen(&known_before) {
                return self.polls;
            }
        }
    }

    fn has_seen(&self, known: &[u64; STACKS]) -> bool {
        self.seen.iter().zip(known).all(|(seen, known)| seen >= known)
    }

    async fn take(&mut self, state: &DesiredState) {
        let mut reports = Vec::new();
        for deployment in &state.deployments {
            let stack: usize = deployment.stack.as_str().trim_start_matches("stack-").parse().unwrap();
            assert!(deployment.generation >= self.seen[stack], "a generation went backwards");
            if deployment.generation > self.seen[stack] {
                self.seen[stack] = deployment.generation;
                let (stack_id, revision) = (deployment.stack_id, deployment.revision);
                let phase = Phase::Applied;
                reports.push(Report {
                    stack_id,
                    revision,
                    phase,
                    attempt: 1,
                    objects: vec![],
                    error: None,
                    scope: None,
                    held: None,
                    drift: Vec::new(),
                    health: None,
                });
            }
        }
        // A report that a dying broker takes along is one of those that agents send again; here the next generation follows.
        if let Err(error) = self.broker.client().report(&Reports { epoch: state.epoch.clone(), reports }).await {
            self.broker.turn(&error);
        }
    }
}

/// Changes its stack until `done`. Whatever it was not told the outcome of, it sends again: the same content is the same generation.
async fn write(
    mut broker: Either,
    stack: usize,
    newest: watch::Sender<u64>,
    changes: watch::Sender<usize>,
    done: Arc<AtomicBool>,
) {
    let name: Name = format!("stack-{stack}").parse().unwrap();
    let mut round = 0_u64;
    while !done.load(Ordering::Acquire) {
        round += 1;
        let manifests = config_map("shop", "a", &round.to_string());
        let generation = loop {
            let sent = broker.client().put_deployment_objects(&name, "application/yaml", manifests.clone().into_bytes()).await;
            match sent {
                Ok(accepted) => break accepted.deployment_object.generation,
                Err(error) => broker.turn(&error),
            }
        };
        assert_eq!(generation, round, "each change is one generation, whoever was killed meanwhile");
        newest.send_replace(generation);
        changes.send_modify(|changes| *changes += 1);
    }
}

#[derive(Debug, Serialize)]
struct Evidence {
    kills: u64,
    changes: usize,
    polls: usize,
    events: usize,
    leases_taken_over: usize,
    milliseconds: u128,
}

/// Lines that are evidence of something done twice.
fn nothing(broker: &Broker, what: &str, sql: &str) {
    assert_eq!(broker.query(sql).unwrap(), [""; 0], "{what}");
}

fn number(broker: &Broker, sql: &str) -> usize {
    broker.query(sql).unwrap()[0].parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_brokers_of_which_one_is_killed_again_and_again_lose_no_wake_up_and_do_nothing_twice() {
    let (kills, began) = (count(3, 100), Instant::now());
    // What agents report would be the most of what is shown of a failure; and one person makes all the changes.
    let quiet = [
        ("BROKKR__TELEMETRY__LOG__LEVEL", "warn"),
        ("BROKKR__LIMITS__REQUESTS_PER_SECOND", "0"),
        ("BROKKR__LIMITS__AGENT_REQUESTS_PER_SECOND", "0"),
    ];
    let one = Broker::start(Engine::Postgres, &quiet).await.unwrap();
    let other = one.beside_with(&quiet).await.unwrap();
    one.query(WATCH).unwrap();
    let admin = one.admin();
    let lost = Arc::new(Mutex::new(Vec::new()));
    let done = Arc::new(AtomicBool::new(false));
    let (senders, newest): (Vec<_>, Vec<_>) = (0..STACKS).map(|_| watch::channel(0)).unzip();
    let newest: Newest = newest.try_into().unwrap();

    let mut agents = tokio::task::JoinSet::new();
    for number in 0..AGENTS {
        let name: Name = format!("agent-{number}").parse().unwrap();
        let request = CreateAgent { name: name.clone(), cluster: name, labels: Labels::default() };
        let key = admin.create_agent(&request).await.unwrap().secret;
        let broker = Either::of([&one, &other], &key, number);
        let (newest, lost) = (newest.clone(), Arc::clone(&lost));
        agents.spawn(Agent { broker, newest, seen: [0; STACKS], etag: None, lost, polls: 0 }.run(Arc::clone(&done)));
    }
    let (changes, mut changed) = watch::channel(0);
    let mut writers = tokio::task::JoinSet::new();
    for (stack, newest) in senders.into_iter().enumerate() {
        let targets = TargetSelector { labels: Some(Default::default()), names: vec![] };
        let put = PutStack { targets, ..PutStack::default() };
        admin.put_stack(&format!("stack-{stack}").parse().unwrap(), &put).await.unwrap();
        let broker = Either::of([&one, &other], &one.key(), stack);
        writers.spawn(write(broker, stack, newest, changes.clone(), Arc::clone(&done)));
    }

    let mut brokers = [one, other];
    for kill in 0..usize::try_from(kills).unwrap() {
        let enough = changed.borrow_and_update().saturating_add(CHANGES);
        tokio::time::timeout(LIMIT, changed.wait_for(|changes| *changes >= enough)).await.expect("changes go on").unwrap();
        let victim = &mut brokers[kill % 2];
        victim.process.kill();
        victim.again().await.unwrap();
    }
    done.store(true, Ordering::Release);
    tokio::time::timeout(LIMIT, writers.join_all()).await.expect("the writers end");
    let polls = tokio::time::timeout(LIMIT, agents.join_all()).await.expect("every agent sees the last change");
    assert_eq!(*lost.lock(), [""; 0], "lost wake-ups");

    let broker = &brokers[0];
    let unsequenced = || async {
        match number(broker, "SELECT count(*) FROM events WHERE position IS NULL") {
            0 => Ok(()),
            waiting => Err(format!("{waiting} events")),
        }
    };
    // A killed broker's lease must run out first.
    until("every event to have its position", LIMIT, unsequenced).await.unwrap();
    let made = "SELECT stack_id, generation, count(*) FROM events WHERE type = 'deployment_object.created' GROUP BY 1, 2";
    nothing(broker, "two events of one change", &format!("{made} HAVING count(*) > 1"));
    let events = number(broker, &format!("SELECT count(*) FROM ({made}) AS made"));
    let objects = number(broker, "SELECT sum(generation) FROM stacks");
    assert_eq!((events, objects), (*changed.borrow(), *changed.borrow()), "each acknowledged change is one event");
    let places = broker.query("SELECT count(*), count(DISTINCT position), min(position), max(position) FROM events").unwrap();
    let all = number(broker, "SELECT count(*) FROM events");
    assert_eq!(places, [format!("{all}|{all}|1|{all}")], "positions have no holes and no repeats");
    nothing(broker, "an event got a second position", "SELECT * FROM second_positions");
    nothing(
        broker,
        "a token with two holders",
        "SELECT name, token FROM lease_log GROUP BY 1, 2 HAVING count(DISTINCT holder) > 1",
    );
    nothing(broker, "a token went backwards", "SELECT * FROM lease_log WHERE token < was_token");
    let stolen =
        "SELECT * FROM lease_log WHERE holder <> was_holder AND (token <> was_token + 1 OR until - was_until < 10 * 1000000)";
    nothing(broker, "a lease was taken before it ran out", stolen);
    let leases_taken_over = number(broker, "SELECT count(*) FROM lease_log WHERE holder <> was_holder");
    let (changes, polls) = (*changed.borrow(), polls.into_iter().sum());
    let evidence = Evidence { kills, changes, polls, events: all, leases_taken_over, milliseconds: began.elapsed().as_millis() };
    leave("brokers", &evidence);
    assert!(leases_taken_over > 0, "somebody was killed who held a lease: {evidence:?}");
}
