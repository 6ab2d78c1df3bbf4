//! Public bundles, as their projects publish them: what the agent makes of them equals what `kubectl apply --server-side` makes of
//! them field by field, and a second pass writes nothing.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use brokkr_tests::{
    cluster::Cluster,
    control_plane::{ControlPlane, Options},
    fleet::{Broker, Engine, LIMIT},
    lab::{Scratch, until},
};
use serde_json::Value;

/// Custom resources of the bundles' own CRDs: they go with the CRDs in one piece.
const RESOURCES: [(&str, &str); 5] = [
    (
        "gateway-api",
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: brokkr}\nspec: {controllerName: example.org/brokkr}\n---\n\
         apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: edge, namespace: default}\n\
         spec: {gatewayClassName: brokkr, listeners: [{name: http, port: 80, protocol: HTTP}]}\n",
    ),
    (
        "cert-manager",
        "apiVersion: cert-manager.io/v1\nkind: Issuer\nmetadata: {name: own, namespace: default}\nspec: {selfSigned: {}}\n---\n\
         apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {name: web, namespace: default}\n\
         spec: {secretName: web, dnsNames: [web.example.org], issuerRef: {name: own}}\n",
    ),
    (
        "prometheus-operator",
        "apiVersion: monitoring.coreos.com/v1\nkind: PodMonitor\nmetadata: {name: web, namespace: default}\n\
         spec: {selector: {matchLabels: {app: web}}, podMetricsEndpoints: [{port: metrics}]}\n",
    ),
    (
        "kyverno",
        "apiVersion: kyverno.io/v2\nkind: PolicyException\nmetadata: {name: none, namespace: default}\n\
         spec: {match: {any: [{resources: {kinds: [Pod]}}]}, exceptions: [{policyName: a, ruleNames: [b]}]}\n",
    ),
    (
        "cluster-api",
        "apiVersion: runtime.cluster.x-k8s.io/v1beta2\nkind: ExtensionConfig\nmetadata: {name: own}\n\
         spec: {clientConfig: {url: 'https://example.org'}}\n",
    ),
];

/// Name and text of each bundle, with the custom resources at its end.
fn bundles() -> Vec<(String, String)> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/bundles/fetch.sh");
    let output = Command::new("bash").arg(script).args(RESOURCES.map(|(name, _)| name)).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let own: BTreeMap<_, _> = RESOURCES.into_iter().collect();
    text.lines()
        .map(|line| line.split_once('\t').unwrap())
        .map(|(name, place)| (name.to_owned(), format!("{}\n---\n{}", read(Path::new(place)), own[name])))
        .collect()
}

/// A file, or the YAML files of a folder in order; what `kustomize` reads is none of the cluster's.
fn read(place: &Path) -> String {
    if place.is_file() {
        return fs::read_to_string(place).unwrap();
    }
    let mut files: Vec<_> = fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let is_manifest = |file: &&std::path::PathBuf| {
        file.extension().is_some_and(|end| end == "yaml") && file.file_name().is_none_or(|name| name != "kustomization.yaml")
    };
    let texts: Vec<_> = files.iter().filter(is_manifest).map(|file| fs::read_to_string(file).unwrap()).collect();
    texts.join("\n---\n")
}

/// The bundle's objects as a cluster has them, without what each object has for itself.
fn objects(cluster: &Cluster, file: &str) -> Result<BTreeMap<String, Value>, String> {
    let text = cluster.kubectl(&["get", "-f", file, "-o", "json"]).map_err(|error| error.to_string())?;
    let list: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    Ok(items.into_iter().map(|object| (name(&object), plain(object))).collect())
}

fn name(object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    format!("{} {} {}/{}", text("/apiVersion"), text("/kind"), text("/metadata/namespace"), text("/metadata/name"))
}

fn plain(mut object: Value) -> Value {
    let remove = |object: &mut Value, parent: &str, field: &str| {
        if let Some(parent) = object.pointer_mut(parent).and_then(Value::as_object_mut) {
            parent.remove(field);
        }
    };
    for field in ["uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"] {
        remove(&mut object, "/metadata", field);
    }
    remove(&mut object, "", "status");
    // Given to each object by the controllers of its cluster.
    remove(&mut object, "/metadata/annotations", "deployment.kubernetes.io/revision");
    if object["kind"] == "Service" && object["spec"]["clusterIP"] != "None" {
        remove(&mut object, "/spec", "clusterIP");
        remove(&mut object, "/spec", "clusterIPs");
    }
    for map in ["labels", "annotations"] {
        let Some(entries) = object["metadata"].get_mut(map).and_then(Value::as_object_mut) else { continue };
        entries.retain(|key, _| !key.starts_with("applyset.kubernetes.io/") && !key.starts_with("brokkr.io/"));
        if entries.is_empty() {
            remove(&mut object, "/metadata", map);
        }
    }
    object
}

/// Every field that differs, as far as a person wants to read.
fn differences(ours: &BTreeMap<String, Value>, theirs: &BTreeMap<String, Value>) -> String {
    let mut found = Vec::new();
    for (name, object) in theirs {
        fields(name, ours.get(name).unwrap_or(&Value::Null), object, &mut found);
    }
    found.truncate(20);
    found.join("\n")
}

fn fields(place: &str, ours: &Value, theirs: &Value, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(one), Value::Object(other)) => {
            for key in one.keys().chain(other.keys().filter(|key| !one.contains_key(*key))) {
                fields(&format!("{place}.{key}"), &ours[key], &theirs[key], found);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                fields(&format!("{place}[{index}]"), one, other, found);
            }
        }
        _ if ours != theirs => found.push(format!("{place}: {ours} and not {theirs}")),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn public_bundles_end_as_kubectl_makes_them_and_a_second_pass_writes_nothing() {
    let start = || tokio::task::spawn_blocking(|| ControlPlane::start(&Options::default()).unwrap());
    let (of_agent, of_kubectl) = tokio::try_join!(start(), start()).unwrap();
    let (ours, theirs) = (Cluster::of(&of_agent).await.unwrap(), Cluster::of(&of_kubectl).await.unwrap());
    let folder = Scratch::new("bundles").unwrap();
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let mut agent = broker.unconnected_agent("bundles", ours.kubeconfig(), &[]).await.unwrap();
    let bundles = bundles();
    for (name, text) in &bundles {
        let file = folder.write(&format!("{name}.yaml"), text).unwrap().display().to_string();
        let stack = broker.stack(name, &[&agent]).await;
        broker.apply(&stack, text).await;

        let apply = || async {
            // The first call knows nothing of the kinds that the bundle itself defines.
            theirs.kubectl(&["apply", "--server-side", "--field-manager=x", "-f", &file]).map_err(|error| error.to_string())
        };
        until(&format!("kubectl to apply {name}"), LIMIT, apply).await.unwrap();

        let compare = || async {
            let (ours, theirs) = (objects(&ours, &file)?, objects(&theirs, &file)?);
            if ours == theirs { Ok(theirs.len()) } else { Err(differences(&ours, &theirs)) }
        };
        // Roles that gather the rules of others get them from a controller.
        let count = until(&format!("{name} to be equal in both clusters"), LIMIT, compare).await.unwrap();
        assert!(count > 0, "{name} is empty");
        eprintln!("{name}: {} bytes, {count} objects are equal", text.len());
    }

    let (written, from) = of_agent.agent_writes(0).unwrap();
    let lines = agent.process.output().lines().len();
    assert!(!written.is_empty(), "the audit log has none of the agent's writes");
    agent.process.restart(LIMIT).await.unwrap();
    let again = || async {
        let lines: Vec<_> = agent.process.output().lines().split_off(lines);
        let done = |name: &String| {
            let stack = format!("stack.name={name} ");
            lines.iter().any(|line| line.contains("a deployment was carried out") && line.contains(&stack))
        };
        let missing: Vec<_> = bundles.iter().map(|(name, _)| name).filter(|name| !done(name)).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("not yet: {missing:?}")) }
    };
    until("the second pass", LIMIT, again).await.unwrap();
    assert_eq!(of_agent.agent_writes(from).unwrap().0, Vec::<String>::new(), "the second pass wrote");
}
