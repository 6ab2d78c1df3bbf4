//! Where the client has its key from.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use super::ClientError;

/// A key, or where to read it. Its `Debug` shows no key.
#[derive(Clone)]
pub enum KeySource {
    /// No key: only for routes that need none.
    None,
    /// The key itself.
    Text(Arc<str>),
    /// A file that is read for every request, because it may change while the program runs.
    File(PathBuf),
    /// A key that the program itself sets and changes; none before it has.
    Shared(SharedKey),
}

/// A key that may change while the program runs. Clones share it; its `Debug` shows no key.
#[derive(Clone, Default)]
pub struct SharedKey(Arc<RwLock<Option<Arc<str>>>>);

impl SharedKey {
    /// The key of every request from here on.
    pub fn set(&self, key: &str) {
        // A key is one pointer: whoever panicked with the lock left a whole one.
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::from(key.trim()));
    }

    fn get(&self) -> Option<Arc<str>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedKey(…)")
    }
}

impl KeySource {
    /// The key, without surrounding white space.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn read(&self) -> Result<Option<Arc<str>>, ClientError> {
        match self {
            Self::None => Ok(None),
            Self::Text(key) => Ok(Some(Arc::clone(key))),
            Self::Shared(key) => Ok(key.get()),
            Self::File(path) => match std::fs::read_to_string(path) {
                Ok(text) => Ok(Some(Arc::from(text.trim()))),
                Err(source) => Err(ClientError::Key { path: path.clone(), source }),
            },
        }
    }
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Text(_) => f.write_str("Text(…)"),
            Self::Shared(_) => f.write_str("Shared(…)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}
