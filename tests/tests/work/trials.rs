//! Seeded trials: agents and the broker are killed at random while they carry orders out, and at the end each order is recorded done once,
//! or failed after its attempts. `make test` runs few orders; `make soak` runs 10,000 with 50 agents, and leaves `target/soak/work-orders.json`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use brokkr_api::{
    ErrorCode, Labels, Name, WorkOrderId,
    agents::CreateAgent,
    client::{Client, ClientError},
    work_orders::{
        ClaimWork, ClaimedOrder, CreateWorkOrder, MAX_ATTEMPTS, OnAgentLoss, RenewWork, Renewal, ReportWork, WorkKind, WorkOrder,
        WorkOrdersQuery, WorkOutcome, WorkState,
    },
};
use brokkr_tests::{
    evidence::{count, is_soak, leave},
    fleet::{Broker, Engine, LIMIT},
    lab::until,
};
use futures::future::join_all;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::sleep;

/// The shortest lease that there is.
const LEASE: Duration = Duration::from_secs(5);
/// Between two looks for work, and between two tries of a request that was not answered.
const PAUSE: Duration = Duration::from_millis(50);
/// One in so many moments kills an agent.
const DEATHS: u32 = 12;

/// What has happened in the clusters, which knows no broker.
#[derive(Default)]
struct Ledger {
    /// The clusters in which each attempt was started.
    starts: BTreeMap<WorkOrderId, BTreeSet<(usize, u32)>>,
    claims: u64,
    deaths: u64,
}

/// What one trial was, for the evidence.
#[derive(Debug, Default, Serialize)]
struct Trial {
    engine: &'static str,
    orders: usize,
    agents: usize,
    claims: u64,
    agents_killed: u64,
    broker_killed: u64,
    ended: BTreeMap<String, usize>,
    seconds: u64,
}

/// Somebody has killed the agent.
struct Killed;

/// An agent with its cluster, whose process is killed at random.
struct Agent {
    number: usize,
    client: Client,
    ledger: Arc<Mutex<Ledger>>,
    over: Arc<AtomicBool>,
    random: StdRng,
}

impl Agent {
    async fn live(mut self) {
        while !self.over.load(Ordering::Relaxed) {
            let Err(Killed) = self.work().await else { return };
            self.ledger.lock().unwrap().deaths += 1;
            // Mostly it is back at once, and sometimes when its lease is over.
            if self.random.random_bool(0.2) {
                sleep(LEASE + PAUSE).await;
            }
        }
    }

    /// One process of it.
    async fn work(&mut self) -> Result<(), Killed> {
        let resumed = self.claim(true).await?;
        for order in resumed {
            self.carry_out(order).await?;
        }
        while !self.over.load(Ordering::Relaxed) {
            match self.claim(false).await?.pop() {
                Some(order) => self.carry_out(order).await?,
                None => sleep(PAUSE).await,
            }
        }
        Ok(())
    }

    fn may_die(&mut self) -> Result<(), Killed> {
        if self.random.random_ratio(1, DEATHS) { Err(Killed) } else { Ok(()) }
    }

    async fn claim(&mut self, resume: bool) -> Result<Vec<ClaimedOrder>, Killed> {
        let kinds = if resume { Vec::new() } else { WorkKind::ALL.to_vec() };
        loop {
            let claimed = self.client.claim_work(&ClaimWork { kinds: kinds.clone(), resume }).await;
            if let Ok(claimed) = claimed {
                self.ledger.lock().unwrap().claims += u64::from(!resume) * claimed.orders.len() as u64;
                self.may_die()?;
                return Ok(claimed.orders);
            }
            sleep(PAUSE).await;
        }
    }

    /// What the real agent does: asks for leave, starts what is not there, tells how it ended.
    async fn carry_out(&mut self, order: ClaimedOrder) -> Result<(), Killed> {
        if !order.started && !self.tell(&order, WorkOutcome::Started, false).await? {
            return Ok(());
        }
        let attempt = (self.number, order.attempt);
        let is_there = self.ledger.lock().unwrap().starts.entry(order.id).or_default().contains(&attempt);
        if order.started && !is_there {
            let again = order.on_agent_loss == OnAgentLoss::Retry;
            return self.tell(&order, WorkOutcome::Failed, again).await.map(drop);
        }
        self.ledger.lock().unwrap().starts.entry(order.id).or_default().insert(attempt);
        self.may_die()?;
        let renewal = Renewal { id: order.id, token: order.token, progress: Some("half of it".to_owned()) };
        if let Ok(renewed) = self.client.renew_work(&RenewWork { orders: vec![renewal] }).await
            && !renewed.orders[0].held
        {
            return Ok(());
        }
        self.may_die()?;
        let fails = order.on_agent_loss == OnAgentLoss::Retry && self.random.random_ratio(1, 10);
        let outcome = if fails { WorkOutcome::Failed } else { WorkOutcome::Succeeded };
        self.tell(&order, outcome, fails).await.map(drop)
    }

    /// Tells until the broker has answered; tells whether it accepted.
    async fn tell(&mut self, order: &ClaimedOrder, outcome: WorkOutcome, retry: bool) -> Result<bool, Killed> {
        let (id, token) = (order.id, order.token);
        let reason = (outcome == WorkOutcome::Failed).then(|| "container_failed".to_owned());
        let report = ReportWork { id, token, outcome, reason, message: None, retry, object: None, log: None };
        loop {
            self.may_die()?;
            match self.client.report_work(&report).await {
                Ok(_) => break,
                Err(ClientError::Problem(problem)) if problem.code == ErrorCode::LeaseLost => return Ok(false),
                Err(_) => sleep(PAUSE).await,
            }
        }
        self.may_die()?;
        Ok(true)
    }
}

fn request(number: usize) -> CreateWorkOrder {
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}});
    let on_agent_loss = if number.is_multiple_of(3) { "unknown" } else { "retry" };
    let order = json!({"name": "a", "targets": {"labels": {"matchLabels": {"trial": "yes"}}}, "work": {"job": {"manifest": job}},
        "max_attempts": 5, "backoff_seconds": 0, "on_agent_loss": on_agent_loss});
    serde_json::from_value(order).unwrap()
}

async fn all_orders(broker: &Broker) -> Vec<WorkOrder> {
    let (mut orders, mut cursor) = (Vec::new(), None);
    loop {
        let query = WorkOrdersQuery { limit: Some(500), cursor, ..WorkOrdersQuery::default() };
        let page = broker.admin().work_orders(&query).await.unwrap();
        orders.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return orders;
        }
    }
}

/// Types of the events that say how each order ended.
fn endings(broker: &Broker) -> BTreeMap<String, Vec<String>> {
    let sql = "SELECT type, data FROM events WHERE type IN ('work_order.succeeded', 'work_order.failed', 'work_order.unknown')";
    let mut endings: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in broker.query(sql).unwrap() {
        let (kind, data) = line.split_once('|').unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        endings.entry(data["work_order"].as_str().unwrap().to_owned()).or_default().push(kind.to_owned());
    }
    endings
}

/// Each order is recorded done once, or failed after its attempts; who does not want it done twice may never learn how it ended.
fn check(orders: &[WorkOrder], endings: &BTreeMap<String, Vec<String>>, ledger: &Ledger) {
    assert!(orders.iter().all(|order| order.attempts <= MAX_ATTEMPTS));
    for order in orders {
        let told = endings.get(&order.id.to_string()).cloned().unwrap_or_default();
        assert_eq!(told, [format!("work_order.{}", order.state)], "{order:?}");
        let nothing = BTreeSet::new();
        let starts = ledger.starts.get(&order.id).unwrap_or(&nothing);
        let clusters: BTreeSet<_> = starts.iter().map(|(agent, _)| agent).collect();
        match (order.state, order.on_agent_loss) {
            (WorkState::Succeeded, _) => assert!(starts.iter().any(|(_, attempt)| *attempt == order.attempts), "{order:?}"),
            (WorkState::Failed, OnAgentLoss::Retry) => assert_eq!(order.attempts, order.max_attempts, "{order:?}"),
            // The last attempt was lost before it was started, or the agent was killed before it had started what it may.
            (WorkState::Failed, OnAgentLoss::Unknown) => assert_eq!(clusters.len(), 0, "{order:?}"),
            (WorkState::Unknown, OnAgentLoss::Unknown) => assert!(order.started_at.is_some(), "{order:?}"),
            _ => unreachable!("{order:?}"),
        }
        if order.on_agent_loss == OnAgentLoss::Unknown {
            assert!(clusters.len() <= 1, "started in a second cluster: {order:?}");
        }
    }
}

async fn trial(engine: Engine, orders: usize, agents: usize, limit: Duration) -> Trial {
    let began = Instant::now();
    let settings = [
        ("BROKKR__WORK_ORDERS__LEASE_SECONDS", "5"),
        ("BROKKR__LIMITS__REQUESTS_PER_SECOND", "0"),
        ("BROKKR__LIMITS__AGENT_REQUESTS_PER_SECOND", "0"),
    ];
    let mut broker = Broker::start(engine, &settings).await.unwrap();
    let admin = broker.admin();
    for number in 0..orders {
        admin.create_work_order(&request(number), None).await.unwrap();
    }
    let (ledger, over) = (Arc::new(Mutex::new(Ledger::default())), Arc::new(AtomicBool::new(false)));
    let mut lives = Vec::new();
    for number in 0..agents {
        let name: Name = format!("trial-{number}").parse().unwrap();
        let labels = Labels::try_from(BTreeMap::from([("trial".to_owned(), "yes".to_owned())])).unwrap();
        let created = admin.create_agent(&CreateAgent { name: name.clone(), cluster: name, labels }).await.unwrap();
        let random = StdRng::seed_from_u64(number as u64);
        let (ledger, over) = (Arc::clone(&ledger), Arc::clone(&over));
        lives.push(tokio::spawn(Agent { number, client: broker.client(&created.secret), ledger, over, random }.live()));
    }
    let mut killed = 0;
    let deadline = Instant::now() + limit;
    let open = "SELECT count(*) FROM work_orders WHERE finished_at IS NULL";
    // Twice at first, and then seldom, so that orders get done in between.
    for pause in [2, 3].into_iter().chain(std::iter::repeat(20)) {
        let (broker_now, until_then) = (&broker, Instant::now() + Duration::from_secs(pause));
        let look = || async {
            let left = broker_now.query(open).unwrap_or_default().join("");
            if left == "0" || Instant::now() >= until_then { Ok(left) } else { Err(left) }
        };
        let left = until("the orders or the next death of the broker", LIMIT, look).await.unwrap();
        if left == "0" {
            break;
        }
        assert!(Instant::now() < deadline, "{left} orders are still open");
        broker.process.kill();
        broker.again().await.unwrap();
        killed += 1;
    }
    over.store(true, Ordering::Relaxed);
    join_all(lives).await.into_iter().for_each(Result::unwrap);

    let found = all_orders(&broker).await;
    assert_eq!(found.len(), orders, "none is lost");
    let ledger = ledger.lock().unwrap();
    check(&found, &endings(&broker), &ledger);
    let mut ended = BTreeMap::new();
    for order in &found {
        *ended.entry(order.state.to_string()).or_default() += 1;
    }
    assert!(ledger.deaths > 0 && ended.contains_key("succeeded"), "the trial tries too little: {ended:?}");
    Trial {
        engine: if engine == Engine::Sqlite { "sqlite" } else { "postgresql" },
        orders,
        agents,
        claims: ledger.claims,
        agents_killed: ledger.deaths,
        broker_killed: killed,
        ended,
        seconds: began.elapsed().as_secs(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_killed_each_order_is_recorded_done_once_or_failed_after_its_attempts() {
    let (orders, agents) = (count(90, 10_000), count(9, 50));
    let limit = if is_soak() { Duration::from_secs(3_600) } else { LIMIT * 3 };
    let mut trials = Vec::new();
    for engine in Engine::ALL {
        trials.push(trial(engine, usize::try_from(orders).unwrap(), usize::try_from(agents).unwrap(), limit).await);
        leave("work-orders", &trials);
    }
}
