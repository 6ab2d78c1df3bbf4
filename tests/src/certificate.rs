//! One certificate for this process's own servers on `localhost`, made when it is first asked for.
#![expect(clippy::expect_used, reason = "a test that cannot be set up fails, and says where")]

use std::{path::Path, sync::OnceLock};

use rcgen::{CertifiedKey, generate_simple_self_signed};

use crate::lab::LabError;

/// A certificate that signs itself, and its key, as PEM.
#[derive(Debug)]
pub struct Certificate {
    /// The certificate.
    pub pem: String,
    key: String,
}

static OURS: OnceLock<Certificate> = OnceLock::new();

impl Certificate {
    /// This process's certificate. From here on its HTTP clients believe it.
    ///
    /// # Panics
    /// When none can be made.
    pub fn ours() -> &'static Self {
        OURS.get_or_init(|| {
            let CertifiedKey { cert, signing_key } =
                generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
            Self { pem: cert.pem(), key: signing_key.serialize_pem() }
        })
    }

    /// The same, if it was asked for.
    pub fn known() -> Option<&'static Self> {
        OURS.get()
    }

    /// Writes `tls.crt` and `tls.key`.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), LabError> {
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).map_err(LabError::io(name.to_owned()));
        write("tls.crt", &self.pem)?;
        write("tls.key", &self.key)
    }
}
