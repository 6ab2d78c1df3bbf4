//! Where the keys come from that content with Secrets is encrypted with.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use brokkr_runtime::{Ids, durable};

use crate::{
    config::{DatabaseConfig, EncryptionConfig},
    domain::seal::{InvalidKeyring, Keyring},
    store,
};

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyringError {
    #[error("encryption.keys_file and encryption.keys: set one of them, not both")]
    Both,
    #[error("encryption.keys_file: {} cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the encryption key {} cannot be written", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{place}: {source}")]
    Invalid {
        place: String,
        #[source]
        source: InvalidKeyring,
    },
}

/// Reads the keys; with SQLite and no configuration they are in a file beside the database, which is made at the first start.
///
/// Without any key the broker runs, and refuses content that holds Secrets.
pub(crate) fn load(config: &EncryptionConfig, database: &DatabaseConfig, ids: &dyn Ids) -> Result<Keyring, KeyringError> {
    match (&config.keys_file, &config.keys) {
        (Some(_), Some(_)) => Err(KeyringError::Both),
        (Some(path), None) => read(path),
        (None, Some(keys)) => {
            Keyring::parse(keys).map_err(|source| KeyringError::Invalid { place: "encryption.keys".to_owned(), source })
        }
        (None, None) => match store::sqlite_file(&database.url) {
            Some(file) => beside(&file, ids),
            None => Ok(Keyring::default()),
        },
    }
}

fn read(path: &Path) -> Result<Keyring, KeyringError> {
    let text = std::fs::read_to_string(path).map_err(|source| KeyringError::Read { path: path.to_owned(), source })?;
    Keyring::parse(&text).map_err(|source| KeyringError::Invalid { place: path.display().to_string(), source })
}

fn beside(database: &Path, ids: &dyn Ids) -> Result<Keyring, KeyringError> {
    let mut path = database.as_os_str().to_owned();
    path.push(".keys");
    let path = PathBuf::from(path);
    match durable::create(&path, &Keyring::new_line("local", ids)) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(KeyringError::Write { path, source: error }),
        _ => {}
    }
    read(&path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use brokkr_api::{StackId, Timestamp};
    use brokkr_runtime::SeededIds;

    use super::*;

    #[test]
    fn with_sqlite_the_key_is_made_once_beside_the_database_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("b.db").display());
        let database = DatabaseConfig { url, ..DatabaseConfig::default() };
        let ids = SeededIds::new(1);
        let first = load(&EncryptionConfig::default(), &database, &ids).unwrap();
        let again = load(&EncryptionConfig::default(), &database, &ids).unwrap();
        let stack = StackId(ids.uuid(Timestamp::from_micros(0)));
        let (_, sealed) = first.seal(&ids, stack, "d", b"text").unwrap();
        assert_eq!(again.open(stack, "d", &sealed).unwrap(), b"text");
        let file = folder.path().join("b.db.keys");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn with_postgresql_there_is_no_key_unless_the_configuration_has_one() {
        let database = DatabaseConfig { url: "postgres://h/d".to_owned(), ..DatabaseConfig::default() };
        let ids = SeededIds::new(1);
        let stack = StackId(ids.uuid(Timestamp::from_micros(0)));
        let none = load(&EncryptionConfig::default(), &database, &ids).unwrap();
        assert_eq!(none.seal(&ids, stack, "d", b"text"), None);
        let config = EncryptionConfig { keys: Some(Keyring::new_line("a", &ids)), keys_file: None };
        assert!(load(&config, &database, &ids).unwrap().seal(&ids, stack, "d", b"text").is_some());
        let both = EncryptionConfig { keys_file: Some("f".into()), ..config };
        assert!(matches!(load(&both, &database, &ids), Err(KeyringError::Both)));
    }
}
