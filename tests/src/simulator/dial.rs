//! How the simulated agents reach the broker: plainly, or over TLS.

use std::{fs, io, path::Path, pin::Pin, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

const CONNECT: Duration = Duration::from_secs(30);

/// Bytes both ways.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + std::fmt::Debug {}

impl<S: AsyncRead + AsyncWrite + Send + std::fmt::Debug> Stream for S {}

/// The way to one broker.
#[derive(Clone)]
pub(super) struct Dial {
    /// `HOST:PORT`.
    pub(super) host: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl std::fmt::Debug for Dial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dial").field("host", &self.host).field("tls", &self.tls.is_some()).finish()
    }
}

impl Dial {
    /// Over TLS when there is a file with the certificate to believe.
    pub(super) fn new(host: &str, authority: Option<&Path>) -> io::Result<Self> {
        let tls = authority.map(|path| {
            crate::http::install_tls();
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(&fs::read(path)?) {
                roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
            }
            let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
            let name = host.rsplit_once(':').map_or(host, |(name, _)| name).to_owned();
            let name = ServerName::try_from(name).map_err(io::Error::other)?;
            io::Result::Ok((TlsConnector::from(Arc::new(config)), name))
        });
        Ok(Self { host: host.to_owned(), tls: tls.transpose()? })
    }

    pub(super) async fn connect(&self) -> io::Result<Pin<Box<dyn Stream>>> {
        let connect = async {
            let stream = TcpStream::connect(&self.host).await?;
            stream.set_nodelay(true)?;
            let stream: Pin<Box<dyn Stream>> = match &self.tls {
                None => Box::pin(stream),
                Some((connector, name)) => Box::pin(connector.connect(name.clone(), stream).await?),
            };
            Ok(stream)
        };
        timeout(CONNECT, connect).await.map_err(|_| io::ErrorKind::TimedOut)?
    }
}
