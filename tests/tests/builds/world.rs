use std::{collections::BTreeMap, path::Path};

use brokkr_api::{
    TargetSelector, WorkOrderId,
    work_orders::{CreateWorkOrder, WorkOrder, WorkState},
};
use brokkr_tests::{
    cluster::Cluster,
    fleet::{Agent, Broker, Engine, LIMIT},
    lab::{Scratch, until},
    otlp::{Receiver, traced},
    shipwright::Shipwright,
};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

/// A broker with one agent, and a namespace with strategies for its builds.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) namespace: String,
    pub(crate) broker: Broker,
    pub(crate) agent: Agent,
    _scratch: Option<Scratch>,
}

impl World {
    pub(crate) async fn new(what: &str) -> Self {
        Shipwright::shared().await;
        let endpoint = Receiver::shared().grpc_endpoint();
        let cluster = Cluster::shared().await.unwrap();
        let namespace = cluster.create_namespace(what).await.unwrap();
        let broker = Broker::start(Engine::Sqlite, &traced(&endpoint)).await.unwrap();
        let agent = broker.agent(&cluster.unique(what), &traced(&endpoint)).await.unwrap();
        Self { cluster, namespace, broker, agent, _scratch: None }
    }

    /// The same, with an agent that has the rights of the page for this namespace and no others.
    pub(crate) async fn confined(what: &str) -> Self {
        Shipwright::shared().await;
        let cluster = Cluster::shared().await.unwrap();
        let (own, namespace) = (cluster.create_namespace("own").await.unwrap(), cluster.create_namespace(what).await.unwrap());
        let scratch = Scratch::new("confined").unwrap();
        let kubeconfig = cluster.service_account_kubeconfig(&own, "brokkr-agent", &scratch).await.unwrap();
        let rules = rules_of_the_page().replace("brokkr-system", &own).replace("NAMESPACE", &namespace);
        let rules = scratch.write("rules.yaml", rules).unwrap();
        let there = cluster.clone();
        let apply = move || there.kubectl(&["apply", "-f", &rules.display().to_string()]);
        tokio::task::spawn_blocking(apply).await.unwrap().unwrap();
        let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
        let namespaces = format!("[\"{namespace}\"]");
        let settings = [("BROKKR__KUBERNETES__NAMESPACE", own.as_str()), ("BROKKR__KUBERNETES__NAMESPACES", namespaces.as_str())];
        let agent = broker.unconnected_agent(&cluster.unique(what), &kubeconfig, &settings).await.unwrap();
        Self { cluster, namespace, broker, agent, _scratch: Some(scratch) }
    }

    fn api(&self, group: &str, version: &str, kind: &str) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Api::namespaced_with(self.cluster.client().clone(), &self.namespace, &resource)
    }

    pub(crate) fn build_runs(&self) -> Api<DynamicObject> {
        self.api("shipwright.io", "v1beta1", "BuildRun")
    }

    pub(crate) fn task_runs(&self) -> Api<DynamicObject> {
        self.api("tekton.dev", "v1", "TaskRun")
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        self.cluster.api(&self.namespace)
    }

    /// A strategy of two steps, whose pods KWOK treats as these annotations say.
    pub(crate) async fn strategy(&self, annotations: Value) -> Value {
        self.strategy_named("two-steps", annotations).await
    }

    pub(crate) async fn strategy_named(&self, name: &str, annotations: Value) -> Value {
        let step = |name: &str| json!({"name": name, "image": format!("example/{name}:1"), "command": [name]});
        let manifest = json!({"apiVersion": "shipwright.io/v1beta1", "kind": "BuildStrategy",
            "metadata": {"name": name, "annotations": annotations},
            "spec": {"steps": [step("build"), step("push")], "parameters": [{"name": "dockerfile", "description": "What says how.", "default": "Dockerfile"}]}});
        self.create("BuildStrategy", manifest).await;
        json!({"name": name, "kind": "namespace"})
    }

    pub(crate) async fn create(&self, kind: &str, manifest: Value) {
        let object: DynamicObject = serde_json::from_value(manifest).unwrap();
        self.api("shipwright.io", "v1beta1", kind).create(&PostParams::default(), &object).await.unwrap();
    }

    /// A build from a repository.
    pub(crate) fn embedded(&self, strategy: &Value) -> Value {
        json!({"build": {"namespace": self.namespace, "plan": {"embedded": {
            "source": {"repository": "https://git.example/shop/web.git", "revision": "v1"},
            "strategy": strategy,
            "output": {"image": "images.example/shop/web:1"},
        }}}})
    }

    pub(crate) fn request(&self, work: &Value, change: &Value) -> CreateWorkOrder {
        let targets = TargetSelector { labels: None, names: vec![self.agent.name.clone()] };
        let mut request = json!({"name": "web", "work": work, "targets": targets, "max_attempts": 1});
        for (key, value) in change.as_object().unwrap() {
            request[key] = value.clone();
        }
        serde_json::from_value(request).unwrap()
    }

    pub(crate) async fn order(&self, work: &Value, change: Value) -> WorkOrderId {
        self.broker.admin().create_work_order(&self.request(work, &change), None).await.unwrap().id
    }

    pub(crate) async fn becomes(&self, id: WorkOrderId, state: WorkState) -> WorkOrder {
        let look = || async {
            let found = self.broker.admin().work_order(id).await.unwrap();
            if found.state == state { Ok(found) } else { Err(format!("{found:?}")) }
        };
        until(state.as_str(), LIMIT, look).await.unwrap()
    }

    /// The runs of an order, the first attempt first.
    pub(crate) async fn runs(&self, id: WorkOrderId) -> Vec<DynamicObject> {
        let params = ListParams::default().labels(&format!("brokkr.io/work-order={id}"));
        let mut runs = self.build_runs().list(&params).await.unwrap().items;
        runs.sort_by_key(ResourceExt::name_any);
        runs
    }

    /// The pod of the only run, when its containers run.
    pub(crate) async fn running_pod(&self) -> Pod {
        let look = || async {
            let pods = self.pods().list(&ListParams::default()).await.unwrap().items;
            let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
            let phases: Vec<_> = pods.iter().map(phase).collect();
            pods.into_iter().find(|pod| phase(pod) == "Running").ok_or_else(|| format!("{phases:?}"))
        };
        until("a pod that runs", LIMIT, look).await.unwrap()
    }

    /// Lets an endless pod end, as KWOK lets the others.
    pub(crate) async fn finish(&self, pod: &Pod) {
        let finite = json!({"metadata": {"annotations": {"lab.brokkr.io/build": null}}});
        self.pods().patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(&finite)).await.unwrap();
    }

    /// That nothing of any build is left in the cluster.
    pub(crate) async fn nothing_is_left(&self) {
        let all = ListParams::default();
        assert_eq!(self.build_runs().list(&all).await.unwrap().items.len(), 0);
        assert_eq!(self.pods().list(&all).await.unwrap().items.len(), 0, "it is told when nothing of it runs any more");
        // Nobody waits for the object that stood for the pod.
        let look = || async {
            let left = self.task_runs().list(&all).await.unwrap().items;
            if left.is_empty() { Ok(()) } else { Err(format!("{} TaskRuns", left.len())) }
        };
        until("the TaskRun to go", LIMIT, look).await.unwrap();
    }
}

/// What the page grants an agent in some namespaces.
fn rules_of_the_page() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/content/how-to/rights-of-the-agent.md");
    let page = std::fs::read_to_string(page).unwrap();
    page.split("```yaml\n# namespaced\n").nth(1).unwrap().split("```").next().unwrap().to_owned()
}

/// The environment of a container.
pub(crate) fn env(pod: &Pod, container: &str) -> BTreeMap<String, String> {
    let containers = &pod.spec.as_ref().unwrap().containers;
    let container = containers.iter().find(|known| known.name == container).unwrap();
    let variables = container.env.iter().flatten();
    variables.map(|variable| (variable.name.clone(), variable.value.clone().unwrap_or_default())).collect()
}
