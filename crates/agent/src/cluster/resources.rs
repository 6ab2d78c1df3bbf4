//! From kinds to the API's resources: discovery, remembered, and CRDs of the very bundle.

use std::collections::HashMap;

use parking_lot::RwLock;
use serde_json::Value;

use super::{Cluster, KubeFailure};
use crate::object::GroupKind;

/// Where the API serves a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    /// The name in paths: `deployments`.
    pub(crate) plural: String,
    pub(crate) namespaced: bool,
}

impl Resource {
    /// A kind of the API server itself, whose place is known.
    pub(crate) fn core(kind: &str, plural: &str, namespaced: bool) -> Self {
        Self { group: String::new(), version: "v1".to_owned(), kind: kind.to_owned(), plural: plural.to_owned(), namespaced }
    }

    pub(crate) fn group_kind(&self) -> GroupKind {
        GroupKind::new(&self.group, &self.kind)
    }

    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `deployments.apps`, `configmaps`.
    pub(crate) fn qualified_name(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// The path of the collection.
    pub(crate) fn path(&self, namespace: Option<&str>) -> String {
        let root = if self.group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{}/{}", self.group, self.version) };
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("{root}/namespaces/{namespace}/{}", self.plural),
            None => format!("{root}/{}", self.plural),
        }
    }
}

/// What the cluster serves, as far as it was asked.
#[derive(Default)]
pub(crate) struct Resources {
    known: RwLock<HashMap<(GroupKind, String), Resource>>,
    preferred: RwLock<HashMap<GroupKind, String>>,
}

impl Resources {
    /// The resource of a manifest's kind and version; asks the cluster once for a group and version that is not known.
    pub(crate) async fn of_manifest(
        &self,
        cluster: &Cluster,
        kind: &GroupKind,
        api_version: &str,
    ) -> Result<Option<Resource>, KubeFailure> {
        let version = api_version.split_once('/').map_or(api_version, |(_, version)| version);
        let key = (kind.clone(), version.to_owned());
        if let Some(resource) = self.known.read().get(&key) {
            return Ok(Some(resource.clone()));
        }
        self.discover(cluster, &kind.group, version).await?;
        Ok(self.known.read().get(&key).cloned())
    }

    /// The resource of a kind in any version that the cluster serves.
    pub(crate) async fn of_kind(&self, cluster: &Cluster, kind: &GroupKind) -> Result<Option<Resource>, KubeFailure> {
        if let Some(resource) = self.remembered(kind) {
            return Ok(Some(resource));
        }
        let version = if kind.group.is_empty() { Some("v1".to_owned()) } else { preferred_version(cluster, &kind.group).await? };
        let Some(version) = version else { return Ok(None) };
        self.discover(cluster, &kind.group, &version).await?;
        Ok(self.remembered(kind))
    }

    fn remembered(&self, kind: &GroupKind) -> Option<Resource> {
        let version = self.preferred.read().get(kind).cloned()?;
        self.known.read().get(&(kind.clone(), version)).cloned()
    }

    fn remember(&self, resource: Resource) {
        let kind = resource.group_kind();
        self.preferred.write().insert(kind.clone(), resource.version.clone());
        self.known.write().insert((kind, resource.version.clone()), resource);
    }

    /// Learns the kinds that a CRD defines, before the API server announces them.
    pub(crate) fn learn_definition(&self, definition: &Value) {
        let text = |pointer: &str| definition.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let (Some(group), Some(kind), Some(plural)) = (text("/spec/group"), text("/spec/names/kind"), text("/spec/names/plural"))
        else {
            return;
        };
        let namespaced = text("/spec/scope").as_deref() == Some("Namespaced");
        let versions = definition.pointer("/spec/versions").and_then(Value::as_array);
        for version in versions.into_iter().flatten() {
            let served = version.get("served").and_then(Value::as_bool).unwrap_or(false);
            if let Some(name) = version.get("name").and_then(Value::as_str).filter(|_| served) {
                let (group, kind, plural) = (group.clone(), kind.clone(), plural.clone());
                self.remember(Resource { group, version: name.to_owned(), kind, plural, namespaced });
            }
        }
    }

    /// Forgets a kind: its CRD is gone.
    pub(crate) fn forget(&self, kind: &GroupKind) {
        self.preferred.write().remove(kind);
        self.known.write().retain(|(known, _), _| known != kind);
    }

    /// Forgets a group: one of its CRDs is gone.
    pub(crate) fn forget_group(&self, group: &str) {
        self.preferred.write().retain(|kind, _| kind.group != group);
        self.known.write().retain(|(kind, _), _| kind.group != group);
    }

    async fn discover(&self, cluster: &Cluster, group: &str, version: &str) -> Result<(), KubeFailure> {
        let path = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        let list = match cluster.read("discover", &path).await {
            Ok(list) => list,
            Err(error) if matches!(error.class, super::Class::NotFound | super::Class::MissingKind) => return Ok(()),
            Err(error) => return Err(error),
        };
        for item in list.get("resources").and_then(Value::as_array).into_iter().flatten() {
            let text = |key: &str| item.get(key).and_then(Value::as_str);
            // A name with a slash is a subresource.
            let (Some(plural), Some(kind)) = (text("name").filter(|name| !name.contains('/')), text("kind")) else { continue };
            self.remember(Resource {
                group: group.to_owned(),
                version: version.to_owned(),
                kind: kind.to_owned(),
                plural: plural.to_owned(),
                namespaced: item.get("namespaced").and_then(Value::as_bool).unwrap_or(false),
            });
        }
        Ok(())
    }
}

async fn preferred_version(cluster: &Cluster, group: &str) -> Result<Option<String>, KubeFailure> {
    match cluster.read("discover", &format!("/apis/{group}")).await {
        Ok(found) => Ok(found.pointer("/preferredVersion/version").and_then(Value::as_str).map(str::to_owned)),
        Err(error) if matches!(error.class, super::Class::NotFound | super::Class::MissingKind) => Ok(None),
        Err(error) => Err(error),
    }
}
