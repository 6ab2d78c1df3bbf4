//! Objects of various kinds that carry one value each, as manifests and as the cluster has them.

use std::collections::BTreeMap;

use brokkr_tests::cluster::Cluster;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams},
};
use serde_json::{Value, json};

/// A kind of which trials make objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    ConfigMap,
    Secret,
    ServiceAccount,
    Service,
    Role,
    Deployment,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] =
        [Self::ConfigMap, Self::Secret, Self::ServiceAccount, Self::Service, Self::Role, Self::Deployment];

    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::ConfigMap => ("", "ConfigMap"),
            Self::Secret => ("", "Secret"),
            Self::ServiceAccount => ("", "ServiceAccount"),
            Self::Service => ("", "Service"),
            Self::Role => ("rbac.authorization.k8s.io", "Role"),
            Self::Deployment => ("apps", "Deployment"),
        }
    }

    pub(crate) fn resource(self) -> ApiResource {
        let (group, kind) = self.names();
        ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind))
    }

    pub(crate) fn api(self, cluster: &Cluster, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(cluster.client().clone(), namespace, &self.resource())
    }

    /// What the manifest says beside the metadata; `value` is four digits, which are Base64 as well.
    fn body(self, value: &str) -> Value {
        match self {
            Self::ConfigMap | Self::Secret => json!({"data": {"value": value}}),
            Self::ServiceAccount => json!({"metadata": {"annotations": {"example.org/value": value}}}),
            Self::Service => json!({"spec": {"clusterIP": "None", "selector": {"value": value}, "ports": [{"port": 80}]}}),
            Self::Role => {
                json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "resourceNames": [value], "verbs": ["get"]}]})
            }
            Self::Deployment => json!({"spec": {"replicas": 0, "selector": {"matchLabels": {"app": "trial"}}, "template": {
                "metadata": {"labels": {"app": "trial"}, "annotations": {"example.org/value": value}},
                "spec": {"containers": [{"name": "main", "image": "example.org/trial:1"}]}}}}),
        }
    }

    /// Where the cluster has the value.
    fn pointer(self) -> &'static str {
        match self {
            Self::ConfigMap | Self::Secret => "/data/value",
            Self::ServiceAccount => "/metadata/annotations/example.org~1value",
            Self::Service => "/spec/selector/value",
            Self::Role => "/rules/0/resourceNames/0",
            Self::Deployment => "/spec/template/metadata/annotations/example.org~1value",
        }
    }
}

/// Kind and name of an object in the trial's namespace.
pub(crate) type Key = (Kind, String);
/// Objects with their values.
pub(crate) type Objects = BTreeMap<Key, String>;

pub(crate) fn manifest(namespace: &str, (kind, name): &Key, value: &str) -> Value {
    let resource = kind.resource();
    let mut object = kind.body(value);
    object["apiVersion"] = json!(resource.api_version);
    object["kind"] = json!(resource.kind);
    object["metadata"]["name"] = json!(name);
    object["metadata"]["namespace"] = json!(namespace);
    object
}

/// The objects as one YAML text.
pub(crate) fn manifests(namespace: &str, objects: &Objects) -> String {
    objects.iter().map(|(key, value)| format!("---\n{}\n", manifest(namespace, key, value))).collect()
}

/// Everything of these kinds in a namespace, but for what each namespace has by itself.
pub(crate) async fn look(cluster: &Cluster, namespace: &str) -> BTreeMap<Key, Value> {
    let mut found = BTreeMap::new();
    for kind in Kind::ALL {
        for object in kind.api(cluster, namespace).list(&ListParams::default()).await.unwrap() {
            let object = serde_json::to_value(object).unwrap();
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            if !["kube-root-ca.crt", "default"].contains(&name.as_str()) {
                found.insert((kind, name), object);
            }
        }
    }
    found
}

pub(crate) fn value_of(kind: Kind, object: &Value) -> String {
    object.pointer(kind.pointer()).and_then(Value::as_str).unwrap_or("(none)").to_owned()
}
