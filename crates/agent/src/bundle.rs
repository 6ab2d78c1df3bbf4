//! The manifests of one deployment, ready to be planned with.

use std::{collections::HashSet, sync::Arc};

use brokkr_api::{desired_state::Scope, policy::IgnoreFields};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    act::Makes,
    applyset,
    attempt::Obstacle,
    cluster::{Cluster, KubeFailure, Resources},
    draft::Draft,
    object::{GroupKind, Manifest, ObjectId},
};

/// Manifests and what they make for each other.
#[derive(Debug, Default)]
pub(crate) struct Bundle {
    pub(crate) manifests: Vec<Arc<Manifest>>,
    pub(crate) makes: Makes,
}

/// As much of an object as says which one it is.
#[derive(Deserialize)]
struct Head {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    metadata: HeadMetadata,
}

#[derive(Deserialize)]
struct HeadMetadata {
    name: String,
    namespace: Option<String>,
}

impl Head {
    fn group_kind(&self) -> GroupKind {
        GroupKind::of(&self.api_version, &self.kind)
    }
}

impl Bundle {
    /// Gives every manifest its namespace, the set's label and its digest. Kinds that a CRD of the same content defines are known
    /// by that.
    pub(crate) async fn prepare(
        content: &[u8],
        cluster: &Cluster,
        resources: &Resources,
        default_namespace: &str,
        set: &str,
        ignore: &[IgnoreFields],
    ) -> Result<Self, Obstacle> {
        let objects: Vec<&RawValue> = serde_json::from_slice(content).map_err(|_| Obstacle::NoContent)?;
        let mut bundle = Self::default();
        let mut drafts = Vec::with_capacity(objects.len());
        for object in objects {
            let Ok(head) = serde_json::from_str::<Head>(object.get()) else { continue };
            let kind = head.group_kind();
            if kind.is("apiextensions.k8s.io", "CustomResourceDefinition")
                && let Ok(definition) = serde_json::from_str(object.get())
            {
                resources.learn_definition(&definition);
                let group = definition.pointer("/spec/group").and_then(serde_json::Value::as_str).unwrap_or_default();
                bundle.makes.groups.insert(group.to_owned());
            }
            if kind.is("", "Namespace") {
                bundle.makes.namespaces.insert(head.metadata.name.clone());
            }
            drafts.push(object);
        }
        for object in drafts {
            let Some(mut draft) = serde_json::from_str(object.get()).ok().and_then(Draft::new) else { continue };
            if let Some(resource) = resources.of_manifest(cluster, &draft.id.kind, &draft.api_version).await? {
                let named = || draft.id.namespace.clone().unwrap_or_else(|| default_namespace.to_owned());
                let namespace = resource.namespaced.then(named);
                draft.set_namespace(namespace);
            }
            bundle.manifests.push(Arc::new(draft.finish(set, ignore)));
        }
        Ok(bundle)
    }

    /// Which objects a content names.
    pub(crate) async fn identities(
        content: &[u8],
        cluster: &Cluster,
        resources: &Resources,
        default_namespace: &str,
    ) -> Result<HashSet<ObjectId>, KubeFailure> {
        let heads: Vec<Head> = serde_json::from_slice(content).unwrap_or_default();
        let mut ids = HashSet::with_capacity(heads.len());
        for head in heads {
            let kind = head.group_kind();
            let resource = resources.of_manifest(cluster, &kind, &head.api_version).await?;
            let named = || head.metadata.namespace.clone().unwrap_or_else(|| default_namespace.to_owned());
            let namespace = resource.filter(|resource| resource.namespaced).map(|_| named());
            ids.insert(ObjectId { kind, namespace, name: head.metadata.name.clone() });
        }
        Ok(ids)
    }

    pub(crate) fn scope(&self) -> Scope {
        applyset::scope_of(&self.manifests)
    }
}
