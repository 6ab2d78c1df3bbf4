//! What examples and Compose configure of Tempo, Jaeger and Grafana, none of which runs here: that it is well-formed, that its keys are
//! those of their documentation, and that files name each other by addresses that are there.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use brokkr_tests::{cluster::Cluster, lab::Scratch};
use serde_json::Value;

use crate::helm::{find, objects, repository};

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap()
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// Files below a folder, with their text.
fn files(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(repository().join(folder)).unwrap().map(|entry| entry.unwrap().path()) {
        let inside = entry.strip_prefix(repository()).unwrap().to_owned();
        if entry.is_dir() {
            found.extend(files(inside.to_str().unwrap()));
        } else {
            found.push((inside, fs::read_to_string(&entry).unwrap()));
        }
    }
    found
}

/// The paths of keys that are not among the known ones.
fn unknown(config: &Value, known: &Value, path: &str) -> Vec<String> {
    match config {
        Value::Array(items) => items.iter().flat_map(|item| unknown(item, known, path)).collect(),
        Value::Object(map) => {
            let one = |(key, value): (&String, &Value)| {
                let path = format!("{path}/{key}");
                match known.get(key).or_else(|| known.get("*")) {
                    Some(known) => unknown(value, known, &path),
                    None => vec![path],
                }
            };
            map.iter().flat_map(one).collect()
        }
        _ => Vec::new(),
    }
}

#[test]
fn every_key_of_tempo_jaeger_and_grafana_is_one_of_their_documentation() {
    let trial = objects(&read("deploy/examples/trial/kubernetes.yaml"));
    let trial = find(&trial, "ConfigMap", "jaeger")["data"]["config.yaml"].as_str().unwrap().to_owned();
    let file = |path: &'static str| (path, read(path));
    let programs = [
        (
            "tempo",
            vec![
                file("deploy/examples/tempo/local.yaml"),
                file("deploy/examples/tempo/s3.yaml"),
                file("deploy/examples/tempo/gcs.yaml"),
                file("deploy/compose/tempo.yaml"),
            ],
        ),
        ("jaeger", vec![file("deploy/examples/jaeger/config.yaml"), ("the trial", trial)]),
        (
            "grafana",
            vec![file("deploy/examples/grafana/datasources.yaml"), file("deploy/compose/grafana/datasources/brokkr.yaml")],
        ),
    ];
    for (program, configs) in programs {
        let known = yaml(&read(&format!("tests/charts/keys/{program}.yaml")));
        for (name, text) in configs {
            assert_eq!(unknown(&yaml(&text), &known, ""), Vec::<String>::new(), "{name}");
        }
    }
    // What the newest version took away, and what is written wrong, are told.
    let tempo = yaml(&read("tests/charts/keys/tempo.yaml"));
    let wrong = yaml("{ingester: {}, storage: {trace: {s3: {bukket: b}}}}");
    assert_eq!(unknown(&wrong, &tempo, ""), ["/ingester", "/storage/trace/s3/bukket"]);
}

#[test]
fn data_sources_lead_to_each_other() {
    for file in ["deploy/examples/grafana/datasources.yaml", "deploy/compose/grafana/datasources/brokkr.yaml"] {
        let config = yaml(&read(file));
        let sources = config["datasources"].as_array().unwrap();
        let mut named = Vec::new();
        values_of(&config, "datasourceUid", &mut named);
        assert!(named.len() > 2, "{file}");
        for uid in named {
            assert!(sources.iter().any(|source| source["uid"] == uid), "{file}: {uid}");
        }
    }
}

/// The values of a key, wherever it stands.
fn values_of(value: &Value, key: &str, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| values_of(item, key, found)),
        Value::Object(map) => {
            for (name, inside) in map {
                if name == key {
                    found.push(inside.as_str().unwrap().to_owned());
                }
                values_of(inside, key, found);
            }
        }
        _ => {}
    }
}

/// Names and ports in `NAME.observability:PORT`.
fn addresses(text: &str) -> Vec<(String, u16)> {
    let mut found = Vec::new();
    for (at, separator) in text.match_indices(".observability:") {
        let is_of_a_name = |character: char| character.is_ascii_alphanumeric() || character == '-';
        let before = &text[..at];
        let name = before.rsplit(|character| !is_of_a_name(character)).next().unwrap().trim_start_matches('-');
        let port: String = text[at + separator.len()..].chars().take_while(char::is_ascii_digit).collect();
        found.push((name.to_owned(), port.parse().unwrap()));
    }
    found
}

/// The workloads and Services of a folder of examples; each has its own.
fn manifests() -> Vec<(PathBuf, Vec<Value>)> {
    let all = files("deploy/examples").into_iter().filter(|(path, _)| path.ends_with("kubernetes.yaml"));
    all.map(|(path, text)| (path, objects(&text))).collect()
}

#[test]
fn addresses_in_examples_values_and_guides_are_services_of_the_examples() {
    let mut services: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for service in manifests().into_iter().flat_map(|(_, objects)| objects).filter(|object| object["kind"] == "Service") {
        let ports = service["spec"]["ports"].as_array().unwrap().iter().map(|port| port["port"].as_u64().unwrap());
        services.entry(service["metadata"]["name"].as_str().unwrap().to_owned()).or_default().extend(ports);
    }
    let mut seen = 0;
    for (path, text) in ["deploy", "charts", "docs/content/how-to", "tests/charts/values"].into_iter().flat_map(files) {
        for (name, port) in addresses(&text) {
            // Whoever has logs has a place for them; any name does for a value that is tried.
            if name == "loki" || (name == "otel" && path.starts_with("tests")) {
                continue;
            }
            let ports = services.get(&name).unwrap_or_else(|| panic!("{}: nobody is {name}.observability", path.display()));
            assert!(ports.contains(&u64::from(port)), "{}: {name} has no port {port}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen} addresses");
}

#[test]
fn ports_of_services_are_ports_of_containers_that_their_configuration_listens_on() {
    for (path, objects) in manifests() {
        let folder = path.parent().unwrap().to_str().unwrap();
        // What the programs read: the files of the folder, ConfigMaps, and their arguments.
        let config: String = files(folder).into_iter().map(|(_, text)| text).collect();
        let config =
            config.lines().filter(|line| !line.contains("containerPort") && !line.contains("targetPort")).collect::<Vec<_>>();
        for service in objects.iter().filter(|object| object["kind"] == "Service") {
            let name = service["metadata"]["name"].as_str().unwrap();
            let is_selected =
                |object: &&Value| object.pointer("/spec/template/metadata/labels") == Some(&service["spec"]["selector"]);
            let workload = objects.iter().find(is_selected).unwrap_or_else(|| panic!("{folder}: {name} leads nowhere"));
            let container = &workload["spec"]["template"]["spec"]["containers"][0];
            for port in service["spec"]["ports"].as_array().unwrap() {
                let open = container["ports"].as_array().unwrap();
                let target = open.iter().find(|open| open["name"] == port["targetPort"]);
                let target =
                    target.unwrap_or_else(|| panic!("{folder}: {name} has no {port}"))["containerPort"].as_u64().unwrap();
                // By its own default.
                let listens = name == "grafana" && target == 3000
                    || config.iter().any(|line| {
                        [format!(":{target}"), format!("port: {target}")]
                            .iter()
                            .any(|text| line.trim_end_matches(['"', '}']).ends_with(text))
                    });
                assert!(listens, "{folder}: nobody listens on {target} of {name}");
            }
        }
    }
}

#[test]
fn gateway_and_data_source_name_the_same_tenant_of_the_tempo_that_has_several() {
    let gateway = yaml(&read("deploy/examples/gateway/collector.yaml"));
    let sent = gateway["exporters"]["otlp_grpc"]["headers"]["X-Scope-OrgID"].as_str().unwrap().to_owned();
    let tenant = sent.strip_prefix("${env:TENANT:-").unwrap().trim_end_matches('}');
    let grafana = yaml(&read("deploy/examples/grafana/datasources.yaml"));
    let source = grafana["datasources"].as_array().unwrap().iter().find(|source| source["type"] == "tempo").unwrap();
    assert_eq!(source["jsonData"]["httpHeaderName1"], "X-Scope-OrgID");
    assert_eq!(source["secureJsonData"]["httpHeaderValue1"], tenant);
    for storage in ["s3", "gcs"] {
        let config = yaml(&read(&format!("deploy/examples/tempo/{storage}.yaml")));
        assert_eq!(config["multitenancy_enabled"], true, "{storage}");
    }
}

#[test]
fn addresses_in_compose_are_services_that_listen_there() {
    let compose = yaml(&read("docker-compose.yml"));
    let services = compose["services"].as_object().unwrap();
    let lists = |name: &str| match name {
        "tempo" | "collector" => read(&format!("deploy/compose/{name}.yaml")),
        _ => services[name]["ports"].to_string(),
    };
    let mut seen = 0;
    let all = files("deploy/compose").into_iter().chain([(PathBuf::from("docker-compose.yml"), read("docker-compose.yml"))]);
    for (path, text) in all {
        let named = text.lines().filter(|line| ["http://", "targets:", "_ENDPOINT"].iter().any(|word| line.contains(word)));
        for (line, name) in named.flat_map(|line| services.keys().map(move |name| (line, name))) {
            for (at, _) in line.match_indices(&format!("{name}:")) {
                let port: String = line[at + name.len() + 1..].chars().take_while(char::is_ascii_digit).collect();
                let own = matches!(line[..at].chars().next_back(), Some('/' | '"' | '-' | '[' | ' '));
                if own && !port.is_empty() {
                    assert!(lists(name).contains(&port), "{}: {name} does not listen on {port}", path.display());
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 6, "{seen} addresses");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_takes_the_objects_of_each_example_strictly() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.create_namespace("examples").await.unwrap();
    let scratch = Scratch::new("examples").unwrap();
    let is_built = |path: &Path| path.join("kustomization.yaml").exists();
    let folders = fs::read_dir(repository().join("deploy/examples")).unwrap().map(|entry| entry.unwrap().path());
    let mut names = Vec::new();
    for folder in folders.filter(|folder| is_built(folder) || folder.join("kubernetes.yaml").exists()) {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let rendered = if is_built(&folder) {
            cluster.kubectl(&["kustomize", folder.to_str().unwrap()]).unwrap()
        } else {
            fs::read_to_string(folder.join("kubernetes.yaml")).unwrap()
        };
        let objects = objects(&rendered);
        let wanted = objects.iter().filter(|object| object["kind"] != "Namespace").count();
        let rendered = rendered.replace("namespace: observability", &format!("namespace: {namespace}"));
        let file = scratch.write(&format!("{name}.yaml"), rendered).unwrap();
        let told = cluster.kubectl(&["apply", "--dry-run=server", "--validate=strict", "-f", file.to_str().unwrap()]);
        let told = told.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(told.lines().count() >= wanted && wanted > 2, "{name}: {told}");
        names.push(name);
    }
    names.sort();
    assert_eq!(names, ["gateway", "grafana", "jaeger", "mtls", "tempo", "trial"]);
    cluster.delete_namespace(&namespace).await.unwrap();
}
