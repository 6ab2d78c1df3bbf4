//! The questions to the cluster: few, and each of them short.

use serde_json::Value;

use super::{Evidence, Subject, explain, selector::selector};
use crate::{
    cluster::{Cluster, Resources, Select},
    health::fields::{list, text},
    object::GroupKind,
};

/// Most objects of one list: enough to see what is wrong with a workload, whatever its size.
const LIMIT: u32 = 50;

/// Who can be asked.
pub(super) trait Ask {
    /// The first objects of a kind in a namespace that match; none when there is no answer.
    fn list(&self, kind: GroupKind, namespace: &str, select: Select<'_>) -> impl Future<Output = Vec<Value>> + Send;
}

/// Asks the API server.
pub(super) struct Questions<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) resources: &'a Resources,
}

impl Ask for Questions<'_> {
    async fn list(&self, kind: GroupKind, namespace: &str, select: Select<'_>) -> Vec<Value> {
        let Ok(Some(resource)) = self.resources.of_kind(self.cluster, &kind).await else { return Vec::new() };
        self.cluster.list_some(&resource, namespace, select, LIMIT).await.unwrap_or_default()
    }
}

/// What the cluster tells; what it does not tell is absent.
pub(super) async fn evidence(ask: &(impl Ask + Sync), subject: Subject, object: &Value) -> Evidence {
    let mut evidence = Evidence::default();
    if matches!(subject, Subject::Claim | Subject::Pod) {
        evidence.events = events(ask, object).await;
        return evidence;
    }
    evidence.pods = pods(ask, subject, object).await;
    let suspect = explain::suspect(&evidence.pods).cloned();
    if suspect.as_ref().is_some_and(explain::is_explained) {
        return evidence;
    }
    // A Deployment's own events say only how it scales; what its newest replica set says, its conditions repeat.
    if subject != Subject::Deployment {
        evidence.events = events(ask, object).await;
    }
    if let Some(pod) = suspect {
        evidence.pod_events = events(ask, &pod).await;
    }
    evidence
}

async fn pods(ask: &(impl Ask + Sync), subject: Subject, object: &Value) -> Vec<Value> {
    let Some(mut labels) = object.pointer("/spec/selector").and_then(selector) else { return Vec::new() };
    let namespace = text(object, "/metadata/namespace");
    let mut owner = text(object, "/metadata/uid").to_owned();
    if subject == Subject::Deployment {
        let Some(newest) = newest_replica_set(ask, object, &labels).await else { return Vec::new() };
        let hash = text(&newest, "/metadata/labels/pod-template-hash");
        if !hash.is_empty() {
            labels = format!("{labels},pod-template-hash={hash}");
        }
        text(&newest, "/metadata/uid").clone_into(&mut owner);
    }
    let mut pods = ask.list(GroupKind::new("", "Pod"), namespace, Select::Labels(&labels)).await;
    pods.retain(|pod| is_owned_by(pod, &owner));
    pods
}

/// The older ones' pods are leaving, and say nothing about the rollout.
async fn newest_replica_set(ask: &(impl Ask + Sync), deployment: &Value, labels: &str) -> Option<Value> {
    let (namespace, uid) = (text(deployment, "/metadata/namespace"), text(deployment, "/metadata/uid"));
    let sets = ask.list(GroupKind::new("apps", "ReplicaSet"), namespace, Select::Labels(labels)).await;
    let revision =
        |set: &Value| text(set, "/metadata/annotations/deployment.kubernetes.io~1revision").parse::<u64>().unwrap_or(0);
    sets.into_iter().filter(|set| is_owned_by(set, uid)).max_by_key(revision)
}

fn is_owned_by(object: &Value, uid: &str) -> bool {
    list(object, "/metadata/ownerReferences").iter().any(|owner| text(owner, "/uid") == uid)
}

async fn events(ask: &(impl Ask + Sync), object: &Value) -> Vec<Value> {
    let (namespace, uid) = (text(object, "/metadata/namespace"), text(object, "/metadata/uid"));
    let selector = format!("involvedObject.uid={uid}");
    ask.list(GroupKind::new("", "Event"), namespace, Select::Fields(&selector)).await
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use serde_json::json;

    use super::*;

    /// Answers by kind, and keeps what it was asked.
    #[derive(Default)]
    struct Answers {
        replica_sets: Vec<Value>,
        pods: Vec<Value>,
        asked: Mutex<Vec<String>>,
    }

    impl Ask for Answers {
        async fn list(&self, kind: GroupKind, namespace: &str, select: Select<'_>) -> Vec<Value> {
            let (Select::Labels(selector) | Select::Fields(selector)) = select;
            self.asked.lock().push(format!("{kind} {namespace} {selector}"));
            match kind.kind.as_str() {
                "ReplicaSet" => self.replica_sets.clone(),
                "Pod" => self.pods.clone(),
                _ => Vec::new(),
            }
        }
    }

    fn deployment() -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop", "uid": "d"},
            "spec": {"selector": {"matchLabels": {"app": "web"}}}})
    }

    fn replica_set(uid: &str, revision: &str, owner: &str) -> Value {
        json!({"metadata": {"uid": uid, "labels": {"pod-template-hash": format!("hash-{uid}")}, "ownerReferences": [{"uid": owner}],
            "annotations": {"deployment.kubernetes.io/revision": revision}}})
    }

    fn pod(owner: &str, status: &Value) -> Value {
        json!({"metadata": {"name": "p", "namespace": "shop", "uid": "p", "ownerReferences": [{"uid": owner}]}, "status": status})
    }

    #[tokio::test]
    async fn a_deployment_is_asked_about_by_the_pods_of_its_newest_replica_set() {
        let sets = vec![replica_set("old", "9", "d"), replica_set("new", "10", "d"), replica_set("foreign", "11", "x")];
        let starting = json!({"phase": "Pending"});
        let pods = vec![pod("old", &starting), pod("new", &starting)];
        let answers = Answers { replica_sets: sets, pods, ..Answers::default() };
        let evidence = evidence(&answers, Subject::Deployment, &deployment()).await;
        assert_eq!(evidence.pods, [pod("new", &starting)]);
        let asked = answers.asked.into_inner();
        assert_eq!(
            asked,
            ["ReplicaSet.apps shop app=web", "Pod shop app=web,pod-template-hash=hash-new", "Event shop involvedObject.uid=p"]
        );
    }

    #[tokio::test]
    async fn a_pod_that_says_what_is_wrong_saves_further_questions() {
        let crashing = json!({"containerStatuses": [{"name": "a", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]});
        let answers = Answers { pods: vec![pod("d", &crashing)], ..Answers::default() };
        evidence(&answers, Subject::Workload, &deployment()).await;
        assert_eq!(answers.asked.into_inner(), ["Pod shop app=web"]);
    }

    #[tokio::test]
    async fn a_workload_without_pods_is_asked_about_by_its_events() {
        let answers = Answers::default();
        let found = evidence(&answers, Subject::Workload, &deployment()).await;
        assert!(found.pods.is_empty() && found.events.is_empty());
        assert_eq!(answers.asked.into_inner(), ["Pod shop app=web", "Event shop involvedObject.uid=d"]);
    }
}
