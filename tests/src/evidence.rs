//! How much is tried, and what is left of it.
#![expect(clippy::expect_used, reason = "a test that cannot leave its evidence fails")]

use std::{env, fs};

use serde::Serialize;

/// How many trials: a sample in `make test`, all in `make soak`.
pub fn count(sample: u64, all: u64) -> u64 {
    if is_soak() { all } else { sample }
}

/// Whether the full counts are wanted.
pub fn is_soak() -> bool {
    env::var_os("BROKKR_SOAK").is_some()
}

/// Writes `target/soak/NAME.json` in a soak. Called as it goes, so that a run that is ended early leaves what it has.
///
/// # Panics
/// When it cannot be written.
pub fn leave(name: &str, evidence: &impl Serialize) {
    if is_soak() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/soak");
        let text = serde_json::to_vec_pretty(evidence).expect("evidence as JSON");
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(format!("{folder}/{name}.json"), text))
            .expect("the evidence is written");
    }
}
