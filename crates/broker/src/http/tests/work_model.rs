//! Random interleavings of everything that can happen to work orders, by several agents and a person, against the pure state machine:
//! whatever the broker answers and stores is what the model says. `make soak` tries 10,000 orders and 50 agents.

use std::{collections::BTreeMap, env, time::Duration};

use brokkr_api::{
    AgentId, Timestamp,
    work_orders::{OnAgentLoss, WorkState},
};
use brokkr_runtime::{Ids, SeededIds};
use serde_json::{Value, json};

use super::work_orders::job;
use crate::{
    domain::work_order::{Event, Holder, Outcome, Refusal, Standing, Terms, transition},
    testing::{Engine, TestAgent, World},
};

const LEASE: Duration = Duration::from_secs(60);

struct Size {
    orders: usize,
    agents: usize,
    steps: usize,
}

fn size() -> Size {
    if env::var_os("BROKKR_SOAK").is_some() {
        Size { orders: 10_000, agents: 50, steps: 100_000 }
    } else {
        Size { orders: 40, agents: 5, steps: 600 }
    }
}

/// One order as the model has it.
struct Model {
    terms: Terms,
    standing: Standing,
    priority: i64,
    claims: u32,
    starts: Vec<u64>,
}

struct Trial {
    world: World,
    agents: Vec<(TestAgent, AgentId)>,
    orders: BTreeMap<String, Model>,
    random: SeededIds,
}

impl Trial {
    async fn new(world: World, size: &Size) -> Self {
        let mut agents = Vec::new();
        for number in 0..size.agents {
            let agent = world.agent(&format!("edge-{number}"), json!({"site": "a"})).await;
            let id = agent.id.parse().unwrap();
            agents.push((agent, id));
        }
        let mut trial = Self { world, agents, orders: BTreeMap::new(), random: SeededIds::new(11) };
        for _ in 0..size.orders {
            trial.make().await;
        }
        trial
    }

    fn pick(&self, below: usize) -> usize {
        let mut bytes = [0; 8];
        self.random.fill(&mut bytes);
        usize::try_from(u64::from_le_bytes(bytes) % below as u64).unwrap()
    }

    fn now(&self) -> Timestamp {
        self.world.state.clock.now()
    }

    async fn make(&mut self) {
        let attempts = u32::try_from(self.pick(4) + 1).unwrap();
        let policy = if self.pick(2) == 0 { OnAgentLoss::Unknown } else { OnAgentLoss::Retry };
        let (backoff, priority) = ([0, 5][self.pick(2)], i64::try_from(self.pick(3)).unwrap());
        let deadline = (self.pick(4) == 0).then_some(600);
        let mut body = job("model");
        body["max_attempts"] = json!(attempts);
        body["on_agent_loss"] = json!(policy);
        body["backoff_seconds"] = json!(backoff);
        body["priority"] = json!(priority);
        body["deadline_seconds"] = json!(deadline);
        // Of two orders of the same millisecond nobody knows which is older.
        self.world.clock.advance(Duration::from_millis(2));
        let id = self.world.order(body).await;
        let terms = Terms {
            max_attempts: attempts,
            backoff_seconds: backoff,
            on_agent_loss: policy,
            deadline_seconds: deadline,
            not_before: None,
        };
        let standing = Standing::new(&terms, self.now());
        self.orders.insert(id, Model { terms, standing, priority, claims: 0, starts: Vec::new() });
    }

    /// The order that the next claim must give.
    fn next(&self) -> Option<String> {
        let queued = self.orders.iter().filter(|(_, order)| order.standing.state == WorkState::Queued);
        queued.min_by_key(|(id, order)| (-order.priority, (*id).clone())).map(|(id, _)| id.clone())
    }

    /// Any order, and a token of it that somebody has or had.
    fn any(&self) -> (String, u64) {
        let held: Vec<_> = self.orders.iter().filter(|(_, order)| order.standing.state.is_held()).collect();
        // Mostly one that somebody has: with others little can happen.
        let (id, order) = if held.is_empty() || self.pick(4) == 0 {
            self.orders.iter().nth(self.pick(self.orders.len())).unwrap()
        } else {
            held[self.pick(held.len())]
        };
        (id.clone(), order.standing.token.saturating_sub(u64::from(self.pick(4) == 0)))
    }

    /// Lets the same happen to the model; tells how the broker must answer.
    fn happen(&mut self, id: &str, event: Event) -> u16 {
        let now = self.now();
        let order = self.orders.get_mut(id).unwrap();
        match transition(&order.standing, &order.terms, event, now) {
            Ok(next) => {
                order.standing = next.standing;
                200
            }
            Err(Refusal::NotHolder | Refusal::NotStarted | Refusal::NotCancelled | Refusal::Finished | Refusal::NotRetriable) => {
                409
            }
            Err(Refusal::NotQueued) => unreachable!("claims are not tried on what is not queued"),
        }
    }

    async fn claim(&mut self) {
        let (agent, id) = self.agents[self.pick(self.agents.len())].clone();
        let answer = self.world.claim(&agent).await.json;
        let Some(next) = self.next() else {
            assert_eq!(answer["orders"], json!([]));
            return;
        };
        let claimed = &answer["orders"][0];
        assert_eq!(claimed["id"], json!(next), "the most urgent, then the oldest");
        let until = self.now().after(LEASE);
        self.happen(&next, Event::Claim { agent: id, until });
        let order = self.orders.get_mut(&next).unwrap();
        order.claims += 1;
        assert_eq!(
            (claimed["token"].as_u64(), claimed["attempt"].as_u64()),
            (Some(order.standing.token), Some(u64::from(order.claims)))
        );
    }

    async fn report(&mut self, outcome: &str) {
        let ((agent, agent_id), (id, token)) = (self.agents[self.pick(self.agents.len())].clone(), self.any());
        // Mostly the one who has it; anybody else must be refused.
        let held_by = self.orders[&id].standing.agent.filter(|_| self.pick(3) > 0);
        let (agent, agent_id) =
            held_by.and_then(|holder| self.agents.iter().find(|(_, id)| *id == holder).cloned()).unwrap_or((agent, agent_id));
        let holder = Holder { agent: agent_id, token };
        let until = self.now().after(LEASE);
        let reason = Outcome { reason: "ExitCode".to_owned(), message: String::new() };
        let event = match outcome {
            "started" => Event::Start { holder, until },
            "succeeded" => Event::Succeed { holder },
            "cancelled" => Event::Stop { holder },
            _ => Event::Fail { holder, outcome: reason, retry: true },
        };
        let before = self.orders[&id].standing.state;
        let status = self.happen(&id, event);
        self.world.tell(&agent, &id, token, outcome).await.expect(status);
        let order = self.orders.get_mut(&id).unwrap();
        if before != WorkState::Running && order.standing.state == WorkState::Running {
            order.starts.push(token);
        }
    }

    async fn renew(&mut self) {
        let ((agent, agent_id), (id, token)) = (self.agents[self.pick(self.agents.len())].clone(), self.any());
        let until = self.now().after(LEASE);
        let status = self.happen(&id, Event::Renew { holder: Holder { agent: agent_id, token }, until });
        let body = json!({"orders": [{"id": id, "token": token}]});
        let renewed = self.world.post(&agent.key, "/api/v1/agent/work-orders:renew", body).await.expect(200).json;
        assert_eq!(renewed["orders"][0]["held"], json!(status == 200));
    }

    async fn resume(&mut self) {
        let (agent, agent_id) = self.agents[self.pick(self.agents.len())].clone();
        let body = json!({"kinds": [], "resume": true});
        let resumed = self.world.post(&agent.key, "/api/v1/agent/work-orders:claim", body).await.expect(200).json;
        let held = |order: &Model| order.standing.state.is_held() && order.standing.agent == Some(agent_id);
        let ids: Vec<_> = self.orders.iter().filter(|(_, order)| held(order)).map(|(id, _)| id.clone()).collect();
        assert_eq!(resumed["orders"].as_array().unwrap().len(), ids.len());
        let until = self.now().after(LEASE);
        for id in ids {
            self.happen(&id, Event::Resume { agent: agent_id, until });
        }
    }

    async fn by_a_person(&mut self, what: &str) {
        let (id, _) = self.any();
        let status = self.happen(&id, if what == "cancel" { Event::Cancel } else { Event::Retry });
        self.world.post(&self.world.admin, &format!("/api/v1/work-orders/{id}/{what}"), Value::Null).await.expect(status);
    }

    async fn pass(&mut self) {
        let span = Duration::from_secs([1, 7, 30, 61][self.pick(4)]);
        self.world.pass(span).await;
        let now = self.now();
        for order in self.orders.values_mut() {
            loop {
                let next = transition(&order.standing, &order.terms, Event::Time, now).unwrap().standing;
                if next == order.standing {
                    break;
                }
                order.standing = next;
            }
        }
    }

    async fn step(&mut self) {
        match self.pick(20) {
            0..=4 => self.claim().await,
            5..=8 => self.report("started").await,
            9..=10 => self.report("succeeded").await,
            11..=12 => self.report("failed").await,
            13 => self.report("cancelled").await,
            14..=15 => self.renew().await,
            16 => self.resume().await,
            17 => self.by_a_person("cancel").await,
            18 => self.by_a_person("retry").await,
            _ => self.pass().await,
        }
    }

    /// Everything that is stored is what the model says.
    async fn compare(&self) {
        for (id, model) in &self.orders {
            let row =
                self.world.state.db.find_work_order(crate::store::Scope::Everybody, id.parse().unwrap()).await.unwrap().unwrap();
            assert_eq!(row.standing, model.standing, "{id}");
            assert_eq!(row.standing.attempts, model.claims, "attempts are claims");
            if model.terms.on_agent_loss == OnAgentLoss::Unknown {
                let mut tokens = model.starts.clone();
                tokens.dedup();
                assert_eq!(tokens.len(), model.starts.len(), "started twice under one claim");
            }
        }
    }
}

#[tokio::test]
async fn whatever_agents_and_people_do_in_whatever_order_the_broker_does_what_the_model_says() {
    Engine::each(async |world: World| {
        let size = size();
        let mut trial = Trial::new(world, &size).await;
        for step in 0..size.steps {
            trial.step().await;
            if step % (size.steps / 6) == 0 {
                trial.compare().await;
            }
        }
        trial.compare().await;
        let ended = trial.orders.values().filter(|order| order.standing.state.is_finished()).count();
        assert!(ended > 0 && trial.orders.values().any(|order| order.starts.len() > 1), "the trial tries too little");
    })
    .await;
}
