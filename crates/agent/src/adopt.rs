//! Taking over what exists: the fields of the manifest become ours alone, everything else stays whose it is, and nothing restarts.

use serde_json::{Value, json};

use crate::{
    cluster::{Applied, Class, Cluster, FIELD_MANAGER, Force, KubeFailure, Resource},
    fields::{overlap, without},
    object::Manifest,
    pointer::escape,
};

/// How often the managers are rewritten when the object changes meanwhile.
const TRIES: usize = 5;

/// Applies with force, and takes the fields from their former managers: a tool that applied them client-side would otherwise be in
/// conflict with us at the next change, or we with it.
pub(crate) async fn take_over(cluster: &Cluster, resource: &Resource, manifest: &Manifest) -> Result<Applied, KubeFailure> {
    let namespace = manifest.id.namespace.as_deref();
    let body = manifest.json.as_bytes().to_vec();
    let mut applied = cluster.apply(resource, namespace, &manifest.id.name, body, Force::Yes).await?;
    for _ in 0..TRIES {
        let Some(object) = cluster.get(resource, namespace, &manifest.id.name).await? else { break };
        let Some(patch) = sole_owner(&object) else { break };
        match cluster.patch_json(resource, namespace, &manifest.id.name, &patch).await {
            Ok(live) => {
                applied.live = live.unwrap_or(applied.live);
                break;
            }
            // It changed in between: its controllers go on working.
            Err(failure) if matches!(failure.class, Class::Conflict | Class::Invalid) => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(applied)
}

/// The patch after which our fields are only ours; nothing when they are.
fn sole_owner(object: &Value) -> Option<Value> {
    let entries = object.pointer("/metadata/managedFields")?.as_array()?;
    let is_ours = |entry: &Value| text(entry, "manager") == FIELD_MANAGER && text(entry, "operation") == "Apply";
    let ours = entries.iter().find(|entry| is_ours(entry))?.get("fieldsV1")?;
    let shares = |entry: &Value| {
        !is_ours(entry)
            && text(entry, "subresource").is_empty()
            && entry.get("fieldsV1").is_some_and(|fields| overlap(fields, ours))
    };
    if !entries.iter().any(shares) {
        return None;
    }
    let rest = entries.iter().filter_map(|entry| {
        if !shares(entry) {
            return Some(entry.clone());
        }
        let mut entry = entry.clone();
        let left = without(entry.get("fieldsV1")?, ours)?;
        entry.as_object_mut()?.insert("fieldsV1".to_owned(), left);
        Some(entry)
    });
    Some(json!([
        {"op": "test", "path": "/metadata/resourceVersion", "value": object.pointer("/metadata/resourceVersion")?},
        {"op": "replace", "path": "/metadata/managedFields", "value": rest.collect::<Vec<_>>()},
    ]))
}

/// The patch after which an object is no member of a set and none of ours, with everything in it as it is.
pub(crate) fn release(object: &Value, label: &str, annotations: &[&str]) -> Option<Value> {
    let mut patch = vec![
        json!({"op": "test", "path": "/metadata/uid", "value": object.pointer("/metadata/uid")?}),
        json!({"op": "test", "path": "/metadata/resourceVersion", "value": object.pointer("/metadata/resourceVersion")?}),
    ];
    let notes = annotations.iter().map(|annotation| ("annotations", *annotation));
    for (map, key) in notes.chain([("labels", label)]) {
        if object.pointer(&format!("/metadata/{map}")).and_then(|map| map.get(key)).is_some() {
            let key = escape(key);
            patch.push(json!({"op": "remove", "path": format!("/metadata/{map}/{key}")}));
        }
    }
    if let Some(entries) = object.pointer("/metadata/managedFields").and_then(Value::as_array) {
        let mut rest: Vec<_> = entries.iter().filter(|entry| text(entry, "manager") != FIELD_MANAGER).cloned().collect();
        if rest.is_empty() {
            // An empty list is taken for "do not change": one empty entry clears it.
            rest.push(json!({}));
        }
        patch.push(json!({"op": "replace", "path": "/metadata/managedFields", "value": rest}));
    }
    Some(Value::from(patch))
}

fn text<'a>(entry: &'a Value, key: &str) -> &'a str {
    entry.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_former_tool_loses_our_fields_and_keeps_its_own() {
        let object = json!({"metadata": {"resourceVersion": "7", "uid": "u", "labels": {"l": "x"}, "managedFields": [
            {"manager": "kubectl-client-side-apply", "operation": "Update", "fieldsV1": {"f:data": {"f:a": {}, "f:b": {}}}},
            {"manager": "helm", "operation": "Update", "fieldsV1": {"f:data": {"f:a": {}}}},
            {"manager": "controller", "operation": "Update", "subresource": "status", "fieldsV1": {"f:data": {"f:a": {}}}},
            {"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:data": {"f:a": {}}}},
        ]}});
        let patch = sole_owner(&object).unwrap();
        let managers: Vec<_> = patch[1]["value"].as_array().unwrap().iter().map(|entry| text(entry, "manager")).collect();
        assert_eq!(managers, ["kubectl-client-side-apply", "controller", FIELD_MANAGER]);
        assert_eq!(patch[1]["value"][0]["fieldsV1"], json!({"f:data": {"f:b": {}}}));
        assert_eq!(patch[0]["value"], "7");
        let released = release(&object, "l", &["none"]).unwrap();
        assert_eq!(released.as_array().unwrap().len(), 4, "two tests, the label, the managers");
    }
}
