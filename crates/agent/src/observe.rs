//! What the cluster holds of a stack: the parent, and the metadata of everything with the stack's label.

use brokkr_api::desired_state::Scope;
use futures::{StreamExt, stream};
use serde_json::Value;

use crate::{
    applyset::{self, ApplySet, PART_OF, Parent},
    cluster::{Cluster, FIELD_MANAGER, KubeFailure, Resource, Resources},
    object::{GroupKind, ObjectId},
    plan::{Member, Observed},
};

const PRUNE: &str = "brokkr.io/prune";

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
) -> Result<Observed, KubeFailure> {
    let kinds: Vec<_> = scope.group_kinds.iter().filter_map(|text| GroupKind::parse(text)).collect();
    let selector = format!("{PART_OF}={}", set.id);
    let lists: Vec<_> = kinds
        .into_iter()
        .map(|kind| {
            let selector = selector.clone();
            async move {
                let Some(resource) = resources.of_kind(cluster, &kind).await? else { return Ok(Vec::new()) };
                match cluster.list_metadata(&resource, &selector).await {
                    Ok(items) => Ok(items.iter().filter_map(|item| member(&resource, item)).collect::<Vec<_>>()),
                    // The CRD went away since the kind was learnt, and its objects with it.
                    Err(error)
                        if error.class == crate::cluster::Class::NotFound
                            || error.class == crate::cluster::Class::MissingKind =>
                    {
                        resources.forget(&kind);
                        Ok(Vec::new())
                    }
                    Err(error) => Err(error),
                }
            }
        })
        .collect();
    let lists: Vec<Result<Vec<Member>, KubeFailure>> = stream::iter(lists).buffer_unordered(concurrency).collect().await;
    let mut members = Vec::new();
    for list in lists {
        members.extend(list?);
    }
    members.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(Observed { complete: true, members })
}

fn member(resource: &Resource, item: &Value) -> Option<Member> {
    let text = |pointer: &str| item.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let is_filled = |pointer: &str| item.pointer(pointer).and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    let ours = |entry: &Value| {
        entry.get("manager").and_then(Value::as_str) == Some(FIELD_MANAGER)
            && entry.get("operation").and_then(Value::as_str) == Some("Apply")
    };
    let managed = item.pointer("/metadata/managedFields").and_then(Value::as_array);
    let annotations = item.pointer("/metadata/annotations");
    Some(Member {
        id: ObjectId { kind: resource.group_kind(), namespace: text("/metadata/namespace"), name: text("/metadata/name")? },
        api_version: resource.api_version(),
        uid: text("/metadata/uid")?,
        resource_version: text("/metadata/resourceVersion")?,
        managed_by_us: managed.is_some_and(|entries| entries.iter().any(ours)),
        has_owner: is_filled("/metadata/ownerReferences"),
        keep: annotations.and_then(|map| map.get(PRUNE)).and_then(Value::as_str) == Some("false"),
        is_terminating: item.pointer("/metadata/deletionTimestamp").is_some(),
    })
}

/// Where members may be: what the parent says, what the broker remembers, and what is about to be applied.
pub(crate) fn scope(parent: Option<&Parent>, acknowledged: Option<&Scope>) -> Scope {
    let empty = Scope::default();
    applyset::union(parent.map_or(&empty, |parent| &parent.scope), acknowledged.unwrap_or(&empty))
}
