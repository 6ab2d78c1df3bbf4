//! Daemons that go away.

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use super::{Fault, Incident, borrowed, send};
use crate::{
    cluster::Cluster,
    fleet::{Broker, Engine, LIMIT, config_map},
    kube_proxy::KubeProxy,
};

/// An agent that was there, and is killed. The broker misses it after a while.
pub(super) async fn agent_offline(settings: &[(&'static str, String)]) -> Incident {
    let broker = Broker::start(Engine::Sqlite, &borrowed(settings)).await.expect("a broker");
    let cluster = Cluster::shared().await.expect("the cluster");
    let without: Vec<_> = borrowed(settings).into_iter().filter(|(key, _)| !key.starts_with("BROKKR__AGENTS__")).collect();
    let mut agent = broker.agent(&cluster.unique("lost"), &without).await.expect("an agent");
    agent.process.kill();
    Incident::without_trace(vec![("brokkr-broker", broker.base.clone())], broker)
}

/// The broker dies while the agent applies: the outcome cannot be told, and is told when the broker is back.
pub(super) async fn broker_restarted(settings: &[(&'static str, String)]) -> Incident {
    let settings = borrowed(settings);
    let cluster = Cluster::shared().await.expect("the cluster");
    let namespace = cluster.create_namespace("in-flight").await.expect("a namespace");
    let mut broker = Broker::start(Engine::Sqlite, &settings).await.expect("a broker");
    let proxy = KubeProxy::start(cluster.kubeconfig()).await.expect("a proxy");
    let agent = broker.unconnected_agent(&cluster.unique("in-flight"), proxy.kubeconfig(), &settings).await;
    let mut agent = agent.expect("an agent");
    let stack = broker.stack("in-flight", &[&agent]).await;
    let mut alive = broker.process.pid().and_then(|pid| Pid::from_raw(pid.cast_signed()));
    proxy.plan(move |call| {
        let is_it = call.method == http::Method::PATCH && call.path.ends_with("/configmaps/in-flight");
        if let Some(pid) = alive.take_if(|_| is_it) {
            kill_process(pid, Signal::KILL).expect("the broker runs");
            // When the call goes on all its connections are closed. It is left to be waited for by its owner.
            waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).expect("a child of ours");
        }
        None
    });
    assert!(send(&broker, Fault::BrokerRestarted, &stack, &config_map(&namespace, "in-flight", "1")).await);
    let untold = |line: &str| line.contains("the outcome cannot be reported");
    agent.process.wait_for_line("an outcome that cannot be told", LIMIT, untold).await.expect("an outcome");
    // Collects the dead process, so that its id is nobody's.
    broker.process.kill();
    proxy.calm();
    broker.again().await.expect("the broker comes back");
    let rollout = broker.settle(&stack).await;
    assert!(rollout.done && rollout.failed == 0, "it is told in the end: {rollout:#?}");
    let daemons = vec![("brokkr-broker", broker.base.clone()), ("brokkr-agent", agent.base.clone())];
    Incident::of(Fault::BrokerRestarted, daemons, (broker, agent, proxy))
}
