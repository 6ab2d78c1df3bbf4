//! Work orders that fail in their cluster.

use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::{Fault, Incident, borrowed, caller};
use crate::{
    cluster::Cluster,
    fleet::{Agent, Broker, Engine, LIMIT},
    lab::until,
    shipwright::Shipwright,
};

/// A broker and an agent that soon gives up what does not get there.
#[derive(Debug)]
pub(super) struct Work {
    cluster: Cluster,
    namespace: String,
    /// In which there may be no Job.
    full: String,
    broker: Broker,
    agent: Agent,
}

impl Work {
    pub(super) async fn start(settings: &[(&'static str, String)]) -> Self {
        let cluster = Cluster::shared().await.expect("the cluster");
        let namespace = cluster.create_namespace("faulty-work").await.expect("a namespace");
        let full = cluster.create_namespace("full-of-work").await.expect("a namespace");
        let quota = json!({"metadata": {"name": "none"}, "spec": {"hard": {"count/jobs.batch": "0"}}});
        let quota: ResourceQuota = serde_json::from_value(quota).expect("a quota");
        cluster.api(&full).create(&PostParams::default(), &quota).await.expect("a quota");
        Shipwright::shared().await;
        let step = json!({"name": "build", "image": "example/build:1", "command": ["build"]});
        let strategy = json!({"apiVersion": "shipwright.io/v1beta1", "kind": "BuildStrategy",
            "metadata": {"name": "failing", "annotations": {"lab.brokkr.io/failing-step": "step-build"}}, "spec": {"steps": [step]}});
        let strategy: DynamicObject = serde_json::from_value(strategy).expect("a strategy");
        let strategies = ApiResource::from_gvk(&GroupVersionKind::gvk("shipwright.io", "v1beta1", "BuildStrategy"));
        let strategies = Api::namespaced_with(cluster.client().clone(), &namespace, &strategies);
        strategies.create(&PostParams::default(), &strategy).await.expect("a strategy");
        let mut settings = borrowed(settings);
        let broker = Broker::start(Engine::Sqlite, &settings).await.expect("a broker");
        settings.push(("BROKKR__WORK_ORDERS__PATIENCE_SECONDS", "1"));
        let agent = broker.agent(&cluster.unique("faulty-work"), &settings).await.expect("an agent");
        Self { cluster, namespace, full, broker, agent }
    }

    pub(super) async fn bring_about(&self, fault: Fault) -> Incident {
        let deadline = if fault == Fault::WorkTooLong { 2 } else { 600 };
        let order = json!({"name": "work", "targets": {"names": [self.agent.name]}, "work": self.work(fault),
            "max_attempts": 1, "deadline_seconds": deadline});
        let order = serde_json::from_value(order).expect("an order");
        let made = caller(&self.broker, fault).create_work_order(&order, None).await.expect("a work order");
        match fault {
            Fault::WorkContainerFails => {
                let state = json!({"terminated": {"exitCode": 3, "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:30Z"}});
                self.say(&made.id.to_string(), "Failed", &state).await;
            }
            Fault::WorkWithoutImage => {
                let state = json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}});
                self.say(&made.id.to_string(), "Pending", &state).await;
            }
            _ => {}
        }
        let daemons = vec![("brokkr-broker", self.broker.base.clone()), ("brokkr-agent", self.agent.base.clone())];
        Incident::of(fault, daemons, ())
    }

    /// What the order is for.
    fn work(&self, fault: Fault) -> Value {
        if fault == Fault::BuildFails {
            return json!({"build": {"namespace": self.namespace, "plan": {"embedded": {
                "source": {"repository": "https://git.example/shop/web.git", "revision": "v1"},
                "strategy": {"name": "failing", "kind": "namespace"},
                "output": {"image": "images.example/shop/web:1"},
            }}}});
        }
        let namespace = if fault == Fault::WorkOverQuota { &self.full } else { &self.namespace };
        let restart = if fault == Fault::WorkRefused { "Always" } else { "Never" };
        // A pod that no scheduler and no kubelet touches.
        let pod = json!({"schedulerName": "nobody", "restartPolicy": restart, "containers": [{"name": "main", "image": "example/image:1"}]});
        let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "work", "namespace": namespace},
            "spec": {"template": {"spec": pod}}});
        json!({"job": {"manifest": job}})
    }

    /// What a kubelet would say of the order's pod.
    async fn say(&self, order: &str, phase: &str, state: &Value) {
        let pods = self.cluster.api::<Pod>(&self.namespace);
        let params = ListParams::default().labels(&format!("brokkr.io/work-order={order}"));
        let look = || async {
            let found = pods.list(&params).await.map_err(|error| error.to_string())?.items.pop();
            found.and_then(|pod| pod.metadata.name).ok_or_else(|| "no pod".to_owned())
        };
        let pod = until("the pod of the work order", LIMIT, look).await.expect("a pod");
        let status = json!({"status": {"phase": phase, "containerStatuses": [{"name": "main", "image": "example/image:1", "imageID": "",
            "ready": false, "restartCount": 0, "state": state}]}});
        pods.patch_status(&pod, &PatchParams::default(), &Patch::Merge(&status)).await.expect("a status");
    }
}
