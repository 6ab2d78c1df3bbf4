//! Which fields of an object a field manager owns: `managedFields` in the form `FieldsV1`.
//!
//! A node is a JSON object; its keys are `f:name` (a field), `k:{…}` (an item of a list by its keys), `v:…` (an item of a set), `i:n`
//! (an item by its place) and `.` (the thing itself). An empty node is a leaf: everything below belongs to the manager.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

use crate::pointer::{escape, unescape};

/// What our field manager owns of one object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ownership {
    /// The version of the API that the fields are written in.
    pub(crate) api_version: String,
    /// The fields, as the API server wrote them.
    pub(crate) fields: Value,
}

impl Ownership {
    /// Changes when the set of fields does. Stable within one process only.
    pub(crate) fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.api_version.hash(&mut hasher);
        hash_node(&self.fields, &mut hasher);
        hasher.finish()
    }

    /// Hashes of the paths of all fields, sorted: small enough to be remembered for every object.
    pub(crate) fn path_hashes(&self) -> Box<[u64]> {
        let mut hashes = Vec::new();
        walk(&self.fields, &mut String::new(), &mut |path| hashes.push(path_hash(path)));
        hashes.sort_unstable();
        hashes.into()
    }

    /// The fields that a manifest sets and that are not owned any more, in the notation of the API server's conflicts; empty when
    /// everything in it is still as it was applied. `ignored` are JSON pointers to what may be anybody's.
    pub(crate) fn missing(&self, manifest: &Value, ignored: &[String]) -> Vec<String> {
        let mut missing = Vec::new();
        let Some(object) = manifest.as_object() else { return missing };
        for (name, value) in object {
            match name.as_str() {
                // Identity has no owner, and the status is not the manifest's to set.
                "apiVersion" | "kind" | "status" => {}
                "metadata" => {
                    for part in ["labels", "annotations", "finalizers", "ownerReferences"] {
                        if let Some(value) = value.get(part) {
                            let node = self.fields.pointer(&format!("/f:metadata/f:{part}"));
                            compare(value, node, &mut Place::new(&["metadata", part]), ignored, &mut missing);
                        }
                    }
                }
                _ => {
                    let node = self.fields.get(format!("f:{name}"));
                    compare(value, node, &mut Place::new(&[name]), ignored, &mut missing);
                }
            }
        }
        missing
    }

    /// Whether the field at this JSON pointer is owned, or something below it.
    pub(crate) fn owns(&self, pointer: &str) -> bool {
        let mut node = &self.fields;
        for part in pointer.split('/').skip(1) {
            let is_leaf = node.as_object().is_some_and(serde_json::Map::is_empty);
            if is_leaf {
                return true;
            }
            let part = unescape(part);
            match node.get(format!("f:{part}")) {
                Some(child) => node = child,
                None => return false,
            }
        }
        true
    }
}

/// Whether two sets of fields name a field in common.
pub(crate) fn overlap(one: &Value, other: &Value) -> bool {
    without(one, other).as_ref() != Some(one)
}

/// The fields of `node` that are not in `taken`; nothing when none is left.
pub(crate) fn without(node: &Value, taken: &Value) -> Option<Value> {
    let (Some(map), Some(taken)) = (node.as_object(), taken.as_object()) else { return Some(node.clone()) };
    // A leaf on either side means everything below.
    if taken.is_empty() || map.is_empty() {
        return None;
    }
    let mut rest = serde_json::Map::new();
    for (key, child) in map {
        match taken.get(key) {
            None => drop(rest.insert(key.clone(), child.clone())),
            Some(taken) => {
                if let Some(left) = without(child, taken) {
                    rest.insert(key.clone(), left);
                }
            }
        }
    }
    // The thing itself without any of its fields is nothing that somebody set.
    let is_empty = rest.is_empty() || (rest.len() == 1 && rest.contains_key("."));
    (!is_empty).then_some(Value::Object(rest))
}

/// The number under which the ledger knows a path.
pub(crate) fn path_hash(path: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    hasher.finish()
}

fn hash_node(node: &Value, hasher: &mut DefaultHasher) {
    if let Some(map) = node.as_object() {
        map.len().hash(hasher);
        for (key, child) in map {
            key.hash(hasher);
            hash_node(child, hasher);
        }
    }
}

/// Calls `see` with the path of every field of a node.
fn walk(node: &Value, path: &mut String, see: &mut impl FnMut(&str)) {
    let Some(map) = node.as_object() else { return };
    if map.is_empty() {
        see(path);
        return;
    }
    for (key, child) in map {
        if key == "." {
            see(path);
            continue;
        }
        let length = path.len();
        path.push_str(&element(key));
        walk(child, path, see);
        path.truncate(length);
    }
}

/// One step of a path as the API server writes it in conflicts: `.name`, `[name="web"]`, `[="x"]`, `[0]`.
fn element(key: &str) -> String {
    match key.split_once(':') {
        Some(("f", name)) => format!(".{name}"),
        Some(("k", keys)) => match serde_json::from_str::<Value>(keys) {
            Ok(Value::Object(keys)) => {
                format!("[{}]", keys.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(","))
            }
            _ => format!("[{keys}]"),
        },
        Some(("v", value)) => format!("[={value}]"),
        Some((_, rest)) => format!("[{rest}]"),
        None => key.to_owned(),
    }
}

/// Where a comparison stands, in both notations: the API server's and JSON pointers.
struct Place {
    path: String,
    pointer: String,
}

impl Place {
    fn new(names: &[&str]) -> Self {
        let mut place = Self { path: String::new(), pointer: String::new() };
        names.iter().for_each(|name| place.enter(&format!(".{name}"), name));
        place
    }

    fn enter(&mut self, element: &str, name: &str) {
        self.path.push_str(element);
        self.pointer.push('/');
        self.pointer.push_str(&escape(name));
    }

    fn with<T>(&mut self, element: &str, name: &str, work: impl FnOnce(&mut Self) -> T) -> T {
        let (path, pointer) = (self.path.len(), self.pointer.len());
        self.enter(element, name);
        let result = work(self);
        self.path.truncate(path);
        self.pointer.truncate(pointer);
        result
    }
}

fn compare(value: &Value, node: Option<&Value>, place: &mut Place, ignored: &[String], missing: &mut Vec<String>) {
    if ignored.contains(&place.pointer) || is_nothing(value) {
        return;
    }
    let Some(node) = node.and_then(Value::as_object) else {
        // The last field of a map takes the map along; each of them is named.
        match value {
            Value::Object(map) => map.iter().for_each(|(name, child)| {
                place.with(&format!(".{name}"), name, |place| compare(child, None, place, ignored, missing));
            }),
            _ => missing.push(place.path.clone()),
        }
        return;
    };
    if node.is_empty() {
        return;
    }
    match value {
        Value::Object(map) => {
            for (name, child) in map {
                let node = node.get(&format!("f:{name}"));
                place.with(&format!(".{name}"), name, |place| compare(child, node, place, ignored, missing));
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let found = node.iter().find(|(key, _)| names_item(key, item));
                match found {
                    Some((key, node)) => {
                        let index = index.to_string();
                        place.with(&element(key), &index, |place| compare_item(item, node, place, ignored, missing));
                    }
                    // Items by their place cannot be told apart here; the list is owned as a whole.
                    None if node.keys().any(|key| key.starts_with("i:")) => {}
                    None => missing.push(format!("{}[{index}]", place.path)),
                }
            }
        }
        _ => {}
    }
}

fn compare_item(item: &Value, node: &Value, place: &mut Place, ignored: &[String], missing: &mut Vec<String>) {
    // A scalar of a set, or an item that only exists by its keys.
    if item.is_object() {
        compare(item, Some(node), place, ignored, missing);
    }
}

/// What server-side apply takes for absent.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty() || map.values().all(Value::is_null),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

fn names_item(key: &str, item: &Value) -> bool {
    match key.split_once(':') {
        Some(("v", value)) => serde_json::from_str::<Value>(value).is_ok_and(|value| value == *item),
        Some(("k", keys)) => match serde_json::from_str::<Value>(keys) {
            // A key that the manifest leaves out has its default: the protocol of a port.
            Ok(Value::Object(keys)) => {
                let mut named = false;
                keys.iter().all(|(key, value)| match item.get(key) {
                    Some(found) => {
                        named = true;
                        found == value
                    }
                    None => true,
                }) && named
            }
            _ => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn deployment_fields() -> Ownership {
        let fields = json!({
            "f:metadata": {"f:labels": {"f:app": {}}},
            "f:spec": {
                "f:replicas": {},
                "f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"web\"}": {
                    ".": {}, "f:name": {}, "f:image": {},
                    "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}
                }}}}
            }
        });
        Ownership { api_version: "apps/v1".to_owned(), fields }
    }

    fn deployment() -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"app": "web"}}, "spec": {
            "replicas": 2,
            "template": {"metadata": {"creationTimestamp": null}, "spec": {"containers": [{"name": "web", "image": "i", "ports": [{"containerPort": 80}], "env": []}]}}
        }})
    }

    #[test]
    fn what_was_applied_is_owned_with_defaulted_keys_and_without_empty_values() {
        assert_eq!(deployment_fields().missing(&deployment(), &[]), Vec::<String>::new());
    }

    #[test]
    fn what_somebody_took_is_named_as_the_api_server_names_it() {
        let mut ours = deployment_fields();
        ours.fields["f:spec"].as_object_mut().unwrap().remove("f:replicas");
        let container = "/f:spec/f:template/f:spec/f:containers/k:{\"name\":\"web\"}";
        ours.fields.pointer_mut(container).unwrap().as_object_mut().unwrap().remove("f:image");
        let expected = [".spec.replicas", r#".spec.template.spec.containers[name="web"].image"#];
        assert_eq!(ours.missing(&deployment(), &[]), expected);
        assert_eq!(ours.missing(&deployment(), &["/spec/replicas".to_owned()]), expected[1..]);
        assert!(!ours.owns("/spec/replicas") && ours.owns("/metadata/labels/app") && ours.owns("/metadata/labels"));
        let before = deployment_fields().path_hashes();
        assert!(expected.iter().all(|path| before.binary_search(&path_hash(path)).is_ok()));
        assert!(expected.iter().all(|path| ours.path_hashes().binary_search(&path_hash(path)).is_err()));
        assert_ne!(ours.hash(), deployment_fields().hash());
    }

    #[test]
    fn an_item_that_was_taken_out_of_a_list_is_missing() {
        let mut wanted = deployment();
        wanted["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "proxy"}));
        assert_eq!(deployment_fields().missing(&wanted, &[]), [".spec.template.spec.containers[1]"]);
    }

    #[test]
    fn taking_fields_from_another_leaves_what_only_he_set() {
        let his = json!({"f:metadata": {"f:annotations": {".": {}, "f:note": {}}}, "f:spec": {"f:replicas": {}, "f:paused": {}}});
        let ours = json!({"f:spec": {"f:replicas": {}}});
        let rest = without(&his, &ours).unwrap();
        assert_eq!(rest, json!({"f:metadata": {"f:annotations": {".": {}, "f:note": {}}}, "f:spec": {"f:paused": {}}}));
        assert!(overlap(&his, &ours) && !overlap(&rest, &ours));
        assert_eq!(without(&ours, &ours), None);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-z:.{}\"]{0,6}".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("(f:|k:|v:|i:|\\.|)[a-z{}\"]{0,5}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_answer_of_a_server_makes_the_comparison_panic(manifest in any_json(), fields in any_json(), pointer in "[/a-z~01]{0,8}") {
            let ours = Ownership { api_version: String::new(), fields };
            ours.missing(&manifest, std::slice::from_ref(&pointer));
            ours.owns(&pointer);
            ours.path_hashes();
            without(&manifest, &ours.fields);
        }
    }
}
