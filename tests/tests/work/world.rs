use brokkr_api::{
    TargetSelector, WorkOrderId,
    work_orders::{CreateWorkOrder, WorkOrder, WorkState},
};
use brokkr_tests::{
    cluster::Cluster,
    fleet::{Agent, Broker, Engine, LIMIT},
    lab::until,
};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

/// A broker with one agent, and a namespace for what it runs.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) namespace: String,
    pub(crate) broker: Broker,
    pub(crate) agent: Agent,
}

impl World {
    pub(crate) async fn new(what: &str) -> Self {
        let cluster = Cluster::shared().await.unwrap();
        let namespace = cluster.create_namespace(what).await.unwrap();
        let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
        let agent = broker.agent(&cluster.unique(what), &[]).await.unwrap();
        Self { cluster, namespace, broker, agent }
    }

    /// A Job whose pod has this in its specification.
    pub(crate) fn job(&self, pod: &Value) -> Value {
        let mut spec = json!({"containers": [{"name": "main", "image": "example/image:1"}]});
        for (key, value) in pod.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let manifest = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "import", "namespace": self.namespace},
            "spec": {"template": {"spec": spec}}});
        json!({"job": {"manifest": manifest}})
    }

    /// A Job whose pod finds no node: it runs until the test says how it ends.
    pub(crate) fn endless(&self) -> Value {
        self.job(&json!({"nodeSelector": {"nowhere": "true"}}))
    }

    pub(crate) fn request(&self, work: &Value, change: &Value) -> CreateWorkOrder {
        let targets = TargetSelector { labels: None, names: vec![self.agent.name.clone()] };
        let mut request = json!({"name": "import", "work": work, "targets": targets, "max_attempts": 1});
        for (key, value) in change.as_object().unwrap() {
            request[key] = value.clone();
        }
        serde_json::from_value(request).unwrap()
    }

    pub(crate) async fn order(&self, work: Value, change: Value) -> WorkOrderId {
        self.broker.admin().create_work_order(&self.request(&work, &change), None).await.unwrap().id
    }

    pub(crate) async fn becomes(&self, id: WorkOrderId, state: WorkState) -> WorkOrder {
        let look = || async {
            let found = self.broker.admin().work_order(id).await.unwrap();
            if found.state == state { Ok(found) } else { Err(format!("{found:?}")) }
        };
        until(state.as_str(), LIMIT, look).await.unwrap()
    }

    pub(crate) async fn jobs(&self) -> Vec<Job> {
        self.cluster.api::<Job>(&self.namespace).list(&ListParams::default()).await.unwrap().items
    }

    /// The one pod of the order, when the Job controller has made it.
    pub(crate) async fn pod(&self, id: WorkOrderId) -> Pod {
        let pods: Api<Pod> = self.cluster.api(&self.namespace);
        let params = ListParams::default().labels(&format!("brokkr.io/work-order={id}"));
        let look = || async { pods.list(&params).await.unwrap().items.pop().ok_or_else(|| "no pod".to_owned()) };
        until("a pod", LIMIT, look).await.unwrap()
    }

    /// What a kubelet would say when the pod's container has ended.
    pub(crate) async fn ends(&self, pod: &Pod, exit_code: i32) {
        let phase = if exit_code == 0 { "Succeeded" } else { "Failed" };
        let (start, end) = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:30Z");
        let terminated = json!({"exitCode": exit_code, "reason": "Error", "startedAt": start, "finishedAt": end});
        let status = json!({"status": {"phase": phase, "containerStatuses": [{"name": "main", "image": "example/image:1", "imageID": "",
            "ready": false, "restartCount": 0, "state": {"terminated": terminated}}]}});
        let pods: Api<Pod> = self.cluster.api(&self.namespace);
        let name = pod.metadata.name.as_deref().unwrap();
        pods.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    }
}
