//! Every configuration of a collector that charts, examples, Compose and the guides have.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::{
    authority::Authority,
    helm::{CHARTS, Helm, find, matrix, objects, repository},
};

/// A configuration of a collector, and what its container would find.
#[derive(Clone)]
pub(crate) struct Configuration {
    pub(crate) name: String,
    /// Each is laid over the one before.
    pub(crate) layers: Vec<Value>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) files: Vec<(String, String)>,
    /// Volumes of Secrets: key and path of each file.
    secrets: Vec<(String, String)>,
}

impl Configuration {
    /// Whether its values add to what is masked.
    pub(crate) fn masks_more(&self) -> bool {
        self.name.ends_with("everything.yaml")
    }

    pub(crate) fn new(name: &str, config: Value) -> Self {
        let (layers, none) = (vec![config], Vec::new());
        Self { name: name.to_owned(), layers, environment: none.clone(), files: none.clone(), secrets: none }
    }

    /// Fills the files of its Secrets.
    pub(crate) fn with_certificates(mut self, authority: &Authority, name: &str) -> Self {
        let secret = authority.secret(&[name]);
        for (key, path) in &self.secrets {
            let (_, text) = secret.iter().find(|(known, _)| known == key).unwrap();
            self.files.push((format!("/etc/otelcol/{path}"), text.clone()));
        }
        self
    }

    /// The headers that its exporters send.
    pub(crate) fn headers(&self) -> Vec<(String, String)> {
        let exporters = self.layers[0]["exporters"].as_object().unwrap().values();
        let headers = exporters.filter_map(|exporter| exporter["headers"].as_object()).flatten();
        headers.map(|(header, value)| (header.to_lowercase(), self.resolved(value.as_str().unwrap()))).collect()
    }

    /// A value, with the environment of the container in it.
    pub(crate) fn resolved(&self, value: &str) -> String {
        let Some(variable) = value.strip_prefix("${env:").and_then(|rest| rest.strip_suffix('}')) else {
            return value.to_owned();
        };
        let (variable, default) = variable.split_once(":-").unwrap_or((variable, ""));
        let known = self.environment.iter().find(|(name, _)| name == variable);
        known.map_or(default, |(_, value)| value).to_owned()
    }

    /// The exporters of OTLP.
    pub(crate) fn exporters(&mut self) -> impl Iterator<Item = (&String, &mut Value)> {
        let exporters = self.layers[0]["exporters"].as_object_mut().unwrap();
        exporters.iter_mut().filter(|(name, _)| name.starts_with("otlp"))
    }
}

/// The collector beside a daemon, as its chart renders it with these arguments.
pub(crate) async fn rendered(daemon: &str, name: &str, arguments: &[&str]) -> Configuration {
    let always = ["--set", "tracing.collector.mode=sidecar"];
    let arguments: Vec<_> = always.into_iter().chain(arguments.iter().copied()).collect();
    let rendered = objects(&Helm::alone().await.template(daemon, "brokkr-system", &arguments).unwrap());
    of_chart(&format!("{daemon}: {name}"), &rendered).unwrap()
}

/// The collector among the objects of a chart, if there is one.
fn of_chart(name: &str, rendered: &[Value]) -> Option<Configuration> {
    let is_its_own = |object: &&Value| {
        object["kind"] == "ConfigMap" && object["metadata"]["name"].as_str().is_some_and(|name| name.ends_with("-collector"))
    };
    let map = rendered.iter().find(is_its_own)?;
    let mut found = Configuration::new(name, yaml(map["data"]["config.yaml"].as_str().unwrap()));
    let pod = &find(rendered, "Deployment", "")["spec"]["template"]["spec"];
    let containers = pod["initContainers"].as_array().unwrap();
    let container = containers.iter().find(|container| container["name"] == "collector").unwrap();
    for variable in container["env"].as_array().unwrap() {
        let from = &variable["valueFrom"];
        let value = match (&variable["value"], &from["fieldRef"]["fieldPath"], &from["secretKeyRef"]["key"]) {
            (Value::String(value), ..) | (_, Value::String(value), _) => value.clone(),
            (.., Value::String(key)) => format!("of {key}"),
            _ => panic!("{name}: {variable}"),
        };
        found.environment.push((variable["name"].as_str().unwrap().to_owned(), value));
    }
    let volumes = pod["volumes"].as_array().unwrap();
    let volume = volumes.iter().find(|volume| volume["name"] == "collector-config").unwrap();
    let sources = volume["projected"]["sources"].as_array().unwrap();
    for item in sources.iter().flat_map(|source| source["secret"]["items"].as_array().into_iter().flatten()) {
        found.secrets.push((item["key"].as_str().unwrap().to_owned(), item["path"].as_str().unwrap().to_owned()));
    }
    Some(found)
}

/// A configuration in a file below `deploy/examples`.
pub(crate) fn example(file: &str) -> Configuration {
    let path = Path::new("deploy/examples").join(file);
    Configuration::new(path.to_str().unwrap(), yaml(&read(&path)))
}

/// All that the charts render: by each transport, by the example with certificates, and by each set of values
/// that the charts are tried with.
async fn of_charts() -> Vec<Configuration> {
    let mtls = repository().join("deploy/examples/mtls/values.yaml").display().to_string();
    let plain = "tracing.collector.sidecar.endpoint=gateway:4317,tracing.collector.sidecar.tls.insecure=true";
    let by_http = "tracing.collector.sidecar.protocol=http/protobuf,tracing.collector.sidecar.endpoint=http://gateway:4318";
    let helm = Helm::alone().await;
    let mut found = Vec::new();
    for daemon in CHARTS {
        found.push(rendered(daemon, "a sidecar", &["--set", plain]).await);
        found.push(rendered(daemon, "a sidecar by HTTP", &["--set", by_http]).await);
        found.push(rendered(daemon, "the example with certificates", &["--values", &mtls]).await);
        let before = found.len();
        for (name, values) in matrix(daemon) {
            let rendered = objects(&helm.template(daemon, "brokkr-system", &["--values", &values]).unwrap());
            found.extend(of_chart(&format!("{daemon}: {name}.yaml"), &rendered));
        }
        assert!(found.len() > before, "no set of values of the {daemon} has a collector beside it");
    }
    found
}

/// Every one that a collector of ours is to run.
pub(crate) async fn every() -> Vec<Configuration> {
    let mut found = of_charts().await;
    found.push(example("gateway/collector.yaml"));
    found.push(Configuration::new("Compose", yaml(&read(Path::new("deploy/compose/collector.yaml")))));
    let trial = objects(&read(Path::new("deploy/examples/trial/kubernetes.yaml")));
    let trial = find(&trial, "ConfigMap", "collector")["data"]["config.yaml"].as_str().unwrap();
    found.push(Configuration::new("the trial", yaml(trial)));
    found
}

/// The one of the page about backends, which has no port for whoever looks after it, and which its other snippets are laid over.
pub(crate) fn of_the_page() -> Configuration {
    let (mut whole, mut more): (Vec<_>, Vec<_>) =
        snippets("docs/content/how-to/trace-backends.md").into_iter().partition(|snippet| snippet["service"].is_object());
    assert_eq!(whole.len(), 1, "one whole configuration");
    more.retain(|snippet| snippet["processors"].is_object());
    assert_eq!(more.len(), 1, "one more processor");
    let mut page = Configuration::new("trace-backends.md", whole.remove(0));
    page.layers.extend(more);
    page.layers.push(json!({
        "extensions": {"health_check": {"endpoint": "0.0.0.0:13133"}},
        "service": {
            "extensions": ["health_check"],
            "telemetry": {"metrics": {"readers": [{"pull": {"exporter": {"prometheus": {"host": "0.0.0.0", "port": 8888}}}}]}},
        },
    }));
    page
}

/// The blocks of YAML on a page.
fn snippets(page: &str) -> Vec<Value> {
    let text = read(Path::new(page));
    let blocks = text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.flat_map(objects).collect()
}

/// Everything in the repository that has pipelines: files, objects, pages, and what the charts render.
async fn with_pipelines() -> Vec<(String, Value)> {
    let mut found: Vec<_> = of_charts().await.into_iter().map(|mut chart| (chart.name, chart.layers.remove(0))).collect();
    let root = repository();
    let mut files = Vec::new();
    for folder in ["deploy", "docs/content"] {
        below(&root.join(folder), &mut files);
    }
    files.push(root.join("README.md"));
    for file in files {
        let name = file.strip_prefix(&root).unwrap().display().to_string();
        let documents = match file.extension().and_then(|extension| extension.to_str()) {
            Some("md") => snippets(&name),
            Some("yaml" | "yml") => objects(&fs::read_to_string(&file).unwrap()),
            _ => continue,
        };
        let inside: Vec<_> =
            documents.iter().filter_map(|document| document["data"].as_object()).flat_map(serde_json::Map::values).collect();
        let inside: Vec<_> = inside.into_iter().filter_map(Value::as_str).flat_map(objects).collect();
        let configs = documents.into_iter().chain(inside).filter(|config| config["service"]["pipelines"].is_object());
        found.extend(configs.map(|config| (name.clone(), config)));
    }
    found
}

fn below(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() { below(&entry, files) } else { files.push(entry) }
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(repository().join(path)).unwrap()
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// The list that every collector masks by.
pub(crate) fn redaction() -> Value {
    yaml(&read(Path::new("charts/common/redaction.yaml")))
}

#[tokio::test]
async fn every_collector_masks_by_the_same_list_before_it_samples_or_sends() {
    let redaction = redaction();
    let every = every().await;
    assert!(every.len() > 12);
    for configuration in every {
        let (name, config) = (&configuration.name, &configuration.layers[0]);
        let mut own = config["processors"]["redaction"].clone();
        if configuration.masks_more() {
            let last = |key: &str| own[key].as_array().unwrap().last().unwrap().as_str().unwrap();
            assert_eq!([last("blocked_key_patterns"), last("blocked_values")], ["^shop[.]", "sesame-[0-9]+"], "{name}");
            for key in ["blocked_key_patterns", "blocked_values"] {
                own[key].as_array_mut().unwrap().pop();
            }
        }
        assert_eq!(own, redaction, "{name}");
        for (pipeline, parts) in config["service"]["pipelines"].as_object().unwrap() {
            let takes_spans = parts["receivers"].as_array().unwrap().contains(&json!("otlp"));
            let before = |part: &Value| ["memory_limiter", "resource"].iter().any(|known| part == known);
            let first = parts["processors"].as_array().unwrap().iter().find(|part| !before(part));
            assert!(!takes_spans || first == Some(&json!("redaction")), "{name}, {pipeline}");
        }
    }
}

#[tokio::test]
async fn every_pipeline_of_the_repository_batches() {
    let all = with_pipelines().await;
    let has = |part: &str| all.iter().any(|(name, _)| name.contains(part));
    let known = [
        "gateway/",
        "trial/",
        "jaeger/",
        "compose/",
        "trace-backends.md",
        "monitoring.md",
        "broker: sidecar.yaml",
        "agent: pair.yaml",
    ];
    assert_eq!(known.iter().find(|part| !has(part)), None, "all of them are found");
    for (name, config) in all {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        for (pipeline, parts) in config["service"]["pipelines"].as_object().unwrap() {
            let in_its_queue =
                |exporter: &Value| config["exporters"][exporter.as_str().unwrap()]["sending_queue"]["batch"].is_object();
            let batches =
                list(&parts["processors"]).contains(&json!("batch")) || list(&parts["exporters"]).iter().all(in_its_queue);
            assert!(batches, "{name}, {pipeline}");
        }
    }
}

#[tokio::test]
async fn every_collector_has_a_limit_of_memory_and_shows_its_own_metrics() {
    for configuration in every().await {
        let (name, config) = (&configuration.name, &configuration.layers[0]);
        for (pipeline, parts) in config["service"]["pipelines"].as_object().unwrap() {
            assert_eq!(parts["processors"][0], "memory_limiter", "{name}, {pipeline}: the limit stands first");
        }
        let reader = &config["service"]["telemetry"]["metrics"]["readers"][0]["pull"]["exporter"]["prometheus"];
        assert_eq!(reader["port"], 8888, "{name}");
    }
}
