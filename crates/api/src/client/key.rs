//! Where the client has its key from.

use std::{fmt, path::PathBuf, sync::Arc};

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
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}
