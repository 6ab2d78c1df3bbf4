//! A broker and its simulated fleet.

use std::time::Duration;

use brokkr_api::{Name, TargetSelector, client::Client, stacks::PutStack};
use brokkr_tests::{
    fleet::{Broker, Engine},
    lab::{LabError, until},
    simulator::{Counts, Push, Simulator},
};

use crate::bench_table::fail;

/// How long agents wait for a change, in seconds.
pub(super) const WAIT: u64 = 30;
const SETTLE: Duration = Duration::from_secs(900);

/// How the fleet reaches its broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Plain,
    Tls,
}

/// A broker with a fleet.
pub(crate) struct World {
    pub(super) engine: Engine,
    pub(super) way: Way,
    pub(crate) broker: Broker,
    pub(super) admin: Client,
    pub(super) simulator: Simulator,
    pub(super) agents: u32,
    pub(super) wait: u64,
}

/// The limits work, and nobody here reaches them: the fleet is made with one key, and one agent polls as fast as it can.
const UNHINDERED: [(&str, &str); 4] = [
    ("BROKKR__LIMITS__REQUESTS_PER_SECOND", "1000000"),
    ("BROKKR__LIMITS__BURST", "1000000"),
    ("BROKKR__LIMITS__AGENT_REQUESTS_PER_SECOND", "1000000"),
    ("BROKKR__LIMITS__AGENT_BURST", "1000000"),
];

impl World {
    /// Starts a broker, makes stacks for everybody and agents, and waits until these have reported all of them.
    pub(crate) async fn start(engine: Engine, way: Way, agents: u32, stacks: u32, wait: u64) -> Result<Self, LabError> {
        let broker = match way {
            Way::Plain => Broker::start(engine, &UNHINDERED).await?,
            Way::Tls => Broker::start_with_tls(engine, &UNHINDERED).await?,
        };
        let admin = broker.admin();
        for number in 0..stacks {
            let stack = put_stack(&admin, &format!("everyone-{number}"), TargetSelector::everyone()).await?;
            let manifest = brokkr_tests::fleet::config_map("default", stack.as_str(), "first");
            admin.put_deployment_objects(&stack, "application/yaml", manifest.into_bytes()).await.map_err(fail)?;
        }
        let simulator = Simulator::start(&broker, agents, wait)?;
        let world = Self { engine, way, broker, admin, simulator, agents, wait };
        world.settle(u64::from(agents) * u64::from(stacks)).await?;
        Ok(world)
    }

    /// Waits until so many deployments were reported and all polls are open.
    pub(super) async fn settle(&self, reports: u64) -> Result<Counts, LabError> {
        until("the fleet to settle", SETTLE, || async {
            let counts = self.simulator.counts().map_err(|error| error.to_string())?;
            let parked = counts.parked + i64::from(self.agents / 100) >= i64::from(self.agents);
            if parked && counts.reports >= reports { Ok(counts) } else { Err(format!("{counts:?}")) }
        })
        .await
    }

    /// Waits until the fleet is gone.
    pub(super) async fn switch_off(&self) -> Result<(), LabError> {
        self.simulator.switch(false)?;
        until("the fleet to leave", SETTLE, || async {
            let counts = self.simulator.counts().map_err(|error| error.to_string())?;
            if counts.parked == 0 { Ok(()) } else { Err(format!("{counts:?}")) }
        })
        .await
    }

    /// Makes a stack for one agent.
    pub(super) async fn stack_of(&self, stack: &str, agent: u32) -> Result<(), LabError> {
        let names = vec![format!("sim-{agent}").parse().map_err(fail)?];
        put_stack(&self.admin, stack, TargetSelector { labels: None, names }).await.map(drop)
    }

    /// Sends content and waits until everybody that it is for has it and has reported it.
    pub(super) async fn push(&self, stack: &str, objects: u32, bytes: usize, value: &str) -> Result<(f64, Vec<f64>), LabError> {
        let before = self.simulator.counts()?.reports;
        let push = Push { stack: stack.to_owned(), objects, bytes, value: value.to_owned() };
        let pushed = self.simulator.push(push)?;
        until("the reports", SETTLE, || async {
            let reports = self.simulator.counts().map_err(|error| error.to_string())?.reports;
            if reports >= before + pushed.agents { Ok(()) } else { Err(format!("{reports} reports")) }
        })
        .await?;
        Ok((pushed.accepted, pushed.arrivals))
    }
}

pub(super) async fn put_stack(admin: &Client, stack: &str, targets: TargetSelector) -> Result<Name, LabError> {
    let name: Name = stack.parse().map_err(fail)?;
    admin.put_stack(&name, &PutStack { targets, ..PutStack::default() }).await.map_err(fail)?;
    Ok(name)
}
