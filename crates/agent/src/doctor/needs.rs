//! What the agent needs to be allowed. Pure.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::cluster::Resource;

/// One thing that the agent may have to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Need {
    pub(super) namespace: Option<String>,
    pub(super) group: String,
    pub(super) resource: String,
    pub(super) name: Option<String>,
    pub(super) verb: &'static str,
}

/// What is done with each kind of a bundle, per object's place.
const ON_OBJECTS: [&str; 4] = ["get", "patch", "create", "delete"];
/// What is done with each kind wherever the agent works.
const ON_COLLECTIONS: [&str; 2] = ["list", "watch"];

impl Need {
    pub(super) fn new(namespace: Option<&str>, group: &str, resource: &str, verb: &'static str) -> Self {
        Self { namespace: namespace.map(str::to_owned), group: group.to_owned(), resource: resource.to_owned(), name: None, verb }
    }

    pub(super) fn named(self, name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..self }
    }

    /// The question to the API server.
    pub(super) fn review(&self) -> Value {
        json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {
                "namespace": self.namespace.as_deref().unwrap_or_default(),
                "group": self.group,
                "resource": self.resource,
                "name": self.name.as_deref().unwrap_or_default(),
                "verb": self.verb,
            }},
        })
    }

    /// The rule of a role, for the cluster or a namespace, that would allow it.
    pub(super) fn rule(&self) -> String {
        let role =
            self.namespace.as_ref().map_or_else(|| "a ClusterRole".to_owned(), |namespace| format!("a Role in {namespace}"));
        let names = self.name.as_ref().map(|name| format!(", resourceNames: [{name}]")).unwrap_or_default();
        format!("{role}: {{apiGroups: [\"{}\"], resources: [{}]{names}, verbs: [{}]}}", self.group, self.resource, self.verb)
    }
}

/// What the objects of a bundle need; `collections` are the places where their kinds are listed and watched.
pub(super) fn of_objects<'a>(
    objects: impl IntoIterator<Item = (&'a Resource, Option<&'a str>)>,
    collections: impl Fn(&Resource) -> Vec<Option<String>>,
) -> BTreeSet<Need> {
    let mut needs = BTreeSet::new();
    for (resource, namespace) in objects {
        let namespace = namespace.filter(|_| resource.namespaced);
        needs.extend(ON_OBJECTS.map(|verb| Need::new(namespace, &resource.group, &resource.plural, verb)));
        for place in collections(resource) {
            needs.extend(ON_COLLECTIONS.map(|verb| Need::new(place.as_deref(), &resource.group, &resource.plural, verb)));
        }
    }
    needs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployments() -> Resource {
        Resource {
            group: "apps".to_owned(),
            version: "v1".to_owned(),
            kind: "Deployment".to_owned(),
            plural: "deployments".to_owned(),
            namespaced: true,
        }
    }

    #[test]
    fn each_kind_is_asked_for_once_per_place_and_lists_where_the_agent_looks() {
        let (deployments, namespaces) = (deployments(), Resource::core("Namespace", "namespaces", false));
        let objects = [(&deployments, Some("shop")), (&deployments, Some("shop")), (&namespaces, None)];
        let needs = of_objects(objects, |_| vec![None]);
        assert_eq!(needs.len(), 12);
        assert!(needs.contains(&Need::new(Some("shop"), "apps", "deployments", "patch")));
        assert!(needs.contains(&Need::new(None, "apps", "deployments", "watch")));
        assert!(!needs.contains(&Need::new(Some("shop"), "apps", "deployments", "watch")));
    }

    #[test]
    fn what_to_grant_is_a_rule_of_the_narrowest_role() {
        let need = Need::new(Some("shop"), "apps", "deployments", "patch");
        assert_eq!(need.rule(), "a Role in shop: {apiGroups: [\"apps\"], resources: [deployments], verbs: [patch]}");
        let named = Need::new(None, "", "namespaces", "get").named("shop");
        assert_eq!(
            named.rule(),
            "a ClusterRole: {apiGroups: [\"\"], resources: [namespaces], resourceNames: [shop], verbs: [get]}"
        );
    }
}
