//! The agent applying a large stack, again and again with other values.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use brokkr_api::Name;
use brokkr_tests::{
    cluster::Cluster,
    fleet::{Agent, Broker, Engine, borrowed, config_map},
    lab::LabError,
};

use super::{
    Plan,
    effort::{Effort, Measuring},
    mode::{Mode, compare, switch},
    sink::Sink,
};
use crate::bench_table::{Row, fail};

/// Until the outcome has been exported, which belongs to the costs.
const EXPORTED: Duration = Duration::from_millis(1_500);

/// An agent with a stack and a namespace of its own.
struct Subject {
    agent: Agent,
    stack: Name,
    namespace: String,
    /// How often it has applied; each time other values.
    runs: AtomicU32,
}

impl Subject {
    async fn measure(&self, broker: &Broker, plan: &Plan, mode: Mode, round: usize) -> Result<Effort, LabError> {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        switch(&broker.admin(), Some(&self.agent.name), mode != Mode::Off).await?;
        let objects = 0..plan.objects;
        let manifests: String =
            objects.map(|index| config_map(&self.namespace, &format!("object-{index:05}"), &run.to_string())).collect();
        let measuring = Measuring::begin(self.agent.process.pid())?;
        // The broker makes no spans: it passes on what it was sent, and the agent follows the flag of that.
        let flag = if mode.samples(round) { "01" } else { "00" };
        let trace = u128::from(run) + 1;
        let client = broker.traced(&format!("00-{trace:032x}-00f067aa0ba902b7-{flag}"));
        client.put_deployment_objects(&self.stack, "application/yaml", manifests.into_bytes()).await.map_err(fail)?;
        let rollout = broker.settle(&self.stack).await;
        if !rollout.done || rollout.failed > 0 {
            return Err(fail(format!("not applied: {rollout:?}")));
        }
        tokio::time::sleep(EXPORTED).await;
        measuring.end().await
    }
}

pub(super) async fn run(plan: &Plan, sink: &Sink) -> Result<Vec<Row>, LabError> {
    let Plan { pairs, objects, .. } = plan;
    println!(
        "agent: {objects} ConfigMaps with other values, {pairs} times without and with tracing, for each of {} modes",
        Mode::EACH.len()
    );
    let cluster = Cluster::shared().await?;
    let broker = Broker::start(Engine::Sqlite, &[]).await?;
    let mut subjects = Vec::new();
    for mode in Mode::EACH {
        let settings = mode.settings(&sink.endpoint());
        let name = cluster.unique("bench");
        let agent = broker.agent(&name, &borrowed(&settings)).await?;
        let stack = broker.stack(&name, &[&agent]).await;
        let subject =
            Subject { agent, stack, namespace: cluster.create_namespace("bench-tracing").await?, runs: AtomicU32::new(0) };
        // The first apply creates; the measured ones change.
        subject.measure(&broker, plan, Mode::Off, *pairs).await?;
        subjects.push((mode, subject));
    }
    let measure = async |round, mode, on| match subjects.iter().find(|(of, _)| *of == mode) {
        Some((_, subject)) => subject.measure(&broker, plan, if on { mode } else { Mode::Off }, round).await,
        None => Err(fail("no agent of this mode")),
    };
    let rows = compare(&format!("agent applying {objects} objects"), *pairs, measure).await?;
    for (_, subject) in &subjects {
        broker.delete(&subject.stack).await;
        cluster.delete_namespace(&subject.namespace).await?;
    }
    Ok(rows)
}
