use std::collections::BTreeSet;

use brokkr_api::{Name, deployment_objects::AcceptedDeploymentObject};
use brokkr_tests::{
    cluster::Cluster,
    fleet::{Agent, Broker, Engine, LIMIT},
    kube_proxy::KubeProxy,
    otlp::{Kind, Receiver, Span, Trace, traced},
};

/// A broker and one agent that trace everything, with a proxy between the agent and the API server.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) namespace: String,
    pub(crate) broker: Broker,
    pub(crate) agent: Agent,
    pub(crate) proxy: KubeProxy,
}

/// A change that was carried out: the spans that tell of it, its own trace and those of attempts that link to it.
pub(crate) struct Rollout {
    pub(crate) trace: Trace,
    pub(crate) spans: Vec<Span>,
    told: Told<'static>,
}

/// Healthy is said at once where it is known at once.
pub(crate) const APPLIED: &[&str] = &["applied", "healthy"];

/// What has to be told of a change before it is told in whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told<'a> {
    /// With what the name of the span begins whose request was accepted.
    pub(crate) request: &'a str,
    /// The span of an attempt.
    pub(crate) span: &'a str,
    /// The phases with which one may end that brings the change about; none for work that has no phases.
    pub(crate) phases: &'a [&'a str],
    /// How many have to.
    pub(crate) outcomes: usize,
}

impl World {
    pub(crate) async fn start(engine: Engine, what: &str) -> Self {
        Self::start_with(engine, what, &[]).await
    }

    pub(crate) async fn start_with(engine: Engine, what: &str, of_broker: &[(&str, &str)]) -> Self {
        let endpoint = Receiver::shared().grpc_endpoint();
        let cluster = Cluster::shared().await.unwrap();
        let namespace = cluster.create_namespace(what).await.unwrap();
        let proxy = KubeProxy::start(cluster.kubeconfig()).await.unwrap();
        let broker = Broker::start(engine, &[&traced(&endpoint)[..], of_broker].concat()).await.unwrap();
        let name = cluster.unique(what);
        let mut agent = broker.unconnected_agent(&name, proxy.kubeconfig(), &traced(&endpoint)).await.unwrap();
        connected(&mut agent).await;
        Self { cluster, namespace, broker, agent, proxy }
    }

    /// Sends manifests and waits until the whole of what is told of their rollout has arrived.
    pub(crate) async fn roll(&self, stack: &Name, manifests: &str) -> Rollout {
        let accepted = self.broker.apply(stack, manifests).await;
        told(&accepted).await
    }
}

pub(crate) async fn connected(agent: &mut Agent) {
    agent.process.wait_for_line("the connection", LIMIT, |line| line.contains("the agent is connected")).await.unwrap();
}

/// Waits for the spans of a rollout that was applied: each with its parent, each request with its answer.
pub(crate) async fn told(accepted: &AcceptedDeploymentObject) -> Rollout {
    let id = accepted.deployment_object.trace_id.clone().unwrap();
    Told { request: "PUT ", span: "process deployment", phases: APPLIED, outcomes: 1 }.of(&id).await
}

impl Told<'static> {
    /// Waits for the spans of the change whose trace has this id.
    pub(crate) async fn of(self, id: &str) -> Rollout {
        let gather = || {
            let trace = Receiver::shared().trace(id);
            let attempts: Vec<&str> =
                trace.linked.iter().filter(|span| span.kind == Kind::Consumer).map(|span| &*span.trace_id).collect();
            let of_attempts = trace.linked.iter().filter(|span| attempts.contains(&&*span.trace_id));
            let spans: Vec<_> = trace.spans.iter().chain(of_attempts).cloned().collect();
            Rollout { trace, spans, told: self }
        };
        let is_whole = |_: &[Span]| {
            let found = gather().spans;
            let has = |id: &str| found.iter().any(|span| span.span_id == id);
            let is_answered =
                |call: &Span| found.iter().any(|span| span.kind == Kind::Server && span.parent.as_deref() == Some(&call.span_id));
            let is_report = |span: &&Span| span.name.starts_with("POST /api/v1/agent/") && span.kind == Kind::Client;
            found.iter().filter(|span| self.is_outcome(span)).count() >= self.outcomes
                && found.iter().any(|span| self.is_request(span))
                // Whoever asked stands outside of what is told.
                && found.iter().all(|span| span.parent.as_ref().is_none_or(|parent| has(parent) || self.is_request(span)))
                && found.iter().filter(is_report).all(is_answered)
        };
        Receiver::shared().wait_for(&format!("whole change of trace {id}"), LIMIT, is_whole).await.unwrap();
        gather()
    }

    fn is_request(&self, span: &Span) -> bool {
        span.kind == Kind::Server && span.name.starts_with(self.request) && !span.name.contains("/agent/")
    }

    fn is_outcome(&self, span: &Span) -> bool {
        span.name == self.span
            && (self.phases.is_empty() || span.text("brokkr.phase").is_some_and(|phase| self.phases.contains(&phase)))
    }
}

impl Rollout {
    /// From the moment the request arrived until the attempt that brought it about ended.
    pub(crate) fn stretch(&self) -> (u64, u64) {
        let accepted = self.spans.iter().find(|span| self.told.is_request(span)).unwrap();
        let done = self.spans.iter().filter(|span| self.told.is_outcome(span)).map(|span| span.end_nanos).max().unwrap();
        (accepted.start_nanos, done)
    }

    /// The change as each of its agents sees it: what the broker did for all of them, and what this one did.
    pub(crate) fn parts(&self) -> Vec<Self> {
        let outcomes = self.spans.iter().filter(|span| self.told.is_outcome(span));
        let agents: BTreeSet<_> = outcomes.filter_map(|span| span.text("brokkr.agent.name")).collect();
        let instance = |span: &Span| span.resource.get("service.instance.id").cloned();
        let part = |agent: &str| {
            let is_own = |span: &&Span| span.text("brokkr.agent.name") == Some(agent) && span.service == "brokkr-agent";
            let own = self.spans.iter().find(is_own).and_then(instance);
            let is_of = |span: &&Span| span.service != "brokkr-agent" || instance(span) == own;
            Self { trace: self.trace.clone(), spans: self.spans.iter().filter(is_of).cloned().collect(), told: self.told }
        };
        agents.into_iter().map(part).collect()
    }

    pub(crate) fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Span> {
        self.spans.iter().filter(move |span| span.name == name)
    }

    /// The longest span of this name, in milliseconds; nothing when there is none.
    pub(crate) fn longest(&self, name: &str) -> Option<u64> {
        self.named(name).map(|span| span.nanos() / 1_000_000).max()
    }
}
