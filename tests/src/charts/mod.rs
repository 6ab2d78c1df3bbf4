//! What follows from a chart's `values.yaml`: the schema by which Helm refuses wrong values, and the table of its README.
//!
//! The comment above a key is its explanation. A line `# @schema {…}` among it adds to the schema that follows from the default, and
//! makes an object opaque; `# @config` stands for the daemon's own configuration, whose schema comes from its code.

mod readme;
mod schema;
mod values;

use std::path::Path;

use serde_json::Value;

use crate::lab::LabError;
use values::Values;

/// `values.schema.json` of the chart in this folder; `config` is the schema of the daemon's configuration.
///
/// # Errors
/// When a file is missing, or no YAML or JSON.
pub fn schema(chart: &Path, config: &Path) -> Result<String, LabError> {
    let values = Values::parse(&read(&chart.join("values.yaml"))?)?;
    let config: Value = json(&read(config)?)?;
    Ok(format!("{:#}\n", schema::render(&values, config)))
}

/// `README.md` of the chart in this folder.
///
/// # Errors
/// When a file is missing or no YAML.
pub fn readme(chart: &Path) -> Result<String, LabError> {
    let values = Values::parse(&read(&chart.join("values.yaml"))?)?;
    let about: Value = yaml(&read(&chart.join("Chart.yaml"))?)?;
    Ok(readme::render(&values, &about))
}

fn read(path: &Path) -> Result<String, LabError> {
    std::fs::read_to_string(path).map_err(LabError::io(path.display().to_string()))
}

fn yaml(text: &str) -> Result<Value, LabError> {
    serde_saphyr::from_str(text).map_err(|error| LabError::Refused(format!("no YAML: {error}")))
}

fn json(text: &str) -> Result<Value, LabError> {
    serde_json::from_str(text).map_err(|error| LabError::Refused(format!("no JSON: {error}: {text}")))
}
