//! What the cluster holds of a stack: the parent, the metadata of everything with the stack's label, and of what stands where the
//! manifests want to be.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use brokkr_api::desired_state::Scope;
use futures::{StreamExt, stream};

use crate::{
    applyset::{self, ApplySet, PART_OF, Parent},
    cluster::{Class, Cluster, KubeFailure, Resource, Resources},
    live::Live,
    object::{GroupKind, Manifest, ObjectId},
};

/// Up to so many objects of one collection are asked for one by one; for more the collection is listed.
const FEW: usize = 8;

/// The parent of the set, if there is one.
pub(crate) async fn parent(cluster: &Cluster, set: &ApplySet) -> Result<Option<Parent>, KubeFailure> {
    let config_maps = Resource::core("ConfigMap", "configmaps", true);
    let object = cluster.get(&config_maps, Some(&set.namespace), &set.name).await?;
    Ok(object.as_ref().map(Parent::read))
}

/// Everything with the set's label in this scope.
///
/// A kind that the cluster no longer serves has no members. Any other failure makes the observation an error, so that what
/// was not seen cannot be taken for absent.
pub(crate) async fn members(
    cluster: &Cluster,
    resources: &Resources,
    set: &ApplySet,
    scope: &Scope,
    concurrency: usize,
) -> Result<Seen, KubeFailure> {
    let kinds: Vec<_> = scope.group_kinds.iter().filter_map(|text| GroupKind::parse(text)).collect();
    let selector = format!("{PART_OF}={}", set.id);
    let lists: Vec<_> = kinds
        .into_iter()
        .map(|kind| {
            let selector = selector.clone();
            let of_kind = kind.clone();
            let list = async move {
                let Some(resource) = resources.of_kind(cluster, &kind).await? else { return Ok(Vec::new()) };
                match cluster.list_members(&resource, &selector).await {
                    Ok(seen) => Ok(seen.objects),
                    // The CRD went away since the kind was learnt, and its objects with it.
                    Err(error) if matches!(error.class, Class::NotFound | Class::MissingKind) => {
                        resources.forget(&kind);
                        Ok(Vec::new())
                    }
                    Err(error) => Err(error),
                }
            };
            async move { (of_kind, list.await) }
        })
        .collect();
    let lists: Vec<_> = stream::iter(lists).buffer_unordered(concurrency).collect().await;
    let mut seen = Seen::default();
    for (kind, list) in lists {
        seen.add(&kind, list)?;
    }
    seen.objects.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(seen)
}

/// What was seen, and of which kinds nothing may be seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) objects: Vec<Live>,
    /// The agent has no right to read these, and so must neither take something over nor delete.
    pub(crate) unreadable: BTreeMap<GroupKind, String>,
}

impl Seen {
    fn add(&mut self, kind: &GroupKind, found: Result<Vec<Live>, KubeFailure>) -> Result<(), KubeFailure> {
        match found {
            Ok(objects) => self.objects.extend(objects),
            Err(failure) if failure.class == Class::Forbidden => drop(self.unreadable.insert(kind.clone(), failure.message)),
            Err(failure) => return Err(failure),
        }
        Ok(())
    }
}

/// What stands where these manifests want to be without being among the members. Namespaces that the bundle itself makes, and kinds
/// that the cluster does not serve yet, hold nothing.
pub(crate) async fn strangers(
    cluster: &Cluster,
    resources: &Resources,
    manifests: &[Arc<Manifest>],
    members: &[Live],
    concurrency: usize,
) -> Result<Seen, KubeFailure> {
    let known: HashSet<&ObjectId> = members.iter().map(|member| &member.id).collect();
    let mut collections: BTreeMap<(&GroupKind, Option<&String>), Vec<&Arc<Manifest>>> = BTreeMap::new();
    for manifest in manifests.iter().filter(|manifest| !known.contains(&manifest.id)) {
        collections.entry((&manifest.id.kind, manifest.id.namespace.as_ref())).or_default().push(manifest);
    }
    let mut looks = Vec::new();
    for ((_, namespace), wanted) in collections {
        let Some(first) = wanted.first() else { continue };
        let Some(resource) = resources.of_manifest(cluster, &first.id.kind, &first.api_version).await? else { continue };
        let namespace = namespace.map(String::as_str);
        if wanted.len() <= FEW {
            for manifest in wanted {
                looks.push(Look { resource: resource.clone(), namespace, name: Some(&manifest.id.name) });
            }
        } else {
            looks.push(Look { resource, namespace, name: None });
        }
    }
    let looks: Vec<_> =
        looks.into_iter().map(|look| async move { (look.resource.group_kind(), look.at(cluster).await) }).collect();
    let found: Vec<_> = stream::iter(looks).buffer_unordered(concurrency).collect().await;
    let mut seen = Seen::default();
    for (kind, found) in found {
        seen.add(&kind, found)?;
    }
    let wanted: HashSet<&ObjectId> = manifests.iter().map(|manifest| &manifest.id).collect();
    seen.objects.retain(|live| wanted.contains(&live.id) && !known.contains(&live.id));
    Ok(seen)
}

/// One object, or all of its collection.
struct Look<'a> {
    resource: Resource,
    namespace: Option<&'a str>,
    name: Option<&'a str>,
}

impl Look<'_> {
    async fn at(self, cluster: &Cluster) -> Result<Vec<Live>, KubeFailure> {
        let found = match self.name {
            Some(name) => cluster.look(&self.resource, self.namespace, name).await.map(|live| live.into_iter().collect()),
            None => cluster.look_around(&self.resource, self.namespace).await,
        };
        match found {
            Err(error) if matches!(error.class, Class::NotFound | Class::MissingKind) => Ok(Vec::new()),
            other => other,
        }
    }
}

/// Where members may be: what the parent says, what the broker remembers, and what is about to be applied.
pub(crate) fn scope(parent: Option<&Parent>, acknowledged: Option<&Scope>) -> Scope {
    let empty = Scope::default();
    applyset::union(parent.map_or(&empty, |parent| &parent.scope), acknowledged.unwrap_or(&empty))
}
