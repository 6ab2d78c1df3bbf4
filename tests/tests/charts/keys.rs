//! Every key of `values.yaml`: some set of values of the matrix sets it, and what is rendered shows that.

use std::{collections::BTreeMap, fs};

use brokkr_tests::lab::Scratch;
use serde_json::Value;

use crate::{
    helm::{CHARTS, Helm, chart, matrix},
    render::without_random,
};

/// Where each default stands, as JSON pointers; an object without keys is one.
fn leaves(value: &Value, at: &str) -> Vec<String> {
    match value.as_object() {
        Some(object) if !object.is_empty() => {
            object.iter().flat_map(|(key, below)| leaves(below, &format!("{at}/{key}"))).collect()
        }
        _ => vec![at.to_owned()],
    }
}

fn read(file: &str) -> Value {
    serde_saphyr::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

/// These values without this key: Helm puts the default in its place.
fn without(values: &Value, key: &str) -> Value {
    let mut values = values.clone();
    let (object, name) = key.rsplit_once('/').unwrap();
    values.pointer_mut(object).unwrap().as_object_mut().unwrap().remove(name).unwrap();
    values
}

/// These values with other texts at this key.
fn with_another(values: &Value, key: &str) -> Value {
    let mut values = values.clone();
    let place = values.pointer_mut(key).unwrap();
    *place = another(place);
    values
}

fn another(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(format!("{text}x")),
        Value::Array(items) => items.iter().map(another).collect(),
        Value::Object(object) => object.iter().map(|(key, value)| (key.clone(), another(value))).collect(),
        other => other.clone(),
    }
}

/// A chart, and the sets of values that are tried with it.
struct Matrix {
    helm: Helm,
    daemon: &'static str,
    scratch: Scratch,
    defaults: Value,
    /// Values and what is rendered with them, by name.
    cases: BTreeMap<String, (Value, String)>,
}

impl Matrix {
    async fn of(daemon: &'static str) -> Self {
        let defaults = read(&format!("{}/values.yaml", chart(daemon)));
        let (helm, scratch) = (Helm::alone().await, Scratch::new("keys").unwrap());
        let mut this = Self { helm, daemon, scratch, defaults, cases: BTreeMap::new() };
        for (name, file) in matrix(daemon) {
            let values = read(&file);
            let rendered = this.render(&values).map_err(|said| format!("{name}: {said}")).unwrap();
            this.cases.insert(name, (values, rendered));
        }
        this
    }

    fn render(&self, values: &Value) -> Result<String, String> {
        let file = self.scratch.write("values.json", values.to_string()).unwrap();
        let rendered = self.helm.template(self.daemon, "brokkr-system", &["--values", file.to_str().unwrap()])?;
        Ok(without_random(&rendered))
    }

    /// Cases in which this key is something else than its default.
    fn setting(&self, key: &str) -> impl Iterator<Item = &(Value, String)> {
        let default = self.defaults.pointer(key);
        self.cases.values().filter(move |(values, _)| values.pointer(key).is_some_and(|value| Some(value) != default))
    }

    /// Whether the manifests of a case are others with the default in the place of its value, or with another value where the chart
    /// refuses to go without.
    fn is_seen(&self, key: &str) -> bool {
        self.setting(key).any(|(values, rendered)| {
            let changed = self.render(&without(values, key)).or_else(|_| self.render(&with_another(values, key)));
            changed.is_ok_and(|changed| changed != *rendered)
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_key_is_set_by_some_set_of_values_and_what_is_rendered_shows_it() {
    let look = |daemon: &'static str| async move {
        let matrix = Matrix::of(daemon).await;
        let look = move || {
            let keys = leaves(&matrix.defaults, "");
            assert!(keys.len() > 100, "{daemon}: {}", keys.len());
            let (set, unset): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| matrix.setting(key).next().is_some());
            assert_eq!(unset, Vec::<String>::new(), "{daemon}: no set of values in tests/charts/values sets these");
            let decorative: Vec<_> = set.into_iter().filter(|key| !matrix.is_seen(key)).collect();
            assert_eq!(decorative, Vec::<String>::new(), "{daemon}: these have no effect on what is rendered");
        };
        tokio::task::spawn_blocking(look).await
    };
    let [broker, agent] = CHARTS;
    let (broker, agent) = tokio::join!(look(broker), look(agent));
    broker.unwrap();
    agent.unwrap();
}
