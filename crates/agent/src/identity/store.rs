//! Where the key is kept. A write is whole or not at all, and on disk before it counts.

use std::{fs, io, path::PathBuf, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use brokkr_api::client::SharedKey;
use brokkr_runtime::durable;
use serde_json::{Value, json};

use crate::cluster::{Cluster, KubeFailure, Resource};

/// Key of the Secret's data with the agent's key.
const KEY: &str = "key";
/// Key of the Secret's data with the registration token.
const TOKEN: &str = "token";

/// Where the key is kept.
pub(crate) enum KeyStore {
    /// In the configuration: it cannot change.
    Fixed,
    /// In a file of its owner alone.
    File(PathBuf),
    /// In a Secret of the cluster.
    Secret(SecretStore),
}

/// A Secret with the key, and perhaps with the registration token.
pub(crate) struct SecretStore {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) cluster: Cluster,
    /// What requests use.
    pub(crate) key: SharedKey,
}

/// Why a key cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("the key file {}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the Secret {place}")]
    Secret {
        place: String,
        #[source]
        source: KubeFailure,
    },
}

impl KeyStore {
    /// The place, for people.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::Fixed => "broker.key".to_owned(),
            Self::File(path) => path.display().to_string(),
            Self::Secret(secret) => secret.place(),
        }
    }

    pub(crate) fn is_fixed(&self) -> bool {
        matches!(self, Self::Fixed)
    }

    /// Whether there is a key; requests use it from here on.
    pub(crate) async fn load(&self) -> Result<bool, StoreError> {
        match self {
            Self::Fixed => Ok(true),
            Self::File(path) => match fs::read_to_string(path) {
                Ok(text) => Ok(!text.trim().is_empty()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
                Err(source) => Err(StoreError::File { path: path.clone(), source }),
            },
            Self::Secret(secret) => {
                let key = secret.read(KEY).await?;
                if let Some(key) = &key {
                    secret.key.set(key);
                }
                Ok(key.is_some())
            }
        }
    }

    /// The registration token beside the key.
    pub(crate) async fn token(&self) -> Result<Option<Arc<str>>, StoreError> {
        match self {
            Self::Secret(secret) => Ok(secret.read(TOKEN).await?.map(Arc::from)),
            Self::Fixed | Self::File(_) => Ok(None),
        }
    }

    /// Keeps a key for good; requests use it from here on.
    pub(crate) async fn store(&self, key: &str) -> Result<(), StoreError> {
        match self {
            Self::Fixed => Ok(()),
            Self::File(path) => {
                durable::replace(path, &format!("{key}\n")).map_err(|source| StoreError::File { path: path.clone(), source })
            }
            Self::Secret(secret) => {
                secret.write(key).await?;
                secret.key.set(key);
                Ok(())
            }
        }
    }
}

impl SecretStore {
    fn place(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    fn resource() -> Resource {
        Resource::core("Secret", "secrets", true)
    }

    async fn read(&self, name: &str) -> Result<Option<String>, StoreError> {
        let secret = self.cluster.get(&Self::resource(), Some(&self.namespace), &self.name).await;
        Ok(secret.map_err(|source| self.error(source))?.as_ref().and_then(|secret| value(secret, name)))
    }

    /// Other fields of the Secret stay whose they are; the key is the agent's, whoever set it before.
    async fn write(&self, key: &str) -> Result<(), StoreError> {
        let body = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "data": {KEY: STANDARD.encode(key)},
        });
        let applied = self.cluster.apply_own(&Self::resource(), Some(&self.namespace), &self.name, &body).await;
        applied.map(drop).map_err(|source| self.error(source))
    }

    fn error(&self, source: KubeFailure) -> StoreError {
        StoreError::Secret { place: self.place(), source }
    }
}

fn value(secret: &Value, name: &str) -> Option<String> {
    let bytes = STANDARD.decode(secret.pointer("/data")?.get(name)?.as_str()?).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt};

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("brokkr-agent-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[tokio::test]
    async fn a_key_file_is_replaced_whole_is_for_its_owner_alone_and_needs_no_file_before() {
        let folder = folder("replaced");
        let path = folder.join("agent.key");
        let store = KeyStore::File(path.clone());
        assert!(!store.load().await.unwrap());
        store.store("one").await.unwrap();
        assert!(store.load().await.unwrap());
        // What an end in the middle of a write leaves behind is no key.
        fs::write(folder.join("agent.key.new"), "half").unwrap();
        fs::set_permissions(folder.join("agent.key.new"), Permissions::from_mode(0o644)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\n");
        store.store("two").await.unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn a_key_that_cannot_be_kept_leaves_the_old_one() {
        let folder = folder("kept");
        let path = folder.join("agent.key");
        let store = KeyStore::File(path.clone());
        store.store("old").await.unwrap();
        fs::create_dir(folder.join("agent.key.new")).unwrap();
        assert!(store.store("new").await.is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "old\n");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_value_of_a_secret_is_decoded_and_an_empty_one_is_none() {
        let secret = json!({"data": {"key": STANDARD.encode("k\n"), "token": ""}});
        assert_eq!(value(&secret, "key").as_deref(), Some("k"));
        assert_eq!(value(&secret, "token"), None);
        assert_eq!(value(&json!({}), "key"), None);
    }
}
