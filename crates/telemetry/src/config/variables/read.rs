//! How each variable is read. A value that is not understood is told and has no effect; but a rate that is no number, and a switch that is neither
//! on nor off, are errors of the configuration.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde_json::{Number, Value};

use super::Standard;

/// Where the values of one environment are gathered.
pub struct Reader {
    environment: BTreeMap<String, String>,
    row: &'static str,
    name: String,
    read: Standard,
}

const KUBERNETES: [&str; 7] = [
    "K8S_POD_NAME",
    "K8S_POD_UID",
    "K8S_NAMESPACE_NAME",
    "K8S_NODE_NAME",
    "K8S_CONTAINER_NAME",
    "K8S_DEPLOYMENT_NAME",
    "K8S_CLUSTER_NAME",
];

impl Reader {
    pub(super) fn new(environment: &BTreeMap<String, String>) -> Self {
        Self { environment: environment.clone(), row: "", name: String::new(), read: Standard::default() }
    }

    pub(super) fn at(&mut self, row: &'static str, name: &str, read: impl FnOnce(&mut Self)) {
        self.row = row;
        name.clone_into(&mut self.name);
        read(self);
    }

    pub(super) fn finish(self) -> Standard {
        self.read
    }

    pub(super) fn note(&mut self, note: String) {
        self.read.notes.push(note);
    }

    fn set(&mut self, keys: &[&str], value: impl Into<Value>) {
        let keys = ["telemetry"].iter().chain(keys).map(|key| (*key).to_owned()).collect();
        self.read.settings.insert(keys, (value.into(), self.row));
    }

    fn misunderstood(&mut self, expected: &str) {
        let name = &self.name;
        self.read.notes.push(format!("{name} is set and has no effect: it is not {expected}"));
    }

    fn is_set(&self, name: &str) -> bool {
        self.environment.get(name).is_some_and(|value| !value.trim().is_empty())
    }

    pub(super) fn kubernetes(&mut self, value: &str) {
        if KUBERNETES.contains(&self.name.as_str()) {
            let attribute = self.name.to_ascii_lowercase().replace('_', ".");
            self.set(&["resource", &attribute], value);
        }
    }

    pub(super) fn environment(&mut self, value: &str) {
        self.set(&["environment"], value);
    }

    pub(super) fn resource(&mut self, value: &str) {
        let Some(pairs) = pairs(value) else { return self.misunderstood("a list of KEY=VALUE") };
        for (key, value) in pairs {
            match key.as_str() {
                "service.name" => self.set(&["service_name"], value),
                "service.version" => self.set(&["service_version"], value),
                "deployment.environment.name" => self.set(&["environment"], value),
                _ => self.set(&["resource", &key], value),
            }
        }
    }

    pub(super) fn service_version(&mut self, value: &str) {
        self.set(&["service_version"], value);
    }

    pub(super) fn service_name(&mut self, value: &str) {
        self.set(&["service_name"], value);
    }

    pub(super) fn base_endpoint(&mut self, value: &str) {
        let path = value.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
        let path = path.trim_end_matches('/');
        let is_base = !path.is_empty() && !path.ends_with("v1/traces") && !value.ends_with(":14268/api/traces");
        if is_base {
            self.endpoint(&format!("{}/v1/traces", value.trim_end_matches('/')));
        } else {
            self.endpoint(value);
        }
    }

    pub(super) fn endpoint(&mut self, value: &str) {
        self.read.asks = Some(self.row);
        self.set(&["endpoint"], value);
    }

    pub(super) fn protocol(&mut self, value: &str) {
        match value {
            "grpc" | "http/protobuf" => self.set(&["protocol"], value),
            _ => self.misunderstood("grpc or http/protobuf"),
        }
    }

    pub(super) fn base_headers(&mut self, value: &str) {
        if !self.is_set("OTEL_EXPORTER_OTLP_TRACES_HEADERS") {
            self.headers(value);
        }
    }

    pub(super) fn headers(&mut self, value: &str) {
        // Its value may be secret: it is not shown.
        let Some(pairs) = pairs(value) else { return self.misunderstood("a list of KEY=VALUE") };
        for (key, value) in pairs {
            self.set(&["headers", &key.to_ascii_lowercase()], value);
        }
    }

    pub(super) fn timeout(&mut self, value: &str) {
        self.milliseconds(&["timeout"], value);
    }

    pub(super) fn delay(&mut self, value: &str) {
        self.milliseconds(&["batch", "delay"], value);
    }

    fn milliseconds(&mut self, keys: &[&str], value: &str) {
        match value.parse::<u64>() {
            Ok(milliseconds) if milliseconds > 0 => self.set(keys, format!("{milliseconds}ms")),
            _ => self.misunderstood("a number of milliseconds above 0"),
        }
    }

    pub(super) fn queue_size(&mut self, value: &str) {
        self.count(&["batch", "queue_size"], value);
    }

    pub(super) fn batch_size(&mut self, value: &str) {
        self.count(&["batch", "batch_size"], value);
    }

    fn count(&mut self, keys: &[&str], value: &str) {
        match value.parse::<u32>() {
            Ok(count) if count > 0 => self.set(keys, count),
            _ => self.misunderstood("a number above 0"),
        }
    }

    pub(super) fn compression(&mut self, value: &str) {
        match value {
            "gzip" | "none" => self.set(&["compression"], value),
            _ => self.misunderstood("gzip or none"),
        }
    }

    pub(super) fn ca_file(&mut self, value: &str) {
        self.set(&["tls", "ca_file"], value);
    }

    pub(super) fn certificate_file(&mut self, value: &str) {
        self.set(&["tls", "certificate_file"], value);
    }

    pub(super) fn key_file(&mut self, value: &str) {
        self.set(&["tls", "key_file"], value);
    }

    pub(super) fn sampling_rate(&mut self, value: &str) {
        // What is no number stays text, which the configuration refuses under the name of the variable.
        let number = value.parse().ok().and_then(Number::from_f64);
        self.set(&["sampling_rate"], number.map_or_else(|| Value::from(value), Value::Number));
    }

    pub(super) fn sampler(&mut self, value: &str) {
        let of_parents = value.strip_prefix("parentbased_");
        match of_parents.unwrap_or(value) {
            "always_on" => self.set(&["sampling_rate"], 1.0),
            "always_off" => self.set(&["sampling_rate"], 0.0),
            "traceidratio" if !self.is_set("OTEL_TRACES_SAMPLER_ARG") => self.set(&["sampling_rate"], 1.0),
            "traceidratio" => {}
            _ => return self.misunderstood("always_on, always_off or traceidratio, alone or after parentbased_"),
        }
        if of_parents.is_none() {
            self.set(&["trust_inbound"], false);
        }
    }

    pub(super) fn sampler_argument(&mut self, value: &str) {
        let sampler = self.environment.get("OTEL_TRACES_SAMPLER").map(|sampler| sampler.trim());
        if sampler.is_some_and(|sampler| sampler.trim_start_matches("parentbased_") == "traceidratio") {
            self.sampling_rate(value);
        } else {
            self.note("OTEL_TRACES_SAMPLER_ARG is set and has no effect: OTEL_TRACES_SAMPLER takes no ratio".to_owned());
        }
    }

    pub(super) fn exporter(&mut self, value: &str) {
        match value {
            "otlp" | "jaeger" => {
                self.read.asks = Some(self.row);
                self.set(&["exporter"], value);
            }
            "none" => self.set(&["exporter"], value),
            _ => self.misunderstood("otlp, jaeger or none"),
        }
    }

    pub(super) fn enabled(&mut self, value: &str) {
        let value = match value.to_ascii_lowercase().as_str() {
            "true" | "1" | "on" | "yes" => Value::Bool(true),
            "false" | "0" | "off" | "no" => Value::Bool(false),
            _ => Value::from(value),
        };
        self.set(&["enabled"], value);
    }

    pub(super) fn disabled(&mut self, value: &str) {
        if value.eq_ignore_ascii_case("true") {
            self.set(&["enabled"], false);
        }
    }
}

/// `KEY=VALUE,KEY=VALUE`, percent-encoded.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let decoded = |text: &str| percent_decode_str(text.trim()).decode_utf8().ok().map(std::borrow::Cow::into_owned);
    let pair = |member: &str| {
        let (key, value) = member.split_once('=')?;
        Some((decoded(key).filter(|key| !key.is_empty())?, decoded(value)?))
    };
    text.split(',').map(str::trim).filter(|member| !member.is_empty()).map(pair).collect()
}
