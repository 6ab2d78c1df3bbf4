use std::time::Duration;

use brokkr_api::{
    TargetSelector, Timestamp, WorkOrderId,
    work_orders::{CreateWorkOrder, WorkOrder, WorkState},
};
use brokkr_tests::{
    cluster::Cluster,
    fleet::{Agent, Broker, Engine, LIMIT},
    lab::until,
    otlp::{Receiver, traced},
    watch::SECRET,
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
        Self::with(Engine::Sqlite, what, &[], &[]).await
    }

    pub(crate) async fn with(engine: Engine, what: &str, of_broker: &[(&str, &str)], of_agent: &[(&str, &str)]) -> Self {
        let cluster = Cluster::shared().await.unwrap();
        let namespace = cluster.create_namespace(what).await.unwrap();
        let broker = Broker::start(engine, of_broker).await.unwrap();
        let agent = broker.agent(&cluster.unique(what), of_agent).await.unwrap();
        Self { cluster, namespace, broker, agent }
    }

    /// One whose daemons trace everything to the receiver that all tests share.
    pub(crate) async fn traced(what: &str) -> Self {
        let endpoint = Receiver::shared().grpc_endpoint();
        Self::with(Engine::Postgres, what, &traced(&endpoint), &traced(&endpoint)).await
    }

    /// A Job whose pod has this in its specification.
    pub(crate) fn job(&self, pod: &Value) -> Value {
        let mut spec =
            json!({"containers": [{"name": "main", "image": "example/image:1", "env": [{"name": "PASSWORD", "value": SECRET}]}]});
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

    /// The pod of the order's first attempt, when the Job controller has made it.
    pub(crate) async fn pod(&self, id: WorkOrderId) -> Pod {
        self.attempt(id, 1).await
    }

    /// The pod of an attempt.
    pub(crate) async fn attempt(&self, id: WorkOrderId, attempt: u32) -> Pod {
        let pods: Api<Pod> = self.cluster.api(&self.namespace);
        let params = ListParams::default().labels(&format!("brokkr.io/work-order={id}"));
        let is_of = |pod: &Pod| {
            let job = pod.metadata.labels.as_ref().and_then(|labels| labels.get("batch.kubernetes.io/job-name"));
            job.is_some_and(|job| job.ends_with(&format!("-{attempt}")))
        };
        let look =
            || async { pods.list(&params).await.unwrap().items.into_iter().find(is_of).ok_or_else(|| "no pod".to_owned()) };
        until("a pod", LIMIT, look).await.unwrap()
    }

    async fn set_status(&self, pod: &Pod, status: &Value) {
        let pods: Api<Pod> = self.cluster.api(&self.namespace);
        let name = pod.metadata.name.as_deref().unwrap();
        let status = json!({"status": status});
        pods.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    }

    /// What a kubelet would say of a pod that found its node after 2 seconds, ran after 10 and ended after 40. When it was made, since 1970.
    pub(crate) async fn ran(&self, pod: &Pod, exit_code: i32) -> Duration {
        let created: Timestamp = serde_json::from_value(json!(pod.metadata.creation_timestamp)).unwrap();
        let at = |seconds| created.after(Duration::from_secs(seconds)).to_string();
        let terminated = json!({"exitCode": exit_code, "startedAt": at(10), "finishedAt": at(40)});
        let status = json!({
            "phase": if exit_code == 0 { "Succeeded" } else { "Failed" },
            "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": at(2)}],
            "containerStatuses": [{"name": "main", "image": "example/image:1", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"terminated": terminated}}],
        });
        self.set_status(pod, &status).await;
        Duration::from_micros(u64::try_from(created.as_micros()).unwrap())
    }

    /// What a kubelet would say of a container that waits.
    pub(crate) async fn waits(&self, pod: &Pod, reason: &str, message: &str) {
        let waiting = json!({"waiting": {"reason": reason, "message": message}});
        let status = json!({"phase": "Pending", "containerStatuses": [{"name": "main", "image": "example/image:1", "imageID": "",
            "ready": false, "restartCount": 0, "state": waiting}]});
        self.set_status(pod, &status).await;
    }

    /// What a kubelet would say when the pod's container has ended.
    pub(crate) async fn ends(&self, pod: &Pod, exit_code: i32) {
        self.ends_for(pod, exit_code, "Error").await;
    }

    pub(crate) async fn ends_for(&self, pod: &Pod, exit_code: i32, reason: &str) {
        let phase = if exit_code == 0 { "Succeeded" } else { "Failed" };
        let (start, end) = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:30Z");
        let terminated = json!({"exitCode": exit_code, "reason": reason, "startedAt": start, "finishedAt": end});
        let status = json!({"phase": phase, "containerStatuses": [{"name": "main", "image": "example/image:1", "imageID": "",
            "ready": false, "restartCount": 0, "state": {"terminated": terminated}}]});
        self.set_status(pod, &status).await;
    }
}
