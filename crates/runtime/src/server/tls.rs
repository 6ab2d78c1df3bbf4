//! TLS of the listener, with a certificate that may be replaced while the server runs.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::RwLock;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    version::{TLS12, TLS13},
};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use x509_parser::parse_x509_certificate;

/// How often the files are looked at. Their content is compared, because a mounted Secret changes by swapping a symbolic link.
const LOOK: Duration = Duration::from_secs(2);

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("server.tls.{key}: {} cannot be read: {source}", path.display())]
    Read {
        /// `certificate_file` or `key_file`.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("server.tls.{key}: {} holds no {what} in PEM form", path.display())]
    Pem {
        /// `certificate_file` or `key_file`.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// The pair cannot be used.
    #[error("server.tls: the certificate and the key cannot be used together: {0}")]
    Pair(#[from] rustls::Error),
}

/// Where a certificate chain and its key are, both PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

type Seen = [u8; 32];

/// The certificate in use. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    files: TlsFiles,
    current: Arc<RwLock<Arc<ServerConfig>>>,
    expiry: watch::Sender<Option<SystemTime>>,
    seen: Seen,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the pair.
    ///
    /// # Errors
    /// When a file cannot be read, or the two do not belong together.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let pair = Pair::read(&files)?;
        let current = Arc::new(RwLock::new(Arc::new(pair.config(&files)?)));
        Ok(Self { files, current, expiry: watch::Sender::new(pair.expires_at()), seen: pair.digest() })
    }

    /// When the certificate in use expires, as far as that can be read; told anew with each one.
    #[must_use]
    pub fn expiry(&self) -> watch::Receiver<Option<SystemTime>> {
        self.expiry.subscribe()
    }

    /// Follows the files until `stopping`. A pair that cannot be used is told once, and the one before stays in use.
    pub async fn follow(self, stopping: CancellationToken) {
        self.follow_every(LOOK, stopping).await;
    }

    pub(super) async fn follow_every(mut self, period: Duration, stopping: CancellationToken) {
        let mut unreadable = false;
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(period) => {}
            }
            unreadable = self.look(unreadable).await;
        }
    }

    /// Looks at the files once; tells whether they could not be read.
    pub(super) async fn look(&mut self, was_unreadable: bool) -> bool {
        let files = self.files.clone();
        let pair = match tokio::task::spawn_blocking(move || Pair::read(&files)).await {
            Ok(Ok(pair)) => pair,
            Ok(Err(error)) => {
                if !was_unreadable {
                    warn!(%error, "the new certificate cannot be read; the one before stays in use");
                }
                return true;
            }
            // The runtime is ending.
            Err(_) => return was_unreadable,
        };
        let digest = pair.digest();
        if digest == self.seen {
            return false;
        }
        self.seen = digest;
        match pair.config(&self.files) {
            Ok(config) => {
                *self.current.write() = Arc::new(config);
                self.expiry.send_replace(pair.expires_at());
                info!(certificate = %self.files.certificate.display(), "a new certificate is in use; open connections keep theirs");
            }
            // A pair that is written file by file does not match for a moment; the next look sees the rest.
            Err(error) => warn!(%error, "the new certificate is refused; the one before stays in use"),
        }
        false
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.read()))
    }
}

/// What the two files hold.
struct Pair {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Pair {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let read = |key, path: &Path| std::fs::read(path).map_err(|source| TlsError::Read { key, path: path.to_owned(), source });
        Ok(Self { certificate: read("certificate_file", &files.certificate)?, key: read("key_file", &files.key)? })
    }

    fn digest(&self) -> Seen {
        let mut hash = Sha256::new();
        hash.update(self.certificate.len().to_le_bytes());
        hash.update(&self.certificate);
        hash.update(&self.key);
        hash.finalize().into()
    }

    /// When the first certificate of the chain expires.
    fn expires_at(&self) -> Option<SystemTime> {
        let first = CertificateDer::pem_slice_iter(&self.certificate).next()?.ok()?;
        let (_, certificate) = parse_x509_certificate(&first).ok()?;
        let seconds = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
    }

    fn config(&self, files: &TlsFiles) -> Result<ServerConfig, TlsError> {
        let pem = |key, path: &Path, what| TlsError::Pem { key, path: path.to_owned(), what };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.certificate).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain = chain.ok_or_else(|| pem("certificate_file", &files.certificate, "certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| pem("key_file", &files.key, "private key"))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}
