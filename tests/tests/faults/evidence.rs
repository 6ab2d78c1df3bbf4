//! How much is tried, and what is left of it.

use std::{env, fs};

use serde::Serialize;

/// How many trials: a sample in `make test`, all in `make soak`.
pub(crate) fn count(sample: u64, all: u64) -> u64 {
    if is_soak() { all } else { sample }
}

fn is_soak() -> bool {
    env::var_os("BROKKR_SOAK").is_some()
}

/// Writes `target/soak/NAME.json` in a soak. Called as it goes, so that a run that is ended early leaves what it has.
pub(crate) fn leave(name: &str, evidence: &impl Serialize) {
    if is_soak() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/soak");
        fs::create_dir_all(folder).unwrap();
        fs::write(format!("{folder}/{name}.json"), serde_json::to_vec_pretty(evidence).unwrap()).unwrap();
    }
}
