//! Configuration: `--config FILE`, else `./config.toml`, else `/etc/brokkr/config.toml`; then `BROKKR__SECTION__KEY`.

mod reference;

use std::path::{Path, PathBuf};

use config::{Config, Environment, File, FileFormat};
use serde::de::DeserializeOwned;

pub use reference::reference;

/// Files that are read when none is named; the first that exists wins.
pub const DEFAULT_FILES: [&str; 2] = ["config.toml", "/etc/brokkr/config.toml"];

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The named file does not exist or is not TOML.
    #[error("the configuration file {} cannot be read: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Box<config::ConfigError>,
    },
    /// A value is wrong, or a key is unknown.
    #[error("configuration: {path}: {message} (from the file, or from BROKKR__SECTION__KEY)")]
    Value {
        /// Section and key, `server.listen`.
        path: String,
        /// What is wrong with it.
        message: String,
    },
}

/// Reads the configuration. Pure but for reading: connects to nothing, creates nothing.
///
/// # Errors
/// When the file is missing or malformed, or a key or value is wrong; the error names it.
pub fn load<T: DeserializeOwned>(named: Option<&Path>) -> Result<T, ConfigError> {
    load_from(named, Environment::with_prefix("BROKKR"))
}

fn load_from<T: DeserializeOwned>(named: Option<&Path>, environment: Environment) -> Result<T, ConfigError> {
    let environment = environment.prefix_separator("__").separator("__").try_parsing(true);
    let mut builder = Config::builder();
    let default = || DEFAULT_FILES.iter().map(Path::new).find(|path| path.exists());
    let file = named.or_else(default);
    if let Some(path) = file {
        builder = builder.add_source(File::from(path).format(FileFormat::Toml));
    }
    let config = builder.add_source(environment).build().map_err(|source| ConfigError::File {
        path: file.map_or_else(|| PathBuf::from("(environment)"), Path::to_owned),
        source: Box::new(source),
    })?;
    serde_path_to_error::deserialize(config).map_err(|error| {
        let path = error.path().to_string();
        ConfigError::Value { path, message: error.into_inner().to_string() }
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, io::Write};

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default, deny_unknown_fields)]
    struct Sample {
        server: Server,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(default, deny_unknown_fields)]
    struct Server {
        listen: String,
        workers: u16,
    }

    impl Default for Server {
        fn default() -> Self {
            Self { listen: "127.0.0.1:3000".to_owned(), workers: 2 }
        }
    }

    fn load_sample(toml: &str, environment: &[(&str, &str)]) -> Result<Sample, ConfigError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(toml.as_bytes()).unwrap();
        let source: HashMap<_, _> = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        load_from(Some(file.path()), Environment::with_prefix("BROKKR").source(Some(source)))
    }

    #[test]
    fn the_environment_wins_over_the_file_and_the_file_over_the_default() {
        let sample = load_sample("[server]\nlisten = \"0.0.0.0:1\"\n", &[("BROKKR__SERVER__WORKERS", "7")]).unwrap();
        assert_eq!(sample.server, Server { listen: "0.0.0.0:1".to_owned(), workers: 7 });
    }

    #[test]
    fn a_wrong_value_and_an_unknown_key_are_named_with_their_path() {
        let error = load_sample("[server]\nworkers = \"many\"\n", &[]).unwrap_err().to_string();
        assert!(error.contains("server.workers"), "{error}");
        let error = load_sample("[server]\nport = 1\n", &[]).unwrap_err().to_string();
        assert!(error.contains("server") && error.contains("port"), "{error}");
    }

    #[test]
    fn a_file_that_is_named_and_missing_is_an_error() {
        let error = load::<Sample>(Some(Path::new("no-such-file.toml"))).unwrap_err().to_string();
        assert!(error.contains("no-such-file.toml"), "{error}");
    }
}
