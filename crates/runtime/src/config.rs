//! Configuration: `--config FILE`, else `./config.toml`, else `/etc/brokkr/config.toml`; then `BROKKR__SECTION__KEY`; then,
//! for `[telemetry]`, the standard variables of OpenTelemetry.
//!
//! Everything that is wrong is told at once, so that nobody repairs a file one start at a time.

mod problems;
mod read;
mod reference;
mod sources;
mod tables;
mod telemetry;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
};

use brokkr_telemetry::config::{Origins, TelemetryConfig, variables};
use serde::de::DeserializeOwned;

pub use problems::{Problem, Problems};
pub use reference::{reference, schema};
use sources::Sources;
pub use tables::tables;
pub use telemetry::{check_metrics, check_telemetry};

/// Files that are read when none is named; the first that exists wins.
pub const DEFAULT_FILES: [&str; 2] = ["config.toml", "/etc/brokkr/config.toml"];

/// The exit code of a program whose configuration is wrong.
pub const EXIT_CODE: u8 = 64;

/// A configuration that knows what makes sense beyond the types of its values.
pub trait Settings: DeserializeOwned {
    /// Tells what does not. Pure: looks at no file and asks nobody.
    fn check(&self, problems: &mut Problems);

    /// Its section `[telemetry]`, which is told where its values come from.
    fn telemetry(&mut self) -> Option<&mut TelemetryConfig> {
        None
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The named file does not exist or is not TOML.
    #[error("configuration: the file {} cannot be read: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not, with the place where it is known.
        message: String,
    },
    /// Values are wrong, or keys unknown: all of them.
    #[error("{}", .0.iter().map(|problem| format!("configuration: {problem}")).collect::<Vec<_>>().join("\n"))]
    Values(Vec<Problem>),
}

impl ConfigError {
    /// Says it on the standard error, one line for each problem.
    pub fn tell(&self) -> ExitCode {
        for line in self.to_string().lines() {
            eprintln!("error: {line}");
        }
        ExitCode::from(EXIT_CODE)
    }
}

/// Reads the configuration. Pure but for reading: connects to nothing, creates nothing.
///
/// # Errors
/// When the file is missing or malformed, or keys or values are wrong; the error names every one.
pub fn load<T: Settings>(named: Option<&Path>) -> Result<T, ConfigError> {
    load_from(file(named), std::env::vars_os())
}

/// The file that is read: the named one, or the first default that exists.
#[must_use]
pub fn file(named: Option<&Path>) -> Option<&Path> {
    named.or_else(|| DEFAULT_FILES.iter().map(Path::new).find(|path| path.exists()))
}

/// Says that a configuration is valid, and which file it is from.
#[expect(clippy::print_stdout, reason = "the answer is the output of a command")]
pub fn valid(named: Option<&Path>) -> ExitCode {
    let file = file(named).map_or_else(|| "no file".to_owned(), |path| path.display().to_string());
    println!("the configuration is valid ({file}, and the environment)");
    ExitCode::SUCCESS
}

fn load_from<T: Settings>(
    file: Option<&Path>,
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Result<T, ConfigError> {
    let mut problems = Problems::default();
    let environment: Vec<_> = environment.collect();
    let standard = variables::standard(&text_of(&environment));
    let notes = standard.notes.clone();
    let mut sources = Sources::read(file, environment.into_iter(), &mut problems)?;
    sources.set_standard(standard, &mut problems);
    let mut value: Option<T> = read::read(&mut sources, &mut problems);
    if let Some(value) = &mut value {
        value.check(&mut problems);
        if let Some(telemetry) = value.telemetry() {
            telemetry.origins = Origins::new(sources.origins("telemetry"), notes);
        }
    }
    let problems = problems.into_list(&sources);
    match value {
        Some(value) if problems.is_empty() => Ok(value),
        _ => Err(ConfigError::Values(problems)),
    }
}

/// What of an environment is text. The rest is no business of the standard variables.
fn text_of(environment: &[(OsString, OsString)]) -> BTreeMap<String, String> {
    let text = |(name, value): &(OsString, OsString)| Some((name.to_str()?.to_owned(), value.to_str()?.to_owned()));
    environment.iter().filter_map(text).collect()
}
