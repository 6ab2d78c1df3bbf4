//! What Prometheus answers.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// One series with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its labels, `__name__` included.
    pub labels: BTreeMap<String, String>,
    /// The value; a value that is not a number is NaN.
    pub value: f64,
}

/// The answer to an instant query.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer(pub Vec<Sample>);

impl Answer {
    pub(super) fn read(data: &Value) -> Result<Self, String> {
        let number = |pair: &Value| pair[1].as_str().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN);
        match data["resultType"].as_str() {
            Some("scalar") => Ok(Self(vec![Sample { labels: BTreeMap::new(), value: number(&data["result"]) }])),
            Some("vector") => {
                let series = data["result"].as_array().map(Vec::as_slice).unwrap_or_default();
                let labels = |series: &Value| serde_json::from_value(series["metric"].clone()).unwrap_or_default();
                let read = |series: &Value| Sample { labels: labels(series), value: number(&series["value"]) };
                Ok(Self(series.iter().map(read).collect()))
            }
            other => Err(format!("an answer of type {other:?}")),
        }
    }

    /// Whether it holds nothing at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether something in it is a number.
    pub fn has_a_number(&self) -> bool {
        self.0.iter().any(|sample| sample.value.is_finite())
    }

    /// The only value, if there is exactly one.
    pub fn scalar(&self) -> Option<f64> {
        match self.0.as_slice() {
            [sample] => Some(sample.value),
            _ => None,
        }
    }
}

/// One exemplar of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exemplar {
    /// The labels of its series.
    pub series: BTreeMap<String, String>,
    /// The trace that it leads to.
    pub trace_id: String,
}

impl Exemplar {
    pub(super) fn read(data: &Value) -> Vec<Self> {
        let of_series = |series: &Value| {
            let labels: BTreeMap<String, String> = serde_json::from_value(series["seriesLabels"].clone()).unwrap_or_default();
            let exemplars = series["exemplars"].as_array().cloned().unwrap_or_default();
            let trace = |exemplar: Value| exemplar.pointer("/labels/trace_id").and_then(Value::as_str).map(str::to_owned);
            exemplars.into_iter().filter_map(trace).map(|trace_id| Self { series: labels.clone(), trace_id }).collect::<Vec<_>>()
        };
        data.as_array().into_iter().flatten().flat_map(of_series).collect()
    }
}

/// An alert that fires or is pending.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Alert {
    /// Its labels, `alertname` and `severity` among them.
    pub labels: BTreeMap<String, String>,
    /// What a person reads.
    pub annotations: BTreeMap<String, String>,
    state: String,
    value: String,
}

impl Alert {
    /// Its name.
    pub fn name(&self) -> &str {
        self.labels.get("alertname").map_or("", String::as_str)
    }

    /// Whether it fires; otherwise it waits for `for` to pass.
    pub fn is_firing(&self) -> bool {
        self.state == "firing"
    }

    /// All of it on one line.
    pub fn say(&self) -> String {
        let description = self.annotations.get("description").map_or("", String::as_str);
        format!("{} ({}, {}): {description}", self.name(), self.state, self.value)
    }
}
