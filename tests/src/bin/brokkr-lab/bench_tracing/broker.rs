//! The broker under polls and writes.

use std::time::Duration;

use brokkr_api::{
    Labels, Name, TargetSelector,
    agents::CreateAgent,
    client::{Client, Polled},
    stacks::PutStack,
};
use brokkr_tests::{
    fleet::{Broker, Engine, borrowed, config_map},
    lab::LabError,
};
use futures::{StreamExt, TryStreamExt, stream};

use super::{
    Plan,
    effort::{Effort, Measuring},
    mode::{Mode, compare, switch},
    sink::Sink,
};
use crate::bench_table::{Row, fail};

/// Requests in flight.
const IN_FLIGHT: usize = 8;
/// Until what was measured has been exported, which belongs to its costs.
const EXPORTED: Duration = Duration::from_millis(1_500);

/// No limit of requests is what is measured here.
const UNHINDERED: [(&str, &str); 4] = [
    ("BROKKR__LIMITS__REQUESTS_PER_SECOND", "1000000"),
    ("BROKKR__LIMITS__BURST", "1000000"),
    ("BROKKR__LIMITS__AGENT_REQUESTS_PER_SECOND", "1000000"),
    ("BROKKR__LIMITS__AGENT_BURST", "1000000"),
];

/// A broker with one agent to which nothing is new, and a stack that is nobody's.
struct Subject {
    broker: Broker,
    admin: Client,
    agent: Client,
    stack: Name,
}

impl Subject {
    async fn start(engine: Engine, mode: Mode, sink: &Sink) -> Result<Self, LabError> {
        let telemetry = mode.settings(&sink.endpoint());
        let broker = Broker::start(engine, &[&borrowed(&telemetry)[..], &UNHINDERED].concat()).await?;
        let admin = broker.admin();
        let name: Name = "bench".parse().map_err(fail)?;
        let request = CreateAgent { name: name.clone(), cluster: name.clone(), labels: Labels::default() };
        let agent = broker.client(&admin.create_agent(&request).await.map_err(fail)?.secret);
        let nobody = TargetSelector { labels: None, names: Vec::new() };
        admin.put_stack(&name, &PutStack { targets: nobody, ..PutStack::default() }).await.map_err(fail)?;
        Ok(Self { broker, admin, agent, stack: name })
    }

    async fn measure(&self, plan: &Plan, round: &str, on: bool) -> Result<Effort, LabError> {
        switch(&self.admin, None, on).await?;
        let Polled::Changed { etag, .. } = self.agent.desired_state(None, Duration::ZERO).await.map_err(fail)? else {
            return Err(fail("the first poll is answered in full"));
        };
        let etag = etag.as_str();
        let measuring = Measuring::begin(self.broker.process.pid())?;
        let every = (plan.polls / plan.writes.max(1)).max(1);
        let polls = stream::iter(0..plan.polls).map(|number| async move {
            if number % every == 0 && number / every < plan.writes {
                self.write(&format!("{round}-{number}")).await?;
            }
            match self.agent.desired_state(Some(etag), Duration::ZERO).await {
                Ok(Polled::Unchanged) => Ok(()),
                Ok(Polled::Changed { .. }) => Err(fail("something is new to the agent")),
                Err(error) => Err(fail(error)),
            }
        });
        polls.buffer_unordered(IN_FLIGHT).try_collect::<Vec<()>>().await?;
        tokio::time::sleep(EXPORTED).await;
        measuring.end().await
    }

    async fn write(&self, value: &str) -> Result<(), LabError> {
        let manifests: String = (0..10).map(|object| config_map("default", &format!("bench-{object}"), value)).collect();
        let written = self.admin.put_deployment_objects(&self.stack, "application/yaml", manifests.into_bytes()).await;
        written.map(drop).map_err(fail)
    }
}

pub(super) async fn run(plan: &Plan, engine: Engine, name: &str, sink: &Sink) -> Result<Vec<Row>, LabError> {
    let Plan { pairs, polls, writes, .. } = plan;
    println!(
        "broker on {name}: {polls} polls and {writes} writes, {pairs} times without and with tracing, for each of {} modes",
        Mode::EACH.len()
    );
    let mut subjects = Vec::new();
    for mode in Mode::EACH {
        let subject = Subject::start(engine, mode, sink).await?;
        // Statements are prepared, pools are full.
        subject.measure(plan, "warm", false).await?;
        subjects.push((mode, subject));
    }
    let measure = async |round, mode, on: bool| match subjects.iter().find(|(of, _)| *of == mode) {
        Some((_, subject)) => subject.measure(plan, &format!("{round}-{on}"), on && mode != Mode::Off).await,
        None => Err(fail("no broker of this mode")),
    };
    compare(&format!("broker on {name}"), *pairs, measure).await
}
