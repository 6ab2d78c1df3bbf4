use brokkr_api::{
    Name,
    reports::{Health, HealthStatus},
    rollouts::{Deployment, Phase},
};
use brokkr_tests::{
    cluster::Cluster,
    fleet::{Agent, Broker, Engine, LIMIT},
    lab::until,
};

/// A broker with one agent and one stack, and a namespace for what the stack has.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) namespace: String,
    pub(crate) broker: Broker,
    pub(crate) stack: Name,
    agent: Agent,
}

impl World {
    pub(crate) async fn new(what: &str) -> Self {
        let cluster = Cluster::shared().await.unwrap();
        let namespace = cluster.create_namespace(what).await.unwrap();
        let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
        let agent = broker.agent(&cluster.unique(what), &[]).await.unwrap();
        let stack = broker.stack("shop", &[&agent]).await;
        Self { cluster, namespace, broker, stack, agent }
    }

    /// Sends manifests; `NS` in them is the namespace.
    pub(crate) async fn send(&self, manifests: &str) {
        self.broker.send(&self.stack, &manifests.replace("NS", &self.namespace)).await;
    }

    pub(crate) async fn deployment(&self) -> Deployment {
        self.broker.admin().deployment(&self.stack, &self.agent.name).await.unwrap()
    }

    /// Waits until the deployment is healthy.
    pub(crate) async fn becomes_healthy(&self) -> Deployment {
        self.becomes("healthy", |deployment| deployment.phase == Phase::Healthy).await
    }

    /// Waits until the deployment is degraded for this reason.
    pub(crate) async fn becomes_degraded(&self, reason: &str) -> Health {
        let is_told = |deployment: &Deployment| {
            let health = deployment.health.as_ref();
            deployment.phase == Phase::Degraded
                && health
                    .is_some_and(|health| health.reason.as_deref() == Some(reason) && health.status == HealthStatus::Degraded)
        };
        self.becomes(reason, is_told).await.health.unwrap()
    }

    pub(crate) async fn becomes(&self, what: &str, wanted: impl Fn(&Deployment) -> bool) -> Deployment {
        let look = || async {
            let found = self.deployment().await;
            if wanted(&found) { Ok(found) } else { Err(format!("{} {:?} {:?}", found.phase.as_str(), found.health, found.error)) }
        };
        until(what, LIMIT, look).await.unwrap()
    }
}

/// What a person is told.
pub(crate) fn assert_tells(health: &Health, object: &str, words: &str) {
    let message = health.message.as_deref().unwrap_or_default();
    assert!(message.contains(words), "{message}");
    assert_eq!(health.object.as_ref().map(ToString::to_string).as_deref(), Some(object));
}
