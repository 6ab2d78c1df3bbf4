//! What the charts ask for.

use std::{fs, path::Path};

use brokkr_tests::lab::LabError;
use serde_json::Value;

use crate::bench_table::fail;

/// `resources` of a container, in thousandths of a core and MB.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Requested {
    pub(super) cpu: f64,
    pub(super) memory: f64,
    pub(super) limit: f64,
}

impl Requested {
    pub(super) fn by_agent() -> Result<Self, LabError> {
        Self::at("/resources")
    }

    pub(super) fn by_sidecar() -> Result<Self, LabError> {
        Self::at("/tracing/collector/sidecar/resources")
    }

    fn at(place: &str) -> Result<Self, LabError> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/brokkr-agent/values.yaml");
        let text = fs::read_to_string(&file).map_err(LabError::io(file.display().to_string()))?;
        let values: Value = serde_saphyr::from_str(&text).map_err(fail)?;
        let resources = values.pointer(place).ok_or_else(|| fail(place))?;
        Self::read(resources).ok_or_else(|| fail(format!("not understood: {resources}")))
    }

    fn read(resources: &Value) -> Option<Self> {
        let number = |path: &str, unit: &str| resources.pointer(path)?.as_str()?.strip_suffix(unit)?.parse().ok();
        let [cpu, memory, limit] =
            [("/requests/cpu", "m"), ("/requests/memory", "Mi"), ("/limits/memory", "Mi")].map(|(path, unit)| number(path, unit));
        Some(Self { cpu: cpu?, memory: memory?, limit: limit? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_of_both_containers_are_read() {
        for requested in [Requested::by_agent().unwrap(), Requested::by_sidecar().unwrap()] {
            assert!(requested.cpu > 0.0 && requested.memory < requested.limit, "{requested:?}");
        }
    }
}
