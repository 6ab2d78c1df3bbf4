//! Connections: what each may cost, how long it may take to say what it wants, and how it ends.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::ConnectInfo,
};
use brokkr_telemetry::http::Encrypted;
use http::{HeaderValue, Request, Response, Version, header};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt};
use tracing::{debug, warn};

use super::tls::Tls;

/// Most bytes of the head of a request, and of what is read at once. A longer head is answered with 431 (or 414) and the connection ends.
const HEAD_BYTES: usize = 32 * 1024;

/// Time until a listener that has no file descriptor left tries again.
const EXHAUSTED: Duration = Duration::from_millis(500);

/// What a connection may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Time for a TLS handshake, and for the head of a request; so long is an idle connection kept, too.
    pub head: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { head: Duration::from_secs(60) }
    }
}

/// How a server serves.
#[derive(Debug, Clone)]
pub struct Server {
    /// With TLS, or in the clear.
    pub tls: Option<Tls>,
    /// What a connection may cost.
    pub limits: Limits,
    /// Cancelled when the process drains: what is answered from then on ends its connection, so that callers go elsewhere.
    pub draining: CancellationToken,
    /// Cancelled when nothing more may begin: the listener closes, and what is in flight is finished.
    pub stopping: CancellationToken,
}

/// Serves until `stopping`, then finishes the requests in flight. Dropped, it ends every connection.
pub fn serve(listener: TcpListener, router: Router, server: Server) -> impl Future<Output = ()> + Send {
    let http = Arc::new(http(server.limits));
    // The router is completed once, here. Otherwise each connection would complete a copy of all routes for itself: 60 kB.
    let router = router.with_state(());
    async move {
        let mut connections = JoinSet::new();
        let mut exhausted = false;
        loop {
            let (stream, peer) = tokio::select! {
                () = server.stopping.cancelled() => break,
                // An ended connection gives its memory back.
                Some(_) = connections.join_next() => continue,
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) if concerns_one_connection(&error) => continue,
                    Err(error) => {
                        if !exhausted {
                            warn!(%error, "no connection can be accepted");
                        }
                        exhausted = true;
                        tokio::time::sleep(EXHAUSTED).await;
                        continue;
                    }
                },
            };
            exhausted = false;
            let service = Asked::new(router.clone(), peer, &server);
            connections.spawn(connection(stream, service, Arc::clone(&http), server.clone()));
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }
}

fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

type Http = auto::Builder<TokioExecutor>;

fn http(limits: Limits) -> Http {
    let mut http = Http::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(limits.head).max_buf_size(HEAD_BYTES);
    http.http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(HEAD_BYTES).unwrap_or(u32::MAX))
        // A peer that is gone without a word is noticed, and its polls end.
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    http
}

async fn connection(stream: TcpStream, service: Asked, http: Arc<Http>, server: Server) {
    // An answer of a few hundred bytes must not wait for the acknowledgement of the one before.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "TCP_NODELAY cannot be set");
    }
    // Boxed one after the other, so that a connection that waits does not keep the room that its handshake took.
    match &server.tls {
        None => Box::pin(requests(stream, service, &http, &server)).await,
        Some(tls) => {
            let Some(stream) = Box::pin(handshake(stream, tls, &server)).await else { return };
            Box::pin(requests(stream, service, &http, &server)).await;
        }
    }
}

async fn handshake(stream: TcpStream, tls: &Tls, server: &Server) -> Option<tokio_rustls::server::TlsStream<TcpStream>> {
    let accepted = tokio::select! {
        // Nothing was asked yet.
        () = server.stopping.cancelled() => return None,
        accepted = tokio::time::timeout(server.limits.head, tls.acceptor().accept(stream)) => accepted,
    };
    match accepted {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            debug!(%error, "a TLS handshake failed");
            None
        }
        Err(_) => {
            debug!("a TLS handshake took too long");
            None
        }
    }
}

async fn requests<S: AsyncRead + AsyncWrite + Unpin + 'static>(stream: S, service: Asked, http: &Http, server: &Server) {
    let asked = Arc::clone(&service.asked);
    let mut serving = pin!(http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)));
    let begun = tokio::select! {
        ended = serving.as_mut() => Some(ended),
        () = server.stopping.cancelled() => None,
        // Before the first request nobody limits the time: the version of HTTP is still unknown.
        () = silent(&asked, server.limits.head) => Some(Ok(())),
    };
    let ended = match begun {
        Some(ended) => ended,
        None => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection ended");
    }
}

/// Ends when nothing was asked in time; never once something was.
async fn silent(asked: &AtomicBool, limit: Duration) {
    tokio::time::sleep(limit).await;
    if asked.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

/// The router, and what its connection must know of it.
#[derive(Clone)]
struct Asked {
    inner: Router,
    /// Where the other side is.
    peer: SocketAddr,
    is_encrypted: bool,
    asked: Arc<AtomicBool>,
    draining: CancellationToken,
}

impl Asked {
    fn new(inner: Router, peer: SocketAddr, server: &Server) -> Self {
        let (is_encrypted, draining) = (server.tls.is_some(), server.draining.clone());
        Self { inner, peer, is_encrypted, asked: Arc::new(AtomicBool::new(false)), draining }
    }
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl<B> Service<Request<B>> for Asked
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Answering {
        request.extensions_mut().insert(ConnectInfo(self.peer));
        if self.is_encrypted {
            request.extensions_mut().insert(Encrypted);
        }
        self.asked.store(true, Ordering::Relaxed);
        let (router, draining, version) = (self.inner.clone(), self.draining.clone(), request.version());
        Box::pin(async move {
            let mut response = router.oneshot(request.map(Body::new)).await?;
            // HTTP/2 has no such header: its connections are told when the listener closes.
            if draining.is_cancelled() && version < Version::HTTP_2 {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response)
        })
    }
}
