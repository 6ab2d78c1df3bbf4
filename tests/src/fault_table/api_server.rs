//! Faults of single calls to the API server, of its own making or made by a proxy before it.

use k8s_openapi::{
    api::core::v1::{ResourceQuota, ResourceQuotaSpec},
    apimachinery::pkg::api::resource::Quantity,
};
use kube::api::{ObjectMeta, PostParams};

use super::{Fault, Incident, borrowed, send};
use crate::{
    cluster::Cluster,
    fleet::{Agent, Broker, Engine, LIMIT, config_map},
    kube_proxy::{self, Call, KubeProxy},
};

/// What an agent waits for an answer.
const CALL_TIMEOUT: &str = "3";

/// A broker and an agent behind a proxy that spoils calls by the name of their object.
#[derive(Debug)]
pub(super) struct ApiServer {
    namespace: String,
    /// In which there may be no config map.
    full: String,
    broker: Broker,
    agent: Agent,
    _proxy: KubeProxy,
}

impl ApiServer {
    pub(super) async fn start(settings: &[(&'static str, String)]) -> Self {
        let cluster = Cluster::shared().await.expect("the cluster");
        let namespace = cluster.create_namespace("faults").await.expect("a namespace");
        let full = cluster.create_namespace("full").await.expect("a namespace");
        let hard = [("count/configmaps".to_owned(), Quantity("0".to_owned()))].into();
        let quota = ResourceQuota {
            metadata: ObjectMeta { name: Some("none".to_owned()), ..ObjectMeta::default() },
            spec: Some(ResourceQuotaSpec { hard: Some(hard), ..ResourceQuotaSpec::default() }),
            ..ResourceQuota::default()
        };
        cluster.api(&full).create(&PostParams::default(), &quota).await.expect("a quota");
        let mut settings = borrowed(settings);
        let broker = Broker::start(Engine::Sqlite, &settings).await.expect("a broker");
        let proxy = KubeProxy::start(cluster.kubeconfig()).await.expect("a proxy");
        proxy.plan(fault_of);
        settings.push(("BROKKR__KUBERNETES__CALL_TIMEOUT_SECONDS", CALL_TIMEOUT));
        let agent = broker.unconnected_agent(&cluster.unique("faulty"), proxy.kubeconfig(), &settings).await;
        let mut agent = agent.expect("an agent");
        let connected = |line: &str| line.contains("the agent is connected");
        agent.process.wait_for_line("the connection", LIMIT, connected).await.expect("a connection");
        Self { namespace, full, broker, agent, _proxy: proxy }
    }

    pub(super) async fn bring_about(&self, fault: Fault) -> Incident {
        let (stack, manifests) = match fault {
            Fault::QuotaExceeded => ("quota", config_map(&self.full, "one-too-many", "1")),
            Fault::InvalidManifest => ("invalid", self.object("v1", "Service", "spec: {ports: [{port: 99999}]}")),
            Fault::UnknownKind => ("unknown", self.object("faults.brokkr.io/v1", "Wonder", "spec: {}")),
            Fault::BrokenManifest => ("broken", "kind: [".to_owned()),
            other => {
                let name = SPOILED.iter().find(|(_, fault, _)| *fault == other).map(|(name, ..)| *name);
                let name = name.expect("a call that the proxy spoils");
                (name, config_map(&self.namespace, name, "1"))
            }
        };
        let stack = self.broker.stack(stack, &[&self.agent]).await;
        let accepted = send(&self.broker, fault, &stack, &manifests).await;
        assert_eq!(accepted, fault != Fault::BrokenManifest, "{fault:?}");
        let daemons = vec![("brokkr-broker", self.broker.base.clone()), ("brokkr-agent", self.agent.base.clone())];
        Incident::of(fault, daemons, ())
    }

    fn object(&self, api_version: &str, kind: &str, rest: &str) -> String {
        let namespace = &self.namespace;
        format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: wrong, namespace: {namespace}}}\n{rest}\n")
    }
}

/// Config maps whose application goes wrong, and how.
const SPOILED: [(&str, Fault, kube_proxy::Fault); 4] = [
    ("fails", Fault::ApiServerFails, kube_proxy::Fault::Internal),
    ("forbidden", Fault::ApiServerForbids, kube_proxy::Fault::Forbidden),
    ("conflicts", Fault::ApiServerConflicts, kube_proxy::Fault::Conflict),
    ("unanswered", Fault::ApiServerSilent, kube_proxy::Fault::Silence),
];

fn fault_of(call: &Call) -> Option<kube_proxy::Fault> {
    let name = call.path.rsplit_once("/configmaps/").map(|(_, name)| name).filter(|_| call.method == http::Method::PATCH)?;
    SPOILED.iter().find(|(spoiled, ..)| *spoiled == name).map(|(.., fault)| *fault)
}
