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

/// A rollout that is over: the spans that tell of it, its own trace and those of attempts that link to it.
pub(crate) struct Rollout {
    pub(crate) trace: Trace,
    pub(crate) spans: Vec<Span>,
}

impl World {
    pub(crate) async fn start(engine: Engine, what: &str) -> Self {
        let endpoint = Receiver::shared().grpc_endpoint();
        let cluster = Cluster::shared().await.unwrap();
        let namespace = cluster.create_namespace(what).await.unwrap();
        let proxy = KubeProxy::start(cluster.kubeconfig()).await.unwrap();
        let broker = Broker::start(engine, &traced(&endpoint)).await.unwrap();
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

fn is_outcome(span: &Span) -> bool {
    span.name == "process deployment" && span.text("brokkr.phase") == Some("applied")
}

/// Waits for the spans of a rollout that was applied: each with its parent, each request with its answer.
pub(crate) async fn told(accepted: &AcceptedDeploymentObject) -> Rollout {
    let id = accepted.deployment_object.trace_id.clone().unwrap();
    let gather = || {
        let trace = Receiver::shared().trace(&id);
        let attempts: Vec<&str> =
            trace.linked.iter().filter(|span| span.kind == Kind::Consumer).map(|span| &*span.trace_id).collect();
        let of_attempts = trace.linked.iter().filter(|span| attempts.contains(&&*span.trace_id));
        let spans: Vec<_> = trace.spans.iter().chain(of_attempts).cloned().collect();
        Rollout { trace, spans }
    };
    let is_whole = |_: &[Span]| {
        let found = gather().spans;
        let has = |id: &str| found.iter().any(|span| span.span_id == id);
        let is_answered =
            |call: &Span| found.iter().any(|span| span.kind == Kind::Server && span.parent.as_deref() == Some(&call.span_id));
        found.iter().any(is_outcome)
            && found.iter().any(|span| span.kind == Kind::Server && span.name.starts_with("PUT "))
            && found.iter().all(|span| span.parent.as_ref().is_none_or(|parent| has(parent)))
            && found.iter().filter(|span| span.name == "POST /api/v1/agent/reports" && span.kind == Kind::Client).all(is_answered)
    };
    Receiver::shared().wait_for(&format!("whole rollout of trace {id}"), LIMIT, is_whole).await.unwrap();
    gather()
}

impl Rollout {
    /// From the moment the request arrived until the attempt that applied it ended.
    pub(crate) fn stretch(&self) -> (u64, u64) {
        let accepted = self.spans.iter().find(|span| span.kind == Kind::Server && span.name.starts_with("PUT ")).unwrap();
        let applied = self.spans.iter().filter(|span| is_outcome(span)).map(|span| span.end_nanos).max().unwrap();
        (accepted.start_nanos, applied)
    }

    pub(crate) fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Span> {
        self.spans.iter().filter(move |span| span.name == name)
    }

    /// The longest span of this name, in milliseconds; nothing when there is none.
    pub(crate) fn longest(&self, name: &str) -> Option<u64> {
        self.named(name).map(|span| span.nanos() / 1_000_000).max()
    }
}
